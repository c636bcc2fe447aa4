package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	. "github.com/botlapse/botlapse/policy"
)

func TestNewRefuses(t *testing.T) {
	_, err := New(
		Rule{After: m},
		Rule{Name: "a#b", Since: 7, After: m},
		Rule{Name: "\xff", Times: -1, After: m, Do: Action{Close: true}},
		Rule{Name: "c", After: m, Then: []Step{{Times: MaxTimes + 1}, {Do: Action{Close: true}}}},
		Rule{Name: "fine", After: m, Times: MaxTimes, Do: Action{End: true, Close: true}})
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`rules[0].name: is missing`,
		`rule "a#b": rules[1].name: must not hold "#", because the second rule of a name is called name#2`,
		`rule "a#b": rules[1].since: Mark(7) is no mark`,
		`rule "\xff": rules[2].name: is not UTF-8`,
		`rule "\xff": rules[2].times: must be from 0 to 1000`,
		`rule "\xff": rules[2].do.close: needs end`,
		`rule "c": rules[3].then[0].times: must be from 0 to 1000`,
		`rule "c": rules[3].then[1].do.close: needs end`,
	}, "\n")
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	for i, problem := range problems {
		if problem.Warning || problem.Line != 0 {
			t.Errorf("problem %d: %+v", i, problem)
		}
	}
}

func TestPolicyKeepsNothingOfItsRules(t *testing.T) {
	rules := []Rule{{Name: "a", When: When{Channels: []string{"sms"}, At: []string{"x"}}, After: m, Then: []Step{{Do: say("A")}}}}
	p := mustNew(t, rules...)
	before := rulesOf(p)
	rules[0].When.Channels[0], rules[0].When.At[0], rules[0].Then[0].Do.Say = "line", "y", "B"
	line := p.Explain(Record{}, Place{}, start)[0]
	line.Rule.When.Channels[0], line.Rule.When.At[0], line.Rule.Then[0].Do.Say = "line", "y", "B"
	if got := rulesOf(p); got != before {
		t.Errorf("got %s, was %s", got, before)
	}
}

