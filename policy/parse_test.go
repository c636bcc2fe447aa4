package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/botlapse/botlapse/policy"
)

// rulesOf writes the rules of a policy, a line each.
func rulesOf(p Policy) string {
	var b strings.Builder
	for _, l := range p.Explain(Record{}, Place{}, start) {
		r := l.Rule
		fmt.Fprintf(&b, "%s", l.ID)
		if len(r.When.Channels) > 0 {
			fmt.Fprintf(&b, " channels=%q", r.When.Channels)
		}
		if len(r.When.At) > 0 {
			fmt.Fprintf(&b, " at=%q", r.When.At)
		}
		if r.When.By != "" {
			fmt.Fprintf(&b, " by=%s", r.When.By)
		}
		if r.OnlyOnInput {
			b.WriteString(" only_on_input")
		}
		fmt.Fprintf(&b, " since %v after %v times %d: %s", r.Since, r.After, r.Times, showAction(r.Do))
		for _, step := range r.Then {
			fmt.Fprintf(&b, ", then after %v times %d: %s", step.After, step.Times, showAction(step.Do))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, row := range []struct{ name, document, want string }{
		{"all forms of rules", `{"$schema": "x", "rules": [
  {"name": "nudge", "after": "5m", "do": {"say": "Are you still there?"}},
  {"name": "idle", "when": {"channels": ["webchat", "directline"]}, "after": "PT10M", "do": {"end": true, "say": "Goodbye.", "on_return": "Welcome back!"}},
  {"name": "idle", "after": "30m", "do": {"end": true, "say": "Goodbye."}},
  {"name": "no-input", "since": "asked", "after": "20s", "times": 2, "do": {"ask": true}, "then": {"end": true, "close": true, "say": "I did not hear you."}},
  {"name": "kept", "since": "resolved", "after": "5m", "do": {"end": true}},
  {"name": "life", "when": {"at": ["", "main"], "by": "agent"}, "since": "began", "only_on_input": true, "after": 60, "do": {"goto": "@timeout", "take": true},
   "then": [{"after": "7d", "times": 3, "do": {"say": "A"}}, {}]}
]}`, `nudge since input after 5m0s times 0: say=Are you still there?
idle channels=["webchat" "directline"] since input after 10m0s times 0: end say=Goodbye. return=Welcome back!
idle#2 since input after 30m0s times 0: end say=Goodbye.
no-input since asked after 20s times 2: ask, then after 0s times 0: end close say=I did not hear you.
kept since resolved after 5m0s times 0: end
life at=["" "main"] by=agent only_on_input since began after 1m0s times 0: goto=@timeout take, then after 168h0m0s times 3: say=A, then after 0s times 0: nothing
`},
		{"no rules", `{"rules": []}`, ""},
		{"nothing", `{}`, ""},
		{"an exception", `{"rules": [{"name": "idle", "when": {"channels": ["sms"]}, "after": 0}]}`, "idle channels=[\"sms\"] since input after 0s times 0: nothing\n"},
		{"an exception in few words", `{"rules": [{"name": "idle"}]}`, "idle since input after 0s times 0: nothing\n"},
		{"a byte order mark", "\ufeff{}", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, err := Parse([]byte(row.document))
			if err != nil {
				t.Fatal(err)
			}
			if got := rulesOf(p); got != row.want {
				t.Errorf("got\n%swant\n%s", got, row.want)
			}
			if p.MessagesOnly() {
				t.Error("only messages are user input")
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	const rule = `{"rules": [{"name": "idle", "after": 60, %s}]}`
	for _, row := range []struct{ name, document, want string }{
		{"what is not JSON", "{\n  \"rules\": [}", `2:13: is not JSON: invalid character '}' looking for beginning of value`},
		{"what ends too early", `{"rules": [`, `1:11: is not JSON: unexpected end of JSON input`},
		{"nothing at all", ``, `1:1: is not JSON: unexpected end of JSON input`},
		{"two documents", `{} {}`, `1:4: is not JSON: invalid character '{' after top-level value`},
		{"what is not UTF-8", "{\"a\xff\": 1}", `1:4: is not UTF-8`},
		{"what is no object", `"rules"`, `1:1: must be an object`},
		{"an unknown key of the document", `{"rule": []}`, `1:2: rule: is unknown; allowed here: $schema, rules, events`},
		{"an unknown key of a rule", fmt.Sprintf(rule, `"onReturn": "x"`), `1:42: rule "idle": rules[0].onReturn: is unknown; allowed here: name, when, since, only_on_input, after, times, do, then`},
		{"another spelling of a key", fmt.Sprintf(rule, `"Times": 1`), `1:42: rule "idle": rules[0].Times: is unknown; allowed here: name, when, since, only_on_input, after, times, do, then`},
		{"an unknown key of when", fmt.Sprintf(rule, `"when": {"dialogs": []}`), `1:51: rule "idle": rules[0].when.dialogs: is unknown; allowed here: channels, at, by`},
		{"an unknown key of an action", fmt.Sprintf(rule, `"do": {"tell": "x"}`), `1:49: rule "idle": rules[0].do.tell: is unknown; allowed here: end, close, say, on_return, ask, goto, take`},
		{"an unknown key of a step", fmt.Sprintf(rule, `"then": [{"say": "x"}]`), `1:52: rule "idle": rules[0].then[0].say: is unknown; allowed here: after, times, do`},
		{"a step where an action is meant", fmt.Sprintf(rule, `"then": {"do": {}}`), `1:51: rule "idle": rules[0].then[0].do.do: is unknown; allowed here: end, close, say, on_return, ask, goto, take`},
		{"a key with a line break", `{"a\nb": 1}`, `1:2: "a\nb": is unknown; allowed here: $schema, rules, events`},
		{"a key twice", fmt.Sprintf(rule, `"after": 61`), `1:42: rule "idle": rules[0].after: is there twice`},
		{"an unknown mark", fmt.Sprintf(rule, `"since": "ended"`), `1:51: rule "idle": rules[0].since: must be one of input, began, asked, resolved`},
		{"a rule without a name", `{"rules": [{"after": 60}]}`, `1:12: rules[0].name: is missing`},
		{"an empty name", `{"rules": [{"name": "", "after": 60}]}`, `1:21: rules[0].name: is missing`},
		{"a # in a name", `{"rules": [{"name": "a#2", "after": 60}]}`, `1:21: rule "a#2": rules[0].name: must not hold "#", because the second rule of a name is called name#2`},
		{"an action without after", `{"rules": [{"name": "a", "do": {"say": "x"}}]}`, `1:12: rule "a": rules[0]: after is missing`},
		{"close without end", fmt.Sprintf(rule, `"do": {"close": true}`), `1:58: rule "idle": rules[0].do.close: needs end`},
		{"close without end in one action", fmt.Sprintf(rule, `"then": {"close": true}`), `1:60: rule "idle": rules[0].then[0].do.close: needs end`},
		{"close without end in a step", fmt.Sprintf(rule, `"then": [{}, {"do": {"close": true}}]`), `1:72: rule "idle": rules[0].then[1].do.close: needs end`},
		{"too many times", fmt.Sprintf(rule, `"times": 1001`), `1:51: rule "idle": rules[0].times: must be from 0 to 1000`},
		{"negative times", fmt.Sprintf(rule, `"times": -1`), `1:51: rule "idle": rules[0].times: must be from 0 to 1000`},
		{"half times", fmt.Sprintf(rule, `"times": 1.5`), `1:51: rule "idle": rules[0].times: must be a whole number from 0 to 1000`},
		{"a text that is none", fmt.Sprintf(rule, `"do": {"say": 1}`), `1:56: rule "idle": rules[0].do.say: must be a text`},
		{"a flag that is none", fmt.Sprintf(rule, `"do": {"end": "yes"}`), `1:56: rule "idle": rules[0].do.end: must be true or false`},
		{"a list that is none", fmt.Sprintf(rule, `"when": {"channels": "sms"}`), `1:63: rule "idle": rules[0].when.channels: must be a list`},
		{"null", fmt.Sprintf(rule, `"do": null`), `1:48: rule "idle": rules[0].do: must be an object`},
		{"a list in a list", `{"rules": [[]]}`, `1:12: rules[0]: must be an object`},
		{"columns are characters", `{"rules": [{"name": "späte", "after": 1, "x": 1}]}`, `1:42: rule "späte": rules[0].x: is unknown; allowed here: name, when, since, only_on_input, after, times, do, then`},
		{"all that is wrong, in its order", "{\"rules\": [\n  {\"name\": \"a\", \"after\": \"x\", \"do\": {\"close\": true}},\n  {\"after\": -1}\n], \"z\": 1}",
			`2:26: rule "a": rules[0].after: must be a duration such as "90s", "1h30m", "7d" or "PT10M", or a number of seconds, of at most 292 years
2:47: rule "a": rules[0].do.close: needs end
3:3: rules[1].name: is missing
3:13: rules[1].after: must not be negative; 0 is never
4:4: z: is unknown; allowed here: $schema, rules, events`},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse([]byte(row.document))
			if err == nil || err.Error() != row.want {
				t.Errorf("got\n%v\nwant\n%s", err, row.want)
			}
			if problems := Problems(nil); !errors.As(err, &problems) || problems[0].Line < 1 || problems[0].Column < 1 {
				t.Errorf("%#v", err)
			}
		})
	}
}

func TestParseDurations(t *testing.T) {
	const day = 24 * h
	for _, row := range []struct {
		text string
		want time.Duration // or never: refused
	}{
		{`"5m"`, 5 * m}, {`"1h30m"`, 90 * m}, {`"1.5h"`, 90 * m}, {`"90s"`, 90 * s}, {`"1ns"`, 1}, {`"7d"`, 7 * day}, {`"1d12h"`, 36 * h}, {`"1.5d"`, 36 * h}, {`"0"`, 0}, {`"0s"`, 0}, {`"0d"`, 0},
		{`"PT10M"`, 10 * m}, {`"P7D"`, 7 * day}, {`"P1DT12H"`, 36 * h}, {`"PT1H30M5.5S"`, h + 30*m + 5500*time.Millisecond}, {`"P2W"`, 14 * day}, {`"PT0S"`, 0}, {`"P1.5D"`, 36 * h},
		{`60`, m}, {`0.5`, 500 * time.Millisecond}, {`1e3`, 1000 * s}, {`0`, 0}, {`0.0`, 0}, {`1e-9`, 1}, {`9223372036`, 9223372036 * s},
		{`"106751d"`, 106751 * day},

		{`""`, never}, {`"d"`, never}, {`"5"`, never}, {`"5x"`, never}, {`"5 m"`, never}, {`"m"`, never}, {`"1d2d"`, never}, {`"12h1d"`, never}, {`"+5m5"`, never},
		{`"P"`, never}, {`"PT"`, never}, {`"P1DT"`, never}, {`"P1Y"`, never}, {`"P1M"`, never}, {`"PT5"`, never}, {`"PT5MS"`, never}, {`"PT5S1M"`, never}, {`"pt5s"`, never}, {`"P..D"`, never},
		{`"-5m"`, never}, {`"-7d"`, never}, {`"1d-2h"`, never}, {`"PT-5M"`, never}, {`-1`, never}, {`-0.5`, never},
		{`9223372037`, never}, {`1e300`, never}, {`1e999`, never}, {`"9999999h"`, never}, {`"106752d"`, never}, {`"106751d24h"`, never}, {`"P99999W"`, never},
		{`1e-10`, never}, {`"0.1ns"`, never}, {`true`, never}, {`null`, never}, {`[1]`, never},
	} {
		t.Run(row.text, func(t *testing.T) {
			p, err := Parse(fmt.Appendf(nil, `{"rules": [{"name": "a", "after": %s}]}`, row.text))
			if row.want == never {
				if err == nil {
					t.Errorf("got %s", rulesOf(p))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Explain(Record{}, Place{}, start)[0].Rule.After; got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// event returns a conversation.timeout with other members.
func event(id, more string) string {
	return fmt.Sprintf(`{"Id": %q, "Type": "conversation.timeout", "IsEnable": true, "Timeout": 1, "Action": {"Type": "flow", "FlowId": "help"}%s}`, id, more)
}

func TestParseEvents(t *testing.T) {
	const help = " only_on_input since input after 1m0.000000001s times 0: goto=help\n"
	conditions := func(list string) string { return event("a", `, "FlowConditions": [`+list+`]`) }
	for _, row := range []struct{ name, document, want string }{
		{"the example, as it is", `{
    "Id": "Timeout",
    "Description": "逾時訊息",
    "Type": "conversation.timeout",
    "Timeout": 1,
    "Action": {
        "Type": "flow",
        "FlowId": "flow_00001",
        "IsInterrupt": true
    },
    "Priority": 50,
    "FlowConditions": [],
    "IsEnable": true
}`, "Timeout only_on_input since input after 1m0.000000001s times 0: goto=flow_00001\n"},
		{"in an array", "[" + event("a", "") + "]", "a" + help},
		{"under events", `{"events": [` + event("a", "") + "]}", "a" + help},
		{"after the rules, wherever they stand", `{"events": [` + event("a", "") + `], "rules": [{"name": "idle", "after": 60}]}`, "idle since input after 1m0s times 0: nothing\na" + help},
		{"half a minute", event("a", "")[:len(event("a", ""))-1] + `, "Description": "x"}`, "a" + help},
		{"of one priority in their order", "[" + event("a", "") + "," + event("b", "") + "]", "a" + help + "b" + help},
		{"a higher priority first", "[" + event("a", `, "Priority": 49`) + "," + event("b", "") + "," + event("c", `, "Priority": 100`) + "]", "c" + help + "b" + help + "a" + help},
		{"without conditions everywhere", conditions(``), "a" + help},
		{"none is everywhere", conditions(`{"Type": "none", "Value": ""}`), "a" + help},
		{"a condition without Type is none", conditions(`{}`), "a" + help},
		{"none beside others is everywhere", conditions(`{"Type": "none"}, {"Type": "flow", "Value": "x"}`), "a" + help},
		{"flow", conditions(`{"Type": "flow", "Value": "x"}`), `a at=["x"]` + help},
		{"several flows", conditions(`{"Type": "flow", "Value": "x, y"}, {"Type": "flow", "Value": "z"}`), `a at=["x" "y" "z"]` + help},
		{"flow and node are any of both", conditions(`{"Type": "flow", "Value": "x"}, {"Type": "node", "Value": "n"}`), `a at=["x" "n"]` + help},
		{"a blank id is: no dialog under way", conditions(`{"Type": "node", "Value": "n,"}`), `a at=["n" ""]` + help},
		{"flow.empty is: no dialog under way", conditions(`{"Type": "flow.empty", "Value": ""}`), `a at=[""]` + help},
		{"flow.excluded is an exception", conditions(`{"Type": "flow.excluded", "Value": "x,y"}`), "a at=[\"x\" \"y\"] since input after 0s times 0: nothing\na#2" + help},
		{"node.excluded beside flow", conditions(`{"Type": "node.excluded", "Value": "n"}, {"Type": "flow", "Value": "x"}`), "a at=[\"n\"] since input after 0s times 0: nothing\na#2 at=[\"x\"]" + help},
		{"a message", `{"Id": "a", "Type": "conversation.timeout", "IsEnable": true, "Timeout": 0.5, "Action": {"Type": "message", "Messages": [{"Type": "text", "Text": "One"}, {"Type": "none"}, {"Type": "text", "Text": "Two"}], "VariableActions": []}}`,
			"a only_on_input since input after 30.000000001s times 0: end return=One\n\nTwo take\n"},
		{"a message without texts", `{"Id": "a", "Type": "conversation.timeout", "IsEnable": true, "Timeout": 1, "Action": {"Type": "message", "Messages": []}}`,
			"a only_on_input since input after 1m0.000000001s times 0: end take\n"},
		{"one that is off", `[` + strings.Replace(event("a", ""), `"IsEnable": true`, `"IsEnable": false`, 1) + `]`, ""},
		{"a timeout of 0 is off", `[` + strings.Replace(event("a", ""), `"Timeout": 1`, `"Timeout": 0`, 1) + `]`, ""},
		{"without a timeout it is off", `[` + strings.Replace(event("a", ""), `"Timeout": 1, `, ``, 1) + `]`, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, err := Parse([]byte(row.document))
			if err != nil {
				t.Fatal(err)
			}
			if got := rulesOf(p); got != row.want {
				t.Errorf("got\n%swant\n%s", got, row.want)
			}
			if !p.MessagesOnly() {
				t.Error("invokes are user input too")
			}
		})
	}
}

func TestEventsFireAsTheirDocumentSays(t *testing.T) {
	parse := func(document string) Policy {
		p, err := Parse([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	excluded := parse("[" + event("a", `, "FlowConditions": [{"Type": "flow.excluded", "Value": "pay"}, {"Type": "flow", "Value": ",main"}]`) + "]")
	two := parse("[" + event("low", `, "Priority": 1`) + "," + strings.Replace(event("high", ""), `"Timeout": 1`, `"Timeout": 5`, 1) + "]")
	message := parse(`{"Id": "a", "Type": "conversation.timeout", "IsEnable": true, "Timeout": 1, "Action": {"Type": "message", "Messages": [{"Type": "text", "Text": "Hi"}]}}`)
	at := func(path ...string) Place { return Place{Path: path} }
	for _, row := range []struct {
		name string
		p    Policy
		r    Record
		at   Place
		now  time.Duration
		why  Cause
		want string
	}{
		{"exactly the timeout is not more", two, began(), at("main"), m, User, ": nothing"},
		{"a nanosecond more is", two, began(), at("main"), m + 1, User, "low: goto=help"},
		{"exactly one runs, of the highest priority that is due", two, began(), at("main"), 5*m + 1, User, "high: goto=help"},
		{"the user's first never", two, Record{}, at("main"), h, User, ": nothing"},
		{"the user's first never, though the bot has asked before", two, Record{}.Ask(start, "s1", Question{Waits: true, Put: true}), at("main"), h, User, ": nothing"},
		{"only when the user writes", two, began(), at("main"), h, Look, ": nothing"},
		{"flow matches any dialog on the path", excluded, began(), at("root", "main", "step"), h, User, "a#2: goto=help"},
		{"an excluded dialog on the path is none", excluded, began(), at("main", "pay"), h, User, ": nothing"},
		{"a blank id matches where none is under way", excluded, began(), at(), h, User, "a#2: goto=help"},
		{"another flow does not match", excluded, began(), at("other"), h, User, ": nothing"},
		{"a message ends the dialog and takes the turn", message, began(), at("main"), h, User, "a: end return=Hi take"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := show(row.p.Due(row.r, row.at, after(row.now), row.why)); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestParseRefusesEvents(t *testing.T) {
	with := func(old, new string) string {
		e := event("a", "")
		if !strings.Contains(e, old) {
			t.Fatalf("%s is not in the event", old)
		}
		return strings.Replace(e, old, new, 1)
	}
	const action = `"Action": {"Type": "flow", "FlowId": "help"}`
	message := func(content string) string {
		return with(action, `"Action": {"Type": "message", "Messages": [`+content+`]}`)
	}
	for _, row := range []struct{ name, document, want string }{
		{"another event", with(`"conversation.timeout"`, `"greeting"`), "Type must be conversation.timeout; other events are not supported"},
		{"an event without Type in a list", `[{"Id": "a"}]`, "Type must be conversation.timeout; other events are not supported"},
		{"an unknown key", event("a", `, "Enabled": true`), "Enabled: is unknown; allowed here: Id, Description, Type, Timeout, Action, Priority, FlowConditions, IsEnable"},
		{"no Id", with(`"Id": "a", `, ``), "Id is missing"},
		{"no Action", with(`, `+action, ``), "Action is missing"},
		{"no IsEnable", with(`"IsEnable": true, `, ``), "IsEnable is missing"},
		{"an Id twice", "[" + event("a", "") + "," + event("a", "") + "]", `[1].Id: is the name of another rule or event`},
		{"an Id that is a rule's name", `{"rules": [{"name": "a"}], "events": [` + event("a", "") + "]}", `events[0].Id: is the name of another rule or event`},
		{"a # in an Id", event("a#b", ""), `must not hold "#"`},
		{"a variable as timeout", with(`"Timeout": 1`, `"Timeout": "{{$.Variables.X}}"`), "Timeout: must be a number of minutes from 0, of at most 292 years; variables are not supported"},
		{"a negative timeout", with(`"Timeout": 1`, `"Timeout": -1`), "Timeout: must be a number of minutes from 0"},
		{"a timeout that overflows", with(`"Timeout": 1`, `"Timeout": 153722868`), "Timeout: must be a number of minutes from 0, of at most 292 years"},
		{"a priority over 100", event("a", `, "Priority": 101`), "Priority: must be a number from 0 to 100"},
		{"a priority under 0", event("a", `, "Priority": -1`), "Priority: must be a number from 0 to 100"},
		{"a priority in words", event("a", `, "Priority": "high"`), "Priority: must be a number from 0 to 100"},
		{"a composite action", with(action, `"Action": {"Type": "composite", "Conditions": []}`), "Action: Type must be flow or message; others, such as composite and flow.module, are not supported"},
		{"a module flow", with(action, `"Action": {"Type": "flow.module", "FlowId": "x"}`), "Action: Type must be flow or message"},
		{"an action without Type", with(action, `"Action": {}`), "Action: Type must be flow or message"},
		{"a flow without FlowId", with(action, `"Action": {"Type": "flow"}`), "FlowId is missing"},
		{"a flow with an empty FlowId", with(action, `"Action": {"Type": "flow", "FlowId": ""}`), "FlowId must not be empty"},
		{"a variable as FlowId", with(action, `"Action": {"Type": "flow", "FlowId": "{{$.Variables.X}}"}`), "FlowId: variables are not supported"},
		{"arguments", with(action, `"Action": {"Type": "flow", "FlowId": "x", "Arguments": {"a": 1}}`), "Action.Arguments: is not supported"},
		{"variable actions", with(action, `"Action": {"Type": "flow", "FlowId": "x", "VariableActions": [{}]}`), "Action.VariableActions: is not supported"},
		{"a message without Messages", with(action, `"Action": {"Type": "message"}`), "Messages is missing"},
		{"a card", message(`{"Type": "hero.card", "Title": "x"}`), "Messages[0]: Type must be text or none; other contents are not supported"},
		{"a text without Text", message(`{"Type": "text"}`), "Messages[0]: Text is missing"},
		{"a variable in a text", message(`{"Type": "text", "Text": "Hi {{$.Conversation.UserName}}"}`), "Messages[0].Text: variables are not supported"},
		{"quick replies", message(`{"Type": "text", "Text": "x", "QuickReply": [{}]}`), "Messages[0].QuickReply: is not supported"},
		{"another condition", event("a", `, "FlowConditions": [{"Type": "intent", "Value": "x"}]`), "FlowConditions[0]: Type must be one of none, flow, flow.empty, flow.excluded, node, node.excluded"},
		{"an older condition", event("a", `, "FlowConditions": [{"Flow": "", "Nodes": []}]`), "FlowConditions[0].Flow: is unknown; allowed here: Type, Value"},
		{"an id where none is asked for", event("a", `, "FlowConditions": [{"Type": "flow.empty", "Value": "x"}]`), "FlowConditions[0]: Value must be blank where Type is flow.empty"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse([]byte(row.document))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got\n%v\nwant\n%s", err, row.want)
			}
		})
	}
}

// FuzzParse holds Parse to be total, and what it takes to be what New takes.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"rules": [{"name": "a", "after": "PT1M", "do": {"end": true}, "then": {"say": "x"}}]}`))
	f.Add([]byte(`{"rules": [{"name": "a", "when": {"at": [""]}, "since": "asked", "after": 1e-9, "times": 3, "then": [{"after": "1d"}]}], "events": []}`))
	f.Add([]byte("[" + event("a", `, "Priority": 1, "FlowConditions": [{"Type": "flow.excluded", "Value": "x,,"}]`) + "," + event("b", "") + "]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			for _, problem := range err.(Problems) {
				if problem.Line < 1 || problem.Column < 1 || problem.Text == "" || strings.Contains(problem.String(), "\n") {
					t.Errorf("%#v", problem)
				}
			}
			return
		}
		var rules []Rule
		for _, line := range p.Explain(Record{}, Place{}, start) {
			rules = append(rules, line.Rule)
		}
		again := mustNew(t, rules...)
		if a, b := rulesOf(p), rulesOf(again); a != b {
			t.Errorf("parsed %s, compiled again %s", a, b)
		}
		p.Lint(Env{NoDialogs: true, NoDeadlines: true, Private: true, TTL: m})
	})
}
