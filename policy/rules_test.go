package policy_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/botlapse/botlapse/policy"
)

const (
	s = time.Second
	m = time.Minute
	h = time.Hour

	never = time.Duration(-1)
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// after returns the instant so long after the start of all tests.
func after(d time.Duration) time.Time { return start.Add(d) }

func mustNew(t testing.TB, rules ...Rule) Policy {
	t.Helper()
	p, err := New(rules...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func end(say string) Action  { return Action{End: true, Say: say} }
func say(text string) Action { return Action{Say: text} }

// A dueRow says when one line is due.
type dueRow struct {
	name  string
	rules []Rule
	r     Record
	at    Place
	why   Cause
	line  string
	due   time.Duration // since the start, or never
}

// run looks right before the line is due and when it is.
func (row dueRow) run(t *testing.T) {
	t.Run(row.name, func(t *testing.T) {
		p := mustNew(t, row.rules...)
		fires := func(now time.Time) bool {
			for _, e := range p.Due(row.r, row.at, now, row.why).Fired {
				if e.Line == row.line {
					return true
				}
			}
			return false
		}
		if row.due == never {
			for _, d := range []time.Duration{0, m, h, 24 * h, 10000 * h} {
				if fires(after(d)) {
					t.Errorf("%s fires after %v, want never", row.line, d)
				}
			}
			return
		}
		if fires(after(row.due - 1)) {
			t.Errorf("%s fires 1 ns before %v", row.line, row.due)
		}
		if !fires(after(row.due)) {
			t.Errorf("%s does not fire at %v", row.line, row.due)
		}
	})
}

// A verdictRow says what a look finds.
type verdictRow struct {
	name  string
	rules []Rule
	r     Record
	at    Place
	now   time.Duration // since the start
	why   Cause
	want  string // as show has it
}

func (row verdictRow) run(t *testing.T) {
	t.Run(row.name, func(t *testing.T) {
		p := mustNew(t, row.rules...)
		if got := show(p.Due(row.r, row.at, after(row.now), row.why)); got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
	})
}

// show writes a verdict as "nudge nudge idle: end say=Goodbye; next 10m".
func show(v Verdict) string {
	var lines []string
	for _, e := range v.Fired {
		lines = append(lines, e.Line)
	}
	text := strings.Join(lines, " ") + ": " + showAction(v.Action)
	if !v.Next.IsZero() {
		text += "; next " + v.Next.Sub(start).String()
	}
	return text
}

func showAction(a Action) string {
	var parts []string
	for _, part := range []struct {
		is   bool
		text string
	}{
		{a.End, "end"}, {a.Close, "close"}, {a.Say != "", "say=" + a.Say}, {a.OnReturn != "", "return=" + a.OnReturn},
		{a.Ask, "ask"}, {a.Goto != "", "goto=" + a.Goto}, {a.Take, "take"},
	} {
		if part.is {
			parts = append(parts, part.text)
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, " ")
}

// began is the record of a session that began with an input at the start.
func began() Record { return Record{}.Arrive(start, "s1") }

// asked is began with a question put at the start.
func asked() Record { return began().Ask(start, "", Question{Waits: true, Put: true}) }

func TestRule1Which(t *testing.T) {
	idle := func(w When, d time.Duration) Rule { return Rule{Name: "idle", When: w, After: d, Do: end("Bye")} }
	for _, row := range []dueRow{
		{name: "a rule without When holds everywhere", rules: []Rule{idle(When{}, m)}, line: "idle", due: m},
		{name: "a rule holds on any of its channels", rules: []Rule{idle(When{Channels: []string{"sms", "line"}}, m)}, at: Place{Channel: "line"}, line: "idle", due: m},
		{name: "a rule does not hold on another channel", rules: []Rule{idle(When{Channels: []string{"sms"}}, m)}, at: Place{Channel: "line"}, line: "idle", due: never},
		{name: "a rule holds at any id of the path", rules: []Rule{idle(When{At: []string{"x", "main"}}, m)}, at: Place{Path: []string{"main", "ask"}}, line: "idle", due: m},
		{name: "a rule holds at the prompt that waits", rules: []Rule{idle(When{At: []string{"ask"}}, m)}, at: Place{Path: []string{"main", "ask"}}, line: "idle", due: m},
		{name: "a rule does not hold elsewhere", rules: []Rule{idle(When{At: []string{"x"}}, m)}, at: Place{Path: []string{"main", "ask"}}, line: "idle", due: never},
		{name: "the empty id is no dialog under way", rules: []Rule{idle(When{At: []string{""}}, m)}, line: "idle", due: m},
		{name: "the empty id is not a dialog under way", rules: []Rule{idle(When{At: []string{""}}, m)}, at: Place{Path: []string{"main"}}, line: "idle", due: never},
		{name: "the bot answers where nobody else does", rules: []Rule{idle(When{By: "bot"}, m)}, line: "idle", due: m},
		{name: "a rule of an agent's does not hold while the bot answers", rules: []Rule{idle(When{By: "agent"}, m)}, line: "idle", due: never},
		{name: "all that is not empty must hold", rules: []Rule{idle(When{Channels: []string{"sms"}, By: "agent"}, m)}, at: Place{Channel: "sms"}, line: "idle", due: never},
		{name: "rules of other names are in force together", rules: []Rule{{Name: "nudge", After: m, Do: say("Hello?")}, idle(When{}, 2*m)}, line: "idle", due: 2 * m},
		{name: "of one name the first that holds is in force", rules: []Rule{idle(When{Channels: []string{"sms"}}, 2*m), idle(When{}, m)}, at: Place{Channel: "sms"}, line: "idle", due: 2 * m},
		{name: "of one name a later one is not", rules: []Rule{idle(When{Channels: []string{"sms"}}, 2*m), idle(When{}, m)}, at: Place{Channel: "sms"}, line: "idle#2", due: never},
		{name: "of one name the second is in force where the first does not hold", rules: []Rule{idle(When{Channels: []string{"sms"}}, 2*m), idle(When{}, m)}, at: Place{Channel: "line"}, line: "idle#2", due: m},
		{name: "an exception is an earlier line with after 0", rules: []Rule{idle(When{Channels: []string{"sms"}}, 0), idle(When{}, m)}, at: Place{Channel: "sms"}, line: "idle#2", due: never},
		{name: "an exception itself is never due", rules: []Rule{idle(When{}, 0)}, line: "idle", due: never},
		{name: "an exception holds where it holds only", rules: []Rule{idle(When{Channels: []string{"sms"}}, 0), idle(When{}, m)}, at: Place{Channel: "line"}, line: "idle#2", due: m},
		{name: "an exception lets other names be", rules: []Rule{idle(When{}, 0), {Name: "nudge", After: m}}, line: "nudge", due: m},
		{name: "a negative after is never", rules: []Rule{idle(When{}, -m)}, line: "idle", due: never},
	} {
		row.r = began()
		row.run(t)
	}

	t.Run("lines are counted, not names", func(t *testing.T) {
		p := mustNew(t, Rule{Name: "nudge", When: When{Channels: []string{"sms"}}, After: m}, Rule{Name: "nudge", After: m})
		r := began()
		r = p.Apply(r, p.Due(r, Place{Channel: "sms"}, after(m), Look), after(m))
		if v := p.Due(r, Place{Channel: "sms"}, after(h), Look); len(v.Fired) != 0 {
			t.Errorf("nudge fires again: %s", show(v))
		}
		if got, want := show(p.Due(r, Place{Channel: "line"}, after(h), Look)), "nudge#2: nothing"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestRule2When(t *testing.T) {
	ladder := Rule{Name: "ladder", After: 10 * m, Do: say("1"), Then: []Step{{After: 5 * m, Do: say("2")}, {Do: end("3")}}}
	thrice := Rule{Name: "thrice", After: 10 * m, Times: 3, Do: say("Hello?")}
	asking := Rule{Name: "asking", Since: Asked, After: 20 * s, Times: 2, Do: Action{Ask: true}, Then: []Step{{Do: end("Bye")}}}
	did := func(r Record, line string, f Fired) Record {
		r.Fired = map[string]Fired{line: f}
		return r
	}
	moved := began()
	moved.HandedOff, moved.By = after(8*m), "agent"
	again := asked()
	again.Asked = after(m)
	for _, row := range []dueRow{
		{name: "the first step is due After its mark", rules: []Rule{ladder}, r: began(), line: "ladder", due: 10 * m},
		{name: "a step is due After the one before was due", rules: []Rule{ladder}, r: did(began(), "ladder", Fired{Times: 1, At: after(10 * m)}), line: "ladder", due: 15 * m},
		{name: "a step of Then without After is due as the one before", rules: []Rule{ladder}, r: did(began(), "ladder", Fired{Times: 2, At: after(15 * m)}), line: "ladder", due: 20 * m},
		{name: "a line goes through its steps once", rules: []Rule{ladder}, r: did(began(), "ladder", Fired{Times: 3, At: after(20 * m)}), line: "ladder", due: never},
		{name: "each of a step's Times counts as a step", rules: []Rule{thrice}, r: did(began(), "thrice", Fired{Times: 2, At: after(20 * m)}), line: "thrice", due: 30 * m},
		{name: "a step is due Times times", rules: []Rule{thrice}, r: did(began(), "thrice", Fired{Times: 3, At: after(30 * m)}), line: "thrice", due: never},
		{name: "a mark that moves restarts the clock", rules: []Rule{ladder}, r: moved, line: "ladder", due: 18 * m},
		{name: "a mark that moves past the step before restarts the clock", rules: []Rule{thrice}, r: did(moved, "thrice", Fired{Times: 1, At: after(5 * m)}), line: "thrice", due: 18 * m},
		{name: "a mark before the step before does not count", rules: []Rule{thrice}, r: did(moved, "thrice", Fired{Times: 1, At: after(10 * m)}), line: "thrice", due: 20 * m},
		{name: "a mark that moves does not change the count", rules: []Rule{ladder}, r: did(moved, "ladder", Fired{Times: 3, At: after(m)}), line: "ladder", due: never},
		{name: "a line since Asked is due After it last fired", rules: []Rule{asking}, r: did(asked(), "asking", Fired{Since: Asked, Times: 1, At: after(2 * m)}), line: "asking", due: 2*m + 20*s},
		{name: "a line since Asked is due After its mark moved", rules: []Rule{asking}, r: did(again, "asking", Fired{Since: Asked, Times: 1, At: after(50 * s)}), line: "asking", due: m + 20*s},
		{name: "a mark that has not happened makes nothing due", rules: []Rule{asking}, r: began(), line: "asking", due: never},
		{name: "a mark in the future counts from there", rules: []Rule{ladder}, r: Record{Input: after(h)}, line: "ladder", due: h + 10*m},
		{name: "an After of a nanosecond counts", rules: []Rule{{Name: "ns", After: m + 1}}, r: began(), line: "ns", due: m + 1},
	} {
		row.run(t)
	}

	for _, row := range []struct {
		name  string
		since Mark
		now   func(Record) Record // what happens after the line has fired
		want  bool                // it fires again
	}{
		{"a line since Input fires anew after user input", Input, func(r Record) Record { return r.Arrive(after(h), "s2") }, true},
		{"a line since Input does not fire anew after handing off", Input, func(r Record) Record { return r.HandOff(after(h), "agent") }, false},
		{"a line since Began does not fire anew after user input", Began, func(r Record) Record { return r.Arrive(after(h), "s2") }, false},
		{"a line since Began fires anew in the next session", Began, func(r Record) Record { return r.End(after(h)).Arrive(after(h), "s2") }, true},
		{"a line since Asked fires anew after user input", Asked, func(r Record) Record {
			return r.Arrive(after(h), "s2").Ask(after(h), "", Question{Waits: true, Put: true})
		}, true},
		{"a line since Asked does not fire anew when the question is put again", Asked, func(r Record) Record {
			return r.Ask(after(h), "", Question{Waits: true, Put: true})
		}, false},
		{"a line since Resolved fires anew after user input and resolving", Resolved, func(r Record) Record {
			return r.Arrive(after(h), "s2").Resolve(after(h))
		}, true},
		{"a line since Resolved does not fire anew when it is resolved again", Resolved, func(r Record) Record { return r.Resolve(after(h)) }, false},
		{"a line since Input fires anew in a session that the program began", Input, func(r Record) Record {
			return r.End(after(h)).Begin(after(h), "s2")
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := mustNew(t, Rule{Name: "line", Since: row.since, After: m})
			r := asked()
			if row.since == Resolved {
				r = r.Resolve(start)
			}
			r = p.Apply(r, p.Due(r, Place{}, after(m), Look), after(m))
			if r.Fired["line"].Times != 1 {
				t.Fatal("the line has not fired")
			}
			if v := p.Due(row.now(r), Place{}, after(3*h), Look); (len(v.Fired) == 1) != row.want {
				t.Errorf("got %s", show(v))
			}
		})
	}
}

func TestRule3Input(t *testing.T) {
	rules := []Rule{{Name: "idle", After: 10 * m, Do: end("Bye")}}
	for _, row := range []dueRow{
		{name: "Input is the last user input", r: began().Arrive(after(m), "s2"), due: 11 * m},
		{name: "Input is the last change of who answers", r: began().HandOff(after(m), "agent"), due: 11 * m},
		{name: "giving back to the bot is a change", r: began().HandOff(after(m), "agent").HandOff(after(2*m), "bot"), due: 12 * m},
		{name: "handing off to the same is none", r: began().HandOff(after(m), "agent").HandOff(after(2*m), "agent"), due: 11 * m},
		{name: "giving to the bot what it has is none", r: began().HandOff(after(m), "bot"), due: 10 * m},
		{name: "Input is when the session began, without any input", r: Record{}.Begin(after(m), "s1"), due: 11 * m},
		{name: "Input is when the session began, after older input", r: began().End(after(m)).Begin(after(2*m), "s2"), due: 12 * m},
		{name: "an input of an unrecorded session counts", r: Record{Input: after(m)}, due: 11 * m},
		{name: "an input before the last does not take time away", r: Record{}.Arrive(after(5*m), "s1").Arrive(after(4*m), "s2"), due: 15 * m},
		{name: "neither a question nor resolving counts", r: began().Ask(after(m), "", Question{Waits: true, Put: true}).Resolve(after(m)), due: 10 * m},
	} {
		row.rules, row.line = rules, "idle"
		row.run(t)
	}
}

func TestRule4Asked(t *testing.T) {
	put := Question{Waits: true, Put: true, Sent: true}
	spoke := Question{Waits: true, Sent: true, Speaks: true}
	for _, row := range []struct {
		name string
		r    Record
		want time.Duration // of Asked since the start, or never
	}{
		{"a turn that put the waiting prompt sets it", began().Ask(after(m), "", put), m},
		{"a turn that put it again sets it again", began().Ask(after(m), "", put).Ask(after(2*m), "", put), 2 * m},
		{"a turn that sent something while it is not set sets it", began().Ask(after(m), "", Question{Waits: true, Sent: true}), m},
		{"a turn that sent something while it is set does not", began().Ask(after(m), "", put).Ask(after(2*m), "", Question{Waits: true, Sent: true}), m},
		{"a turn that sent nothing does not", began().Ask(after(m), "", Question{Waits: true}), never},
		{"a turn that sent something without a prompt does not", began().Ask(after(m), "", Question{Sent: true}), never},
		{"what is sent while a person answers does not", began().HandOff(start, "agent").Ask(after(m), "", Question{Waits: true, Sent: true}), never},
		{"a prompt that is put while a person answers does", began().HandOff(start, "agent").Ask(after(m), "", put), m},
		{"user input removes it", asked().Arrive(after(m), "s2"), never},
		{"End removes it", asked().End(after(m)), never},
		{"a turn after which no prompt waits removes it", asked().Ask(after(m), "", Question{Sent: true}), never},
		{"handing off removes it", asked().HandOff(after(m), "nobody"), never},
		{"handing off to who answers does not", asked().HandOff(after(m), "bot"), 0},
		{"on a channel that speaks, putting a prompt does not set it", began().Ask(after(m), "", Question{Waits: true, Put: true, Sent: true, Speaks: true}), never},
		{"on a channel that speaks, putting a prompt removes it", asked().Ask(after(m), "", Question{Waits: true, Put: true, Sent: true, Speaks: true}), never},
		{"on a channel that speaks, sending something does not set it", began().Ask(after(m), "", spoke), never},
		{"on a channel that speaks, the report sets it", began().Ask(after(m), "", Question{Waits: true, Speaks: true, Spoken: true}), m},
		{"on a channel that speaks, the report without a prompt does not", began().Ask(after(m), "", Question{Speaks: true, Spoken: true}), never},
		{"a report whose own turn puts the next prompt does not", began().Ask(after(m), "", Question{Waits: true, Put: true, Speaks: true, Spoken: true}), never},
	} {
		t.Run(row.name, func(t *testing.T) {
			var want time.Time
			if row.want != never {
				want = after(row.want)
			}
			if !row.r.Asked.Equal(want) {
				t.Errorf("got %v, want %v", row.r.Asked, want)
			}
		})
	}
}

func TestRule5Session(t *testing.T) {
	put := Question{Waits: true, Put: true}
	first := Record{}.Ask(after(m), "s1", put)
	for _, row := range []struct {
		name    string
		r       Record
		session string
		began   time.Duration
	}{
		{"user input begins one if there is none", Record{}.Arrive(after(m), "s1"), "s1", m},
		{"user input goes on with the one under way", began().Arrive(after(m), "s2"), "s1", 0},
		{"user input begins one if it has ended", began().End(after(m)).Arrive(after(2*m), "s2"), "s2", 2 * m},
		{"Begin begins one if there is none", Record{}.Begin(after(m), "s1"), "s1", m},
		{"Begin goes on with the one under way", began().Begin(after(m), "s2"), "s1", 0},
		{"Begin begins one if it has ended", began().End(after(m)).Begin(after(2*m), "s2"), "s2", 2 * m},
		{"the first question begins one where there has never been one", first, "s1", m},
		{"user input goes on with what a question began", first.Arrive(after(2*m), "s2"), "s1", m},
		{"a question begins none after one that has ended", began().End(after(m)).Ask(after(2*m), "s2", put), "s1", 0},
		{"a question begins none where others have stored an input", Record{Input: start}.Ask(after(m), "s1", put), "", never},
		{"a turn that puts no question begins none", Record{}.Ask(after(m), "s1", Question{Sent: true}), "", never},
		{"one that was not recorded is recorded from the next input on", Record{Input: start}.Arrive(after(m), "s1"), "s1", m},
		{"one that is not recorded has no id and no beginning", Record{}.Arrive(after(m), ""), "", never},
	} {
		t.Run(row.name, func(t *testing.T) {
			var want time.Time
			if row.began != never {
				want = after(row.began)
			}
			if row.r.Session != row.session || !row.r.Began.Equal(want) {
				t.Errorf("got %q began %v, want %q began %v", row.r.Session, row.r.Began, row.session, want)
			}
		})
	}
	t.Run("lastAccessed is of user input only", func(t *testing.T) {
		r := Record{}.Begin(after(m), "s1").Ask(after(2*m), "", put).HandOff(after(3*m), "agent").Resolve(after(4 * m)).End(after(5 * m))
		if !r.Input.IsZero() {
			t.Errorf("Input is %v", r.Input)
		}
	})
	t.Run("a new session is not ended, and what was begun before has no clock in it", func(t *testing.T) {
		p := mustNew(t, Rule{Name: "life", Since: Began, After: h, Do: end("Bye")})
		r := began().End(after(m)).Arrive(after(30*m), "s2")
		if got, want := show(p.Due(r, Place{}, after(h), Look)), ": nothing; next 1h30m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("who has been handed a conversation before its first session answers in it", func(t *testing.T) {
		if r := (Record{}).HandOff(start, "agent").Arrive(after(m), "s1"); r.By != "agent" {
			t.Errorf("%q answers", r.By)
		}
	})
}

func TestRule6Resolved(t *testing.T) {
	idle := Rule{Name: "idle", After: 10 * m, Do: end("Bye")}
	noInput := Rule{Name: "no-input", Since: Asked, After: m, Do: Action{Ask: true}}
	life := Rule{Name: "life", Since: Began, After: h, Do: end("Late")}
	kept := Rule{Name: "kept", Since: Resolved, After: 5 * m, Do: end("Closed")}
	elsewhere := kept
	elsewhere.When.Channels = []string{"sms"}
	exception := Rule{Name: "kept"}
	resolved := asked().Resolve(after(2 * m))
	for _, row := range []dueRow{
		{name: "a rule since Resolved counts from it", rules: []Rule{kept}, r: resolved, line: "kept", due: 7 * m},
		{name: "rules since Input rest", rules: []Rule{idle, kept}, r: resolved, line: "idle", due: never},
		{name: "rules since Asked rest", rules: []Rule{noInput, kept}, r: resolved, line: "no-input", due: never},
		{name: "a cause from outside does not wake them", rules: []Rule{noInput, kept}, r: resolved, why: NoInput, line: "no-input", due: never},
		{name: "rules that are judged on input rest", rules: []Rule{{Name: "back", OnlyOnInput: true, After: m}, kept}, r: resolved, why: User, line: "back", due: never},
		{name: "rules since Began do not", rules: []Rule{life, {Name: "kept", Since: Resolved, After: 5 * h}}, r: resolved, line: "life", due: h},
		{name: "they do not rest where no rule since Resolved is in force", rules: []Rule{idle, elsewhere}, r: resolved, line: "idle", due: 10 * m},
		{name: "they do not rest where it is an exception", rules: []Rule{idle, exception, kept}, r: resolved, line: "idle", due: 10 * m},
		{name: "they rest though it has fired", rules: []Rule{idle, {Name: "kept", Since: Resolved, After: m}}, r: func() Record {
			r := resolved
			r.Fired = map[string]Fired{"kept": {Since: Resolved, Times: 1, At: after(3 * m)}}
			return r
		}(), line: "idle", due: never},
		{name: "resolving again moves nothing", rules: []Rule{kept}, r: resolved.Resolve(after(4 * m)), line: "kept", due: 7 * m},
		{name: "user input removes it", rules: []Rule{kept}, r: resolved.Arrive(after(3*m), "s2"), line: "kept", due: never},
		{name: "user input wakes the others", rules: []Rule{idle, kept}, r: resolved.Arrive(after(3*m), "s2"), line: "idle", due: 13 * m},
		{name: "resolving does nothing once the session has ended", rules: []Rule{kept}, r: asked().End(after(m)).Resolve(after(2 * m)), line: "kept", due: never},
		{name: "a user who writes too late finds it due", rules: []Rule{idle, kept}, r: resolved, why: User, line: "kept", due: 7 * m},
	} {
		row.run(t)
	}
	t.Run("resolving does nothing without a session under way", func(t *testing.T) {
		for _, r := range []Record{{}, began().End(after(m)).Delivered([]Event{{Session: "s1", Seq: 1}})} {
			if r = r.Resolve(after(2 * m)); !r.Resolved.IsZero() || r.Open != nil {
				t.Errorf("resolved %v, open %+v", r.Resolved, r.Open)
			}
		}
	})
	t.Run("the same session goes on", func(t *testing.T) {
		if r := resolved.Arrive(after(3*m), "s2"); r.Session != "s1" || !r.Ended.IsZero() {
			t.Errorf("session %q ended %v", r.Session, r.Ended)
		}
	})
}

func TestRule7End(t *testing.T) {
	put := Question{Waits: true, Put: true}
	p := mustNew(t,
		Rule{Name: "no-input", Since: Asked, After: m, Times: 2, Do: Action{Ask: true}, Then: []Step{{Do: end("Bye")}}},
		Rule{Name: "idle", After: 10 * m, Do: end("Bye")},
		Rule{Name: "life", Since: Began, After: h, Do: say("Late")},
		Rule{Name: "kept", Since: Resolved, After: h, Do: say("Closed")})
	ended := func() Record {
		r := began().HandOff(start, "agent").Ask(start, "", put)
		r.Fired = map[string]Fired{"no-input": {Since: Asked, Times: 2, At: start, Mark: start}}
		v := p.Due(r, Place{}, after(10*m), Look)
		if !v.Ends {
			t.Fatalf("the session does not end: %s", show(v))
		}
		return p.Apply(r, v, after(10*m))
	}
	t.Run("it gives the conversation back to the bot", func(t *testing.T) {
		if r := ended(); r.By != "" || !r.HandedOff.IsZero() {
			t.Errorf("%q answers since %v", r.By, r.HandedOff)
		}
	})
	t.Run("it removes Asked", func(t *testing.T) {
		if r := ended(); !r.Asked.IsZero() {
			t.Errorf("Asked is %v", r.Asked)
		}
	})
	t.Run("after it nothing has a clock", func(t *testing.T) {
		r := ended()
		for _, why := range []Cause{Look, User, NoInput} {
			if v := p.Due(r, Place{}, after(1000*h), why); len(v.Fired) > 0 || !v.Next.IsZero() {
				t.Errorf("cause %d: %s", why, show(v))
			}
		}
	})
	t.Run("after it only a question that is put since then has a clock", func(t *testing.T) {
		r := asked().End(after(m)).Ask(after(2*m), "s2", put)
		if got, want := show(p.Due(r, Place{}, after(3*m-1), Look)), ": nothing; next 3m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := show(p.Due(r, Place{}, after(3*m), Look)), "no-input: ask; next 4m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("it does not give counts back", func(t *testing.T) {
		r := ended().Ask(after(11*m), "s2", put)
		if got, want := r.Fired["no-input"].Times, 3; got != want {
			t.Errorf("no-input has fired %d times, want %d", got, want)
		}
	})
	t.Run("a later End clears the state, but ends nothing again", func(t *testing.T) {
		r := asked().End(after(m)).Delivered([]Event{{Session: "s1", Seq: 1}}).Ask(after(2*m), "s2", put)
		r.Fired = map[string]Fired{"no-input": {Since: Asked, Times: 2, At: after(2 * m), Mark: start}}
		v := p.Due(r, Place{}, after(3*m), Look)
		if !v.Action.End || v.Ends {
			t.Fatalf("End %v, Ends %v: %s", v.Action.End, v.Ends, show(v))
		}
		after3 := p.Apply(r, v, after(3*m))
		if !after3.Ended.Equal(after(m)) || after3.Session != "s1" || after3.Seq != 1 || len(after3.Open.Events) != 0 {
			t.Errorf("ended %v, session %q, events %v", after3.Ended, after3.Session, after3.Open.Events)
		}
		if !after3.Asked.IsZero() {
			t.Errorf("Asked is %v", after3.Asked)
		}
	})
	t.Run("a new session has clocks", func(t *testing.T) {
		r := ended().Arrive(after(h), "s2")
		if got, want := show(p.Due(r, Place{}, after(h), Look)), ": nothing; next 1h10m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("the program's End does the same, once", func(t *testing.T) {
		r := asked().HandOff(start, "agent").End(after(m))
		if r.By != "" || !r.Ended.Equal(after(m)) || r.Open.Events[1].Kind != KindEnded {
			t.Errorf("%+v", r)
		}
		if again := r.End(after(2 * m)); !again.Ended.Equal(after(m)) || len(again.Open.Events) != 2 {
			t.Errorf("ended %v, %d events", again.Ended, len(again.Open.Events))
		}
	})
}

func TestRule8Late(t *testing.T) {
	nudges := Rule{Name: "nudge", After: 5 * m, Times: 3, Do: Action{Say: "Hello?", OnReturn: "There you are."}}
	for _, row := range []verdictRow{
		{name: "everything that is due at one look is done in one step", now: h,
			rules: []Rule{{Name: "a", After: m, Do: Action{Ask: true}}, {Name: "b", After: 2 * m, Do: say("B")}}, want: "a b: say=B ask"},
		{name: "all steps that are past count", now: 15 * m, rules: []Rule{nudges}, want: "nudge nudge nudge: say=Hello? return=There you are."},
		{name: "a step that is not past does not", now: 15*m - 1, rules: []Rule{nudges}, want: "nudge nudge: say=Hello? return=There you are.; next 15m0s"},
		{name: "the last Say wins", now: h, rules: []Rule{{Name: "b", After: 2 * m, Do: say("B")}, {Name: "a", After: m, Do: say("A")}}, want: "a b: say=B"},
		{name: "without End the last OnReturn wins", now: h,
			rules: []Rule{{Name: "a", After: m, Do: Action{OnReturn: "A"}}, {Name: "b", After: 2 * m, Do: Action{OnReturn: "B"}}}, want: "a b: return=B"},
		{name: "nothing counts after an End", now: h, rules: []Rule{{Name: "idle", After: m, Do: end("Bye")}, nudges}, want: "idle: end say=Bye"},
		{name: "an End drops what was to be said, asked or gone to before it", now: h, rules: []Rule{
			{Name: "a", After: m, Do: Action{Say: "A", OnReturn: "B"}}, {Name: "b", After: 2 * m, Do: Action{Ask: true}},
			{Name: "c", After: 3 * m, Do: Action{Goto: "help"}}, {Name: "idle", After: 4 * m, Do: Action{End: true}}}, want: "a b c idle: end"},
		{name: "an End does what it says itself", now: h, rules: []Rule{nudges,
			{Name: "idle", After: 30 * m, Do: Action{End: true, Close: true, Say: "Bye", OnReturn: "Welcome", Goto: "help"}}},
			want: "nudge nudge nudge idle: end close say=Bye return=Welcome goto=help"},
		{name: "the order is by due instant", now: h, rules: []Rule{{Name: "idle", After: 6 * m, Do: end("Bye")}, nudges}, want: "nudge idle: end say=Bye"},
		{name: "at one instant the order is by the page", now: h, rules: []Rule{{Name: "idle", After: 5 * m, Do: end("Bye")}, nudges}, want: "idle: end say=Bye"},
		{name: "at one instant the order is by the page, the other way", now: h, rules: []Rule{nudges, {Name: "idle", After: 5 * m, Do: end("Bye")}}, want: "nudge idle: end say=Bye"},
		{name: "Goto wins over Ask before it", now: h, rules: []Rule{{Name: "a", After: m, Do: Action{Ask: true}}, {Name: "b", After: 2 * m, Do: Action{Goto: "help"}}}, want: "a b: goto=help"},
		{name: "Goto wins over Ask after it", now: h, rules: []Rule{{Name: "a", After: 2 * m, Do: Action{Ask: true}}, {Name: "b", After: m, Do: Action{Goto: "help"}}}, want: "b a: goto=help"},
		{name: "the last Goto wins", now: h, rules: []Rule{{Name: "a", After: m, Do: Action{Goto: "a"}}, {Name: "b", After: 2 * m, Do: Action{Goto: "b"}}}, want: "a b: goto=b"},
		{name: "Ask with End does nothing", now: h, rules: []Rule{{Name: "a", After: m, Do: Action{End: true, Ask: true}}}, want: "a: end"},
		{name: "a line since Asked is done once at one look, because it counts from when it fired", now: h,
			rules: []Rule{{Name: "ask", Since: Asked, After: m, Times: 3, Do: Action{Ask: true}}}, want: "ask: ask; next 1h1m0s"},
		{name: "Take does nothing in silence", now: h, rules: []Rule{{Name: "a", After: m, Do: Action{Take: true}}}, want: "a: nothing"},
	} {
		row.r = asked()
		row.run(t)
	}

	t.Run("looks in time and one late look leave the same to tell on return", func(t *testing.T) {
		p := mustNew(t, nudges, Rule{Name: "idle", After: 30 * m, Do: Action{End: true}})
		intime := began()
		for d := time.Duration(0); d <= h; d += m {
			intime = p.Apply(intime, p.Due(intime, Place{}, after(d), Look), after(d))
		}
		late := p.Apply(began(), p.Due(began(), Place{}, after(h), Look), after(h))
		if intime.OnReturn != "" || late.OnReturn != "" {
			t.Errorf("in time %q, late %q", intime.OnReturn, late.OnReturn)
		}
		if a, b := len(intime.Open.Events), len(late.Open.Events); a != 4 || b != 4 {
			t.Errorf("in time %d events, late %d, want 4", a, b)
		}
	})
}

func TestRule9WithTheUserThere(t *testing.T) {
	for _, row := range []verdictRow{
		{name: "Say is dropped", rules: []Rule{{Name: "a", After: m, Do: say("A")}}, want: "a: nothing"},
		{name: "Ask is dropped", rules: []Rule{{Name: "a", After: m, Do: Action{Ask: true}}}, want: "a: nothing"},
		{name: "Close is dropped", rules: []Rule{{Name: "a", After: m, Do: Action{End: true, Close: true}}}, want: "a: end"},
		{name: "OnReturn is told", rules: []Rule{{Name: "a", After: m, Do: Action{Say: "A", OnReturn: "B"}}}, want: "a: return=B"},
		{name: "a Say since Began is told", rules: []Rule{{Name: "life", Since: Began, After: m, Do: say("5 minutes left")}}, want: "life: say=5 minutes left"},
		{name: "a Say since Began with an OnReturn is not", rules: []Rule{{Name: "life", Since: Began, After: m, Do: Action{Say: "A", OnReturn: "B"}}}, want: "life: return=B"},
		{name: "a Say since Began is not told where another OnReturn is", rules: []Rule{
			{Name: "life", Since: Began, After: 2 * m, Do: say("A")}, {Name: "idle", After: m, Do: Action{OnReturn: "B"}}}, want: "idle life: return=B"},
		{name: "a Say since Input does not take its place", rules: []Rule{
			{Name: "life", Since: Began, After: m, Do: say("A")}, {Name: "idle", After: 2 * m, Do: say("B")}}, want: "life idle: say=A"},
		{name: "Goto begins the dialog", rules: []Rule{{Name: "a", After: m, Do: Action{Goto: "help"}}}, want: "a: goto=help"},
		{name: "Take ends the turn", rules: []Rule{{Name: "a", After: m, Do: Action{Take: true}}}, want: "a: take"},
		{name: "End comes with what it tells on return", rules: []Rule{{Name: "a", After: m, Do: Action{End: true, Say: "Bye", OnReturn: "Welcome"}}}, want: "a: end return=Welcome"},
	} {
		row.r, row.now, row.why = began(), h, User
		row.run(t)
	}
	verdictRow{name: "a turn that is no input is a look", r: began(), now: h, rules: []Rule{{Name: "a", After: m, Do: Action{Say: "A", Ask: true}}}, want: "a: say=A ask"}.run(t)

	p := mustNew(t, Rule{Name: "idle", After: m, Do: Action{End: true, Say: "Bye", OnReturn: "Welcome back", Goto: "again"}})
	t.Run("End clears first, then the turn goes on in a new session", func(t *testing.T) {
		r := p.Apply(began(), p.Due(began(), Place{}, after(m), User), after(m)).Arrive(after(m), "s2")
		if r.Session != "s2" || !r.Ended.IsZero() || r.OnReturn != "Welcome back" || r.Open == nil || r.Open.Action.Goto != "again" {
			t.Errorf("%+v, open %+v", r, r.Open)
		}
		if e := r.Open.Events[0]; e.Session != "s1" || e.Kind != KindEnded {
			t.Errorf("event %+v", e)
		}
	})
	t.Run("the instant before, nothing ends", func(t *testing.T) {
		v := p.Due(began(), Place{}, after(m-1), User)
		if r := p.Apply(began(), v, after(m-1)).Arrive(after(m-1), "s2"); r.Session != "s1" || r.Open != nil {
			t.Errorf("%+v", r)
		}
	})
	t.Run("a user who writes meanwhile drops what was to be done, and hears what is told on return", func(t *testing.T) {
		open := p.Apply(began(), p.Due(began(), Place{}, after(m), Look), after(m))
		if open.Open.Action.Say != "Bye" {
			t.Fatalf("open %+v", open.Open)
		}
		r := p.Apply(open, p.Due(open, Place{}, after(2*m), User), after(2*m)).Arrive(after(2*m), "s2")
		if r.Open.Action != (Action{}) || !r.Open.At.IsZero() || len(r.Open.Events) != 1 || r.OnReturn != "Welcome back" {
			t.Errorf("open %+v, on return %q", r.Open, r.OnReturn)
		}
	})
}

func TestRule10OnlyOnInput(t *testing.T) {
	back := Rule{Name: "back", OnlyOnInput: true, After: 10 * m, Do: Action{OnReturn: "Back"}}
	for _, row := range []dueRow{
		{name: "it falls due when the user writes", rules: []Rule{back}, why: User, line: "back", due: 10 * m},
		{name: "it does not fall due at a look", rules: []Rule{back}, why: Look, line: "back", due: never},
		{name: "it does not fall due by a cause from outside", rules: []Rule{{Name: "back", Since: Asked, OnlyOnInput: true, After: m}}, why: NoInput, line: "back", due: never},
		{name: "since Input, the user's first never fires", rules: []Rule{back}, r: Record{}.Begin(start, "s1"), why: User, line: "back", due: never},
		{name: "since Began, the user's first may", rules: []Rule{{Name: "back", Since: Began, OnlyOnInput: true, After: m}}, r: Record{}.Begin(start, "s1"), why: User, line: "back", due: m},
		{name: "patience does not concern it", rules: []Rule{{Name: "back", Since: Asked, OnlyOnInput: true, After: m}}, at: Place{Patience: []time.Duration{h}}, why: User, line: "back", due: m},
		{name: "it leaves patience to the timers", rules: []Rule{{Name: "back", Since: Asked, OnlyOnInput: true, After: m}, {Name: "first", Since: Asked, After: m}}, at: Place{Patience: []time.Duration{s}}, line: "first", due: s},
		{name: "it does not wait longer for patience", rules: []Rule{{Name: "first", Since: Asked, After: 2 * h}, {Name: "back", Since: Asked, OnlyOnInput: true, After: m}}, at: Place{Patience: []time.Duration{5 * h}}, why: User, line: "back", due: m},
		{name: "it is judged where the channel rings its own clock", rules: []Rule{{Name: "back", Since: Asked, OnlyOnInput: true, After: m}}, at: Place{Rings: true}, why: User, line: "back", due: m},
		{name: "nothing is due by it where it holds not", rules: []Rule{{Name: "back"}, back}, why: User, line: "back#2", due: never},
	} {
		if row.r.Began.IsZero() {
			row.r = asked()
		}
		row.run(t)
	}
	for _, row := range []verdictRow{
		{name: "it arms nothing", why: Look, rules: []Rule{back}, want: ": nothing"},
		{name: "it comes after all timers", now: h, why: User, rules: []Rule{back, {Name: "a", After: 20 * m, Do: Action{OnReturn: "A"}}}, want: "a back: return=Back"},
		{name: "it does not come after a timer that ends", now: h, why: User, rules: []Rule{back, {Name: "idle", After: 20 * m, Do: end("Bye")}}, want: "idle: end"},
		{name: "the first on the page fires alone", now: h, why: User, rules: []Rule{back, {Name: "b", OnlyOnInput: true, After: m}}, want: "back: return=Back"},
		{name: "the first that is due fires", now: 5 * m, why: User, rules: []Rule{back, {Name: "b", OnlyOnInput: true, After: m}}, want: "b: nothing"},
		{name: "it fires with all of its steps that are past", now: h, why: User,
			rules: []Rule{{Name: "back", OnlyOnInput: true, After: m, Do: Action{OnReturn: "A"}, Then: []Step{{After: 59 * m, Do: end("")}}}}, want: "back back: end"},
		{name: "nothing has a clock after it ends", now: h, why: User, rules: []Rule{{Name: "life", Since: Began, After: 24 * h}, {Name: "back", OnlyOnInput: true, After: m, Do: end("")}}, want: "back: end"},
		{name: "a step that is not past waits", now: h - 1, why: User,
			rules: []Rule{{Name: "back", OnlyOnInput: true, After: m, Do: Action{OnReturn: "A"}, Then: []Step{{After: 59 * m, Do: end("")}}}}, want: "back: return=A"},
	} {
		row.r = began()
		row.run(t)
	}
}

func TestRule11Patience(t *testing.T) {
	first := Rule{Name: "first", Since: Asked, After: 20 * s, Times: 3, Do: Action{Ask: true}}
	second := Rule{Name: "second", Since: Asked, After: m, Do: end("Bye")}
	patient := func(d ...time.Duration) Place { return Place{Patience: d} }
	did := func(n int) Record {
		r := asked()
		r.Fired = map[string]Fired{"first": {Since: Asked, Times: n, At: start, Mark: start}}
		return r
	}
	for _, row := range []dueRow{
		{name: "without patience the rule says how long", rules: []Rule{first}, line: "first", due: 20 * s},
		{name: "patience concerns the first line since Asked", rules: []Rule{first}, at: patient(5 * s), line: "first", due: 5 * s},
		{name: "the others wait longer by as much as it is more", rules: []Rule{first, second}, at: patient(50 * s), line: "second", due: m + 30*s},
		{name: "the others do not wait less if it is less", rules: []Rule{first, second}, at: patient(5 * s), line: "second", due: m},
		{name: "the second value is that after asking again", rules: []Rule{first}, r: did(1), at: patient(5*s, 8*s), line: "first", due: 8 * s},
		{name: "the last value is that of all later times", rules: []Rule{first}, r: did(2), at: patient(5*s, 8*s), line: "first", due: 8 * s},
		{name: "the others wait for the patience of the time", rules: []Rule{first, second}, r: did(1), at: patient(5*s, 30*s), line: "second", due: m + 10*s},
		{name: "the others wait for it when the first line has nothing left", rules: []Rule{first, second}, r: did(3), at: patient(50 * s), line: "second", due: m + 30*s},
		{name: "an exception is not the first line", rules: []Rule{{Name: "first"}, first, second}, at: patient(5 * s), line: "second", due: 5 * s},
		{name: "a rule since Input has none", rules: []Rule{{Name: "idle", After: m}}, at: patient(5 * s), line: "idle", due: m},
		{name: "patience of 0 is for ever", rules: []Rule{first}, at: patient(0), line: "first", due: never},
		{name: "the others wait for ever with it", rules: []Rule{first, second}, at: patient(0), line: "second", due: never},
	} {
		if row.r.Began.IsZero() {
			row.r = asked()
		}
		row.run(t)
	}
	rings := Place{Rings: true}
	fired := did(1)
	put := Question{Waits: true, Put: true}
	for _, row := range []verdictRow{
		{name: "a cause from outside makes due the first line since Asked", rules: []Rule{first, second}, why: NoInput, now: s, want: "first: ask; next 21s"},
		{name: "and no other", rules: []Rule{second, first}, why: NoInput, now: s, want: "second: end say=Bye"},
		{name: "it takes the first that has something left", rules: []Rule{first, second}, why: NoInput, now: s, r: func() Record {
			r := did(3)
			return r.Ask(after(s), "", put)
		}(), want: "second: end say=Bye"},
		{name: "it counts only if no rule since Asked has fired for this value of Asked", rules: []Rule{first, second}, why: NoInput, now: s, r: fired, want: ": nothing; next 20s"},
		{name: "it counts though a rule since Input has fired for the same instant", rules: []Rule{first, {Name: "idle", After: s}}, why: NoInput, now: 2 * s, r: func() Record {
			r := asked()
			r.Fired = map[string]Fired{"idle": {Times: 1, Mark: start, At: after(s)}}
			return r
		}(), want: "first: ask; next 22s"},
		{name: "it counts when the question was put again", rules: []Rule{first, second}, why: NoInput, now: 2 * s, r: fired.Ask(after(s), "", put), want: "first: ask; next 22s"},
		{name: "it counts for nothing before the bot has finished asking", rules: []Rule{first}, why: NoInput, now: s, r: began(), want: ": nothing"},
		{name: "it counts for nothing while rules are postponed", rules: []Rule{first}, why: NoInput, now: s, r: asked().Postpone(start, h), want: ": nothing; next 1h0m0s"},
		{name: "it is a look besides", rules: []Rule{first, {Name: "idle", After: s, Do: say("A")}}, why: NoInput, now: s, want: "first idle: say=A ask; next 21s"},
		{name: "what is due anyway is due once", rules: []Rule{first}, why: NoInput, now: h, want: "first: ask; next 1h0m20s"},
		{name: "it does not count a wait for ever", rules: []Rule{first}, at: patient(0), why: NoInput, now: s, want: "first: ask"},
		{name: "a rule since Input is not meant", rules: []Rule{{Name: "idle", After: h}}, why: NoInput, now: s, want: ": nothing; next 1h0m0s"},
		{name: "where the channel rings, rules since Asked arm nothing", rules: []Rule{first, {Name: "idle", After: h}}, at: rings, now: s, want: ": nothing; next 1h0m0s"},
		{name: "where the channel rings, time does not make them due", rules: []Rule{first}, at: rings, now: h, want: ": nothing"},
		{name: "where the channel rings, its cause does", rules: []Rule{first}, at: rings, why: NoInput, now: s, want: "first: ask"},
	} {
		if row.r.Input.IsZero() {
			row.r = asked()
		}
		row.run(t)
	}
	t.Run("a cause that comes twice counts once", func(t *testing.T) {
		p := mustNew(t, first, second)
		r := p.Apply(asked(), p.Due(asked(), rings, after(s), NoInput), after(s))
		if v := p.Due(r, rings, after(s), NoInput); len(v.Fired) != 0 {
			t.Errorf("got %s", show(v))
		}
	})
}

func TestRule12Next(t *testing.T) {
	idle := Rule{Name: "idle", After: 10 * m, Do: say("Hello?")}
	for _, row := range []verdictRow{
		{name: "Next is the earliest instant", rules: []Rule{idle, {Name: "nudge", After: 5 * m}}, want: ": nothing; next 5m0s"},
		{name: "Next is after what fires now", rules: []Rule{idle, {Name: "nudge", After: 5 * m}}, now: 5 * m, want: "nudge: nothing; next 10m0s"},
		{name: "Next is never if nothing is left", rules: []Rule{idle}, now: 10 * m, want: "idle: say=Hello?"},
		{name: "Next is never after an End", rules: []Rule{{Name: "idle", After: m, Do: end("")}, {Name: "b", After: h}}, now: m, want: "idle: end"},
		{name: "Next is never without rules", want: ": nothing"},
		{name: "what a dialog has brought into force is due now", rules: []Rule{{Name: "b", When: When{At: []string{"x"}}, After: m}}, at: Place{Path: []string{"x"}}, now: h, want: "b: nothing"},
		{name: "Go values saturate", rules: []Rule{{Name: "b", Since: Asked, After: 1}, {Name: "c", Since: Asked, After: 1<<63 - 1}}, at: Place{Patience: []time.Duration{1<<63 - 1}},
			want: ": nothing; next " + time.Duration(1<<63-1).String()},
		{name: "Go values saturate with what others wait longer", r: func() Record {
			r := asked()
			r.Fired = map[string]Fired{"b": {Since: Asked, Times: 1, At: start}}
			return r
		}(), rules: []Rule{{Name: "b", Since: Asked, After: 1}, {Name: "c", Since: Asked, After: 1<<63 - 1}}, at: Place{Patience: []time.Duration{h}},
			want: ": nothing; next " + time.Duration(1<<63-1).String()},
	} {
		if row.r.Input.IsZero() {
			row.r = asked()
		}
		row.run(t)
	}
	t.Run("postponing moves what would be due before, and what follows counts from there", func(t *testing.T) {
		p := mustNew(t, Rule{Name: "ladder", After: 10 * m, Do: say("A"), Then: []Step{{Do: end("B")}}}, Rule{Name: "life", Since: Began, After: 2 * h})
		r := began().Postpone(after(5*m), h)
		if got, want := show(p.Due(r, Place{}, after(5*m+h-1), Look)), ": nothing; next 1h5m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := show(p.Due(r, Place{}, after(5*m+h), Look)), "ladder: say=A; next 1h15m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := show(p.Due(r.Arrive(after(6*m), "s2"), Place{}, after(6*m), Look)), ": nothing; next 16m0s"; got != want {
			t.Errorf("user input: got %s, want %s", got, want)
		}
	})
}