func TestLint(t *testing.T) {
	bye := Action{End: true, Say: "Bye", OnReturn: "Welcome"}
	idle := Rule{Name: "idle", After: 10 * m, Do: bye}
	with := func(r Rule, change func(*Rule)) Rule {
		change(&r)
		return r
	}
	on := func(r Rule, channels ...string) Rule {
		r.When.Channels = channels
		return r
	}
	in := func(r Rule, ids ...string) Rule {
		r.When.At, r.Since = ids, Asked
		return r
	}
	for _, row := range []struct {
		name  string
		rules []Rule
		env   Env
		want  string // all problems; "" for ok
	}{
		{name: "no rules"},
		{name: "a rule", rules: []Rule{idle}},
		{name: "an exception before the default", rules: []Rule{on(Rule{Name: "idle", Do: bye, Then: []Step{{After: m}}}, "sms"), idle}},
		{name: "an exception that does much of what is wrong", rules: []Rule{{Name: "idle", Do: Action{Ask: true, Goto: "x", End: true}}}, env: Env{NoDialogs: true, NoDeadlines: true}},
		{name: "a ladder", rules: []Rule{{Name: "nudge", After: m, Times: 3, Do: say("Hello?")}, idle}},
		{name: "a warning at the instant of the end, earlier on the page", rules: []Rule{{Name: "nudge", After: 10 * m, Do: say("Hello?")}, idle}},
		{name: "no input, twice, then the end", rules: []Rule{{Name: "no-input", Since: Asked, After: m, Times: 2, Do: Action{Ask: true}, Then: []Step{{Do: bye}}}}},
		{name: "a tier since Asked after an end since Asked", rules: []Rule{in(Rule{Name: "a", After: m, Do: bye, Then: []Step{{Do: bye}}}), in(Rule{Name: "b", After: h, Do: bye})}},
		{name: "a tier of another clock", rules: []Rule{idle, {Name: "life", Since: Began, After: h, Do: bye}}},
		{name: "a tier that an end elsewhere does not reach", rules: []Rule{on(idle, "sms"), {Name: "note", After: h, Do: say("A")}}},
		{name: "a tier that an exception lets be", rules: []Rule{on(Rule{Name: "idle"}, "sms"), idle, {Name: "note", After: h, Do: say("A")}}},
		{name: "a tier that an exception elsewhere does not let be", rules: []Rule{on(Rule{Name: "idle"}, "sms"), idle, on(Rule{Name: "note", After: h, Do: say("A")}, "line")},
			want: `rule "note": after: is never reached, because rule "idle#2" ends the session before`},
		{name: "a tier after the end of the same clock", rules: []Rule{idle, {Name: "note", After: h, Do: say("A")}},
			want: `rule "note": after: is never reached, because rule "idle" ends the session before`},
		{name: "a tier at the instant of the end, later on the page", rules: []Rule{idle, {Name: "note", After: 10 * m, Do: say("A")}},
			want: `rule "note": after: is never reached, because rule "idle" ends the session before`},
		{name: "a tier after the end of the same clock in each place", rules: []Rule{on(idle, "sms"), idle, {Name: "note", After: h, Do: say("A")}},
			want: `rule "note": after: is never reached, because rule "idle#2" ends the session before`},
		{name: "a step after the end of another rule", rules: []Rule{idle, {Name: "note", After: 9 * m, Do: say("A"), Then: []Step{{Do: say("B")}}}},
			want: `rule "note": then[0]: is never reached, because rule "idle" ends the session before`},
		{name: "a rule on input after a timer that ends", rules: []Rule{{Name: "back", OnlyOnInput: true, After: 10 * m, Do: Action{OnReturn: "A"}}, idle},
			want: `rule "back": after: is never reached, because rule "idle" ends the session before`},
		{name: "a rule on input before a timer that ends", rules: []Rule{{Name: "back", OnlyOnInput: true, After: 10*m - 1, Do: Action{OnReturn: "A"}}, idle}},
		{name: "a timer after an end on input", rules: []Rule{{Name: "back", OnlyOnInput: true, After: m, Do: bye2()}, {Name: "note", After: h, Do: say("A")}}},
		{name: "a tier within the steps before an end", rules: []Rule{{Name: "idle", After: 10 * m, Times: 3, Do: say("A"), Then: []Step{{Do: bye}}}, {Name: "note", After: 35 * m, Do: say("B")}}},
		{name: "a tier after the steps before an end", rules: []Rule{{Name: "idle", After: 10 * m, Times: 3, Do: say("A"), Then: []Step{{Do: bye}}}, {Name: "note", After: 40 * m, Do: say("B")}},
			want: `rule "note": after: is never reached, because rule "idle" ends the session before`},
		{name: "an end that is done twice", rules: []Rule{with(idle, func(r *Rule) { r.Times = 2 })},
			want: `rule "idle": after: ends the session, so that what comes after it is never reached`},
		{name: "a step after an end", rules: []Rule{{Name: "idle", After: m, Do: say("A"), Then: []Step{{Do: bye}, {Do: say("B")}}}},
			want: `rule "idle": then[0]: ends the session, so that what comes after it is never reached`},
		{name: "a shadowed rule", rules: []Rule{idle, on(idle, "sms")},
			want: `rule "idle#2": when: is never in force, because earlier rules of its name hold wherever it does`},
		{name: "a rule that several shadow", rules: []Rule{on(idle, "sms", "line"), on(idle, "webchat"), on(idle, "webchat", "sms")},
			want: `rule "idle#3": when: is never in force, because earlier rules of its name hold wherever it does`},
		{name: "a rule that is shadowed in a part only", rules: []Rule{on(idle, "sms"), on(idle, "webchat", "sms")}},
		{name: "a rule that is shadowed by who answers", rules: []Rule{with(idle, func(r *Rule) { r.When.By = "bot" }), with(idle, func(r *Rule) { r.When.By = "bot" })},
			want: `rule "idle#2": when: is never in force, because earlier rules of its name hold wherever it does`},
		{name: "a rule of another who answers", rules: []Rule{with(idle, func(r *Rule) { r.When.By = "agent" }), idle}},
		{name: "an exception that is shadowed", rules: []Rule{idle, on(Rule{Name: "idle"}, "sms")},
			want: `rule "idle#2": when: is never in force, because earlier rules of its name hold wherever it does`},
		{name: "ask without dialogs", rules: []Rule{{Name: "a", After: m, Do: Action{Ask: true}}}, env: Env{NoDialogs: true}, want: `rule "a": do.ask: needs dialogs`},
		{name: "goto without dialogs", rules: []Rule{{Name: "a", After: m, Then: []Step{{Do: Action{Goto: Target}}}}}, env: Env{NoDialogs: true}, want: `rule "a": then[0].do.goto: needs dialogs`},
		{name: "since Asked without dialogs", rules: []Rule{{Name: "a", Since: Asked, After: m}}, env: Env{NoDialogs: true}, want: `rule "a": since: asked needs dialogs`},
		{name: "a dialog without dialogs", rules: []Rule{with(idle, func(r *Rule) { r.When.At = []string{"x", ""}; r.OnlyOnInput, r.Do.Say = true, "" })}, env: Env{NoDialogs: true}, want: `rule "idle": when.at: "x" needs dialogs`},
		{name: "no dialog under way, without dialogs", rules: []Rule{with(idle, func(r *Rule) { r.When.At = []string{""} })}, env: Env{NoDialogs: true}},
		{name: "who answers in private", rules: []Rule{with(idle, func(r *Rule) { r.When.By = "agent" })}, env: Env{Private: true}, want: `rule "idle": when.by: is not known in private conversations`},
		{name: "since Resolved in private", rules: []Rule{with(idle, func(r *Rule) { r.Since = Resolved })}, env: Env{Private: true}, want: `rule "idle": since: resolved is not known in private conversations`},
		{name: "a channel that is not known", rules: []Rule{on(idle, "WebChat")}, want: `warning: rule "idle": when.channels: "WebChat" is no channel that is known`},
		{name: "a channel that the bot does not have", rules: []Rule{on(idle, "sms")}, env: Env{Channels: []string{"line"}}, want: `warning: rule "idle": when.channels: "sms" is no channel that is known`},
		{name: "a dialog that is not known", rules: []Rule{in(idle, "x")}, env: Env{Dialogs: []string{"main"}}, want: `warning: rule "idle": when.at: "x" is no dialog, step or prompt that is known`},
		{name: "a goto that is not known", rules: []Rule{{Name: "a", After: m, Do: Action{Goto: "x"}}}, env: Env{Dialogs: []string{"main"}}, want: `warning: rule "a": do.goto: "x" is no dialog that is known`},
		{name: "dialogs that are known", rules: []Rule{in(with(idle, func(r *Rule) { r.Do.Goto = "main" }), "main"), {Name: "b", After: m, Do: Action{Goto: Target}}}, env: Env{Dialogs: []string{"main"}}},
		{name: "dialogs of which nothing is known", rules: []Rule{in(idle, "x")}},
		{name: "an end that nobody is told of", rules: []Rule{{Name: "idle", After: m, Do: Action{End: true}}}, want: `warning: rule "idle": do.end: is never told to the user`},
		{name: "an end that hangs up", rules: []Rule{{Name: "idle", After: m, Do: Action{End: true, Close: true}}}},
		{name: "an end that goes on in a dialog", rules: []Rule{{Name: "idle", After: m, Do: Action{End: true, Goto: Target}}}},
		{name: "a Say without deadlines", rules: []Rule{idle}, env: Env{NoDeadlines: true}, want: `warning: rule "idle": do.say: is never said, because the rule is looked at when the user writes; on_return is told then`},
		{name: "an end with a Say alone, without deadlines", rules: []Rule{{Name: "idle", After: m, Do: end("Bye")}}, env: Env{NoDeadlines: true},
			want: `warning: rule "idle": do.say: is never said, because the rule is looked at when the user writes; on_return is told then
warning: rule "idle": do.end: is never told to the user`},
		{name: "a Say since Began, without deadlines", rules: []Rule{{Name: "life", Since: Began, After: m, Do: say("A")}}, env: Env{NoDeadlines: true}},
		{name: "a Say on input", rules: []Rule{{Name: "back", OnlyOnInput: true, After: m, Do: say("A")}}, want: `warning: rule "back": do.say: is never said, because the rule is looked at when the user writes; on_return is told then`},
		{name: "since Input in some dialog", rules: []Rule{with(idle, func(r *Rule) { r.When.At = []string{"x"} })}, want: `warning: rule "idle": since: asked is probably meant, because the rule holds only in some dialog`},
		{name: "since Input on input in some dialog", rules: []Rule{{Name: "back", When: When{At: []string{"x"}}, OnlyOnInput: true, After: m, Do: Action{OnReturn: "A"}}}},
		{name: "on input before a timer of its name", rules: []Rule{{Name: "idle", When: When{By: "bot"}, OnlyOnInput: true, After: m, Do: Action{OnReturn: "A"}}, idle}, want: `warning: rule "idle": only_on_input: keeps later timers of its name out of force where it holds`},
		{name: "a storage that drops before a rule", rules: []Rule{{Name: "a", After: h, Times: 2, Do: say("A"), Then: []Step{{After: h}}}}, env: Env{TTL: 3*h - 1}, want: `warning: rule "a": after: lasts 3h0m0s, and the storage keeps conversations for 2h59m59.999999999s`},
		{name: "a storage that does not", rules: []Rule{{Name: "a", After: h, Times: 2, Do: say("A"), Then: []Step{{After: h}}}}, env: Env{TTL: 3 * h}},
		{name: "much at once", rules: []Rule{idle, on(idle, "x")}, env: Env{NoDeadlines: true}, want: `warning: rule "idle": do.say: is never said, because the rule is looked at when the user writes; on_return is told then
rule "idle#2": when: is never in force, because earlier rules of its name hold wherever it does
warning: rule "idle#2": when.channels: "x" is no channel that is known
warning: rule "idle#2": do.say: is never said, because the rule is looked at when the user writes; on_return is told then`},
	} {
		t.Run(row.name, func(t *testing.T) {
			problems := mustNew(t, row.rules...).Lint(row.env)
			if got := Problems(problems).Error(); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

func bye2() Action { return Action{End: true, OnReturn: "Welcome"} }

// FuzzLint holds what Lint calls unreachable to random schedules.
func FuzzLint(f *testing.F) {
	f.Add([]byte("0123456789"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := dice(data)
		rules := d.rules()
		for i := range rules { // stored instants are rounded up, which may change the order of steps that are less apart
			rules[i].After = rules[i].After.Truncate(s)
			for n := range rules[i].Then {
				rules[i].Then[n].After = rules[i].Then[n].After.Truncate(s)
			}
		}
		p := mustNew(t, rules...)
		never := map[string]bool{}
		for _, problem := range p.Lint(Env{}) {
			if problem.Key == "when" || problem.Key == "after" && strings.HasPrefix(problem.Text, "is never reached") {
				never[problem.Rule] = true
			}
		}
		r, now, at := began(), start, d.place()
		for range 30 {
			if len(d) == 0 {
				break
			}
			why := pick(&d, Look, User, NoInput)
			v := p.Due(r, at, now, why)
			for _, e := range v.Fired {
				if never[e.Line] {
					t.Fatalf("%s fires, but Lint says never:\n%s\n%s", e.Line, Problems(p.Lint(Env{})).Error(), rulesOf(p))
				}
			}
			if r = p.Apply(r, v, now); why == User {
				r = r.Arrive(now, fmt.Sprint(now))
			}
			switch d.roll(4) {
			case 1:
				r = r.HandOff(now, pick(&d, "bot", "agent"))
			case 2:
				r = r.Ask(now, "", Question{Waits: true, Put: true})
			case 3:
				r = r.Resolve(now)
			}
			now = now.Add(pick(&d, m, s, 5*m, h, m-1))
		}
	})
}
