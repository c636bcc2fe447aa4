package policy_test

import (
	"testing"
	"time"

	. "github.com/botlapse/botlapse/policy"
)

// TestOracleCases are cases in which the policy and the oracle, or a reader of the
// rules, once differed.
func TestOracleCases(t *testing.T) {
	put := Question{Waits: true, Put: true}
	noInput := Rule{Name: "no-input", Since: Asked, After: m, Times: 3, Do: Action{Ask: true}}
	look := func(p Policy, r Record, now time.Duration, why Cause) (Record, string) {
		v := p.Due(r, Place{}, after(now), why)
		return p.Apply(r, v, after(now)), show(v)
	}

	// A question that was put after an End still waits when the program begins a
	// session, and has been answered by nobody.
	p := mustNew(t, noInput)
	asked, _ := look(p, began().End(after(m)).Ask(after(2*m), "", put), 3*m, Look)
	asked = asked.Begin(after(3*m), "s2")
	for _, row := range []struct {
		name string
		now  time.Duration
		why  Cause
		want string
	}{
		{"a rule since Asked counts from when it fired last, over a session that begins", 4*m - 1, Look, ": nothing; next 4m0s"},
		{"and is due then", 4 * m, Look, "no-input: ask; next 5m0s"},
		{"a cause from outside comes twice, over a session that begins", 4*m - 1, NoInput, ": nothing; next 4m0s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, got := look(p, asked, row.now, row.why); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}

	t.Run("the record is needed until what waits for the longest patience", func(t *testing.T) {
		p := mustNew(t,
			Rule{Name: "first", Since: Asked, After: 5 * s, Do: Action{Ask: true}},
			Rule{Name: "second", Since: Asked, After: 10 * s, Do: end("Bye")})
		r, at := began().Ask(start, "", put), Place{Patience: []time.Duration{s, 100 * s}}
		until := p.Until(r, at, false)
		v := p.Due(r, at, after(s), Look)
		if v = p.Due(p.Apply(r, v, after(s)), at, v.Next, Look); v.Next.IsZero() && len(v.Fired) == 0 || v.First.After(until) {
			t.Errorf("%s, first %v, but needed until %v only", show(v), v.First, until)
		}
	})
	t.Run("a Say that is not told covers nothing", func(t *testing.T) {
		p := mustNew(t, Rule{Name: "life", Since: Began, After: m, Do: Action{Say: "5 minutes left", OnReturn: "It is late."}})
		if v := p.Due(began(), Place{}, after(m), User); v.Action.Say != "" || v.Covers {
			t.Errorf("says %q, covers %v", v.Action.Say, v.Covers)
		}
	})
	t.Run("a Say of a hook takes the place of an older OnReturn", func(t *testing.T) {
		p := mustNew(t, Rule{Name: "note", After: m, Do: Action{OnReturn: "Note."}}, Rule{Name: "quiet", After: 2 * m})
		r, _ := look(p, began(), m, Look)
		v := p.Due(r, Place{}, after(2*m), Look)
		v.Action.Say = "Hello?"
		r = p.Apply(r, v, after(2*m))
		if r = r.Done(*r.Open, true); r.OnReturn != "" {
			t.Errorf("still to be told: %q", r.OnReturn)
		}
	})
	t.Run("what is folded in at the same instant is not done", func(t *testing.T) {
		p := mustNew(t, Rule{Name: "idle", After: m, Do: say("A")}, Rule{Name: "no-input", Since: Asked, After: h, Do: say("B")})
		r, _ := look(p, began().Ask(start, "", put), m, Look)
		doing := *r.Open
		r, _ = look(p, r, m, NoInput)
		if r = r.Done(doing, true); r.Open.Action.Say != "B" {
			t.Errorf("to be said is %q", r.Open.Action.Say)
		}
	})
	t.Run("a line that counted from Began under an older policy starts anew with user input", func(t *testing.T) {
		old := mustNew(t, Rule{Name: "idle", Since: Began, After: m, Do: say("A")})
		r, _ := look(old, began(), m, Look)
		p := mustNew(t, Rule{Name: "idle", After: m, Do: say("A")})
		if _, got := look(p, r.Arrive(after(h), ""), h+m, Look); got != "idle: say=A" {
			t.Errorf("got %s", got)
		}
	})
}
