package policy_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/botlapse/botlapse/policy"
)

func TestExplain(t *testing.T) {
	idle := Rule{Name: "idle", After: 10 * m, Do: end("Bye")}
	noInput := Rule{Name: "no-input", Since: Asked, After: 20 * s, Times: 2, Do: Action{Ask: true}, Then: []Step{{Do: end("Bye")}}}
	kept := Rule{Name: "kept", Since: Resolved, After: m, Do: end("")}
	did := func(r Record, line string, f Fired) Record {
		r.Fired = map[string]Fired{line: f}
		return r
	}
	held, _ := began().Hold(after(11*m), Verdict{Fired: make([]Event, 1), First: after(10 * m)}, h)
	for _, row := range []struct {
		name  string
		rules []Rule
		r     Record
		at    Place
		now   time.Duration
		want  string // of the first rule: in force, step/steps, mark, due, is due, what it does, why not
	}{
		{"in force", []Rule{idle}, began(), Place{}, m, "in force 1/1 since 0s due 10m0s: end say=Bye"},
		{"due", []Rule{idle}, began(), Place{}, 10 * m, "in force 1/1 since 0s due 10m0s now: end say=Bye"},
		{"not due yet", []Rule{idle}, began(), Place{}, 10*m - 1, "in force 1/1 since 0s due 10m0s: end say=Bye"},
		{"the second time", []Rule{noInput}, did(asked(), "no-input", Fired{Since: Asked, Times: 1, At: after(m)}), Place{}, m, "in force 2/3 since 0s due 1m20s: ask"},
		{"after the last time", []Rule{noInput}, did(asked(), "no-input", Fired{Since: Asked, Times: 2, At: after(m)}), Place{}, m, "in force 3/3 since 0s due 1m20s: end say=Bye"},
		{"nothing left", []Rule{noInput}, did(asked(), "no-input", Fired{Since: Asked, Times: 3, At: after(m)}), Place{}, m, "in force 0/3 since 0s due never: nothing (nothing left until the user writes)"},
		{"vetoed", []Rule{idle}, did(began(), "idle", Fired{Vetoed: true}), Place{}, h, "in force 0/1 since 0s due never: nothing (vetoed until the user writes)"},
		{"held", []Rule{idle}, held, Place{}, 11 * m, "in force 1/1 since 0s due 1h11m0s: end say=Bye (held by a hook)"},
		{"postponed", []Rule{idle}, began().Postpone(start, h), Place{}, 11 * m, "in force 1/1 since 0s due 1h0m0s: end say=Bye (postponed)"},
		{"postponed by less", []Rule{idle}, began().Postpone(start, m), Place{}, m, "in force 1/1 since 0s due 10m0s: end say=Bye"},
		{"with patience", []Rule{noInput}, asked(), Place{Patience: []time.Duration{5 * s}}, 0, "in force 1/3 since 0s due 5s: ask"},
		{"waiting for ever", []Rule{noInput}, asked(), Place{Patience: []time.Duration{0}}, 0, "in force 1/3 since 0s due never: ask (the prompt waits for ever)"},
		{"where the channel rings", []Rule{noInput}, asked(), Place{Rings: true}, h, "in force 1/3 since 0s due never: ask (the channel rings its own clock)"},
		{"on input", []Rule{{Name: "back", OnlyOnInput: true, After: m}}, began(), Place{}, h, "in force 1/1 since 0s due 1m0s now: nothing (only when the user writes)"},
		{"no question", []Rule{noInput}, began(), Place{}, h, "in force 0/3 since never due never: nothing (no question waits)"},
		{"not resolved", []Rule{kept}, began(), Place{}, h, "in force 0/1 since never due never: nothing (the conversation is not resolved)"},
		{"not begun", []Rule{{Name: "life", Since: Began, After: h}}, Record{Input: start}, Place{}, h, "in force 0/1 since never due never: nothing (no session has begun)"},
		{"nobody has written", []Rule{idle}, Record{}, Place{}, h, "in force 0/1 since never due never: nothing (the user has not written yet)"},
		{"resolved", []Rule{idle, kept}, began().Resolve(after(m)), Place{}, h, "in force 0/1 since 0s due never: nothing (rests: the conversation is resolved)"},
		{"ended", []Rule{idle}, began().End(after(m)), Place{}, h, "in force 0/1 since 0s due never: nothing (the session has ended)"},
		{"another channel", []Rule{{Name: "a", When: When{Channels: []string{"sms"}}, After: m}}, began(), Place{}, h, "not in force 0/1 since 0s due never: nothing (another channel)"},
		{"another place", []Rule{{Name: "a", When: When{At: []string{"x"}}, After: m}}, began(), Place{}, h, "not in force 0/1 since 0s due never: nothing (the conversation stands elsewhere)"},
		{"another who answers", []Rule{{Name: "a", When: When{By: "agent"}, After: m}}, began(), Place{}, h, "not in force 0/1 since 0s due never: nothing (another answers)"},
		{"an exception", []Rule{{Name: "a"}}, began(), Place{}, h, "not in force 0/0 since 0s due never: nothing (never due: after is 0)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := mustNew(t, row.rules...)
			lines := p.Explain(row.r, row.at, after(row.now))
			if got := explain(lines[0]); got != row.want || len(lines) != len(row.rules) {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
	t.Run("a later rule of a name", func(t *testing.T) {
		line := mustNew(t, idle, idle).Explain(began(), Place{}, start)[1]
		if got, want := line.ID+" "+explain(line), "idle#2 not in force 0/1 since 0s due never: nothing (an earlier line of its name is in force)"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func explain(l Line) string {
	since := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.Sub(start).String()
	}
	text := "in force"
	if !l.InForce {
		text = "not in force"
	}
	text += fmt.Sprintf(" %d/%d since %s due %s", l.Step, l.Steps, since(l.Mark), since(l.Due))
	if l.IsDue {
		text += " now"
	}
	text += ": " + showAction(l.Do)
	if l.Why != "" {
		text += " (" + l.Why + ")"
	}
	return text
}
