package policy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	. "github.com/botlapse/botlapse/policy"
)

// A dice makes choices from bytes, and 0 when there are none left.
type dice []byte

func (d *dice) roll(n int) int {
	if len(*d) == 0 {
		return 0
	}
	b := int((*d)[0])
	*d = (*d)[1:]
	return b % n
}

func (d *dice) yes() bool { return d.roll(2) == 1 }

func pick[T any](d *dice, of ...T) T { return of[d.roll(len(of))] }

func (d *dice) duration() time.Duration {
	return pick(d, m, 2*m, 3*m, 5*m, 0, 7*m, -m, 1, 100, m+1, 24*h, h)
}

func (d *dice) action() Action {
	return Action{
		End: d.roll(4) == 1, Say: pick(d, "", "a", "b"), OnReturn: pick(d, "", "x", "y"),
		Ask: d.roll(3) == 1, Goto: pick(d, "", "", "help", Target), Take: d.roll(4) == 1,
	}
}

func (d *dice) rules() []Rule {
	rules := make([]Rule, d.roll(7))
	for i := range rules {
		r := Rule{Name: pick(d, "a", "b", "c", "d"), Since: Mark(d.roll(4)), OnlyOnInput: d.roll(5) == 1, After: d.duration(), Times: d.roll(4), Do: d.action()}
		r.When.Channels = pick(d, nil, nil, []string{"sms"}, []string{"sms", "line"})
		r.When.At = pick(d, nil, nil, []string{"ask"}, []string{"", "main"}, []string{"other"})
		r.When.By = pick(d, "", "", "bot", "agent")
		for range d.roll(3) {
			r.Then = append(r.Then, Step{d.duration(), d.roll(4), d.action()})
		}
		r.Do.Close = r.Do.End && d.yes()
		rules[i] = r
	}
	return rules
}

func (d *dice) place() Place {
	return Place{
		Channel:  pick(d, "sms", "line", "voice"),
		Path:     pick(d, nil, []string{"main", "ask"}, []string{"main", "step"}, []string{"other"}),
		Patience: pick(d, nil, nil, []time.Duration{10 * s}, []time.Duration{4 * m, 0}, []time.Duration{s, 3 * m}),
		Rings:    d.roll(5) == 1,
	}
}

// FuzzSchedule plays random schedules on random policies and holds them to what is
// true of all.
func FuzzSchedule(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		seed := make([]byte, 300)
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := dice(data)
		rules := d.rules()
		play(t, mustNew(t, rules...), rules, &d)
	})
}

func play(t *testing.T, p Policy, rules []Rule, d *dice) {
	times := map[string]int{} // of each line
	seen := map[string]int{}
	for _, r := range rules {
		seen[r.Name]++
		id := r.Name
		if seen[r.Name] > 1 {
			id = fmt.Sprintf("%s#%d", r.Name, seen[r.Name])
		}
		if r.After > 0 {
			times[id] = max(r.Times, 1)
			for _, step := range r.Then {
				times[id] += max(step.Times, 1)
			}
		}
	}

	var r Record
	now, at := start, d.place()
	sessions, input := 0, 0
	ends := map[string]int{}
	fired := map[string]bool{} // session, input, line and time
	session := func() string { sessions++; return fmt.Sprint("s", sessions) }

	look := func(why Cause) {
		before, _ := json.Marshal(r)
		v := p.Due(r, at, now, why)
		if again := p.Due(r, at, now, why); !reflect.DeepEqual(v, again) {
			t.Fatalf("%s, then %s", show(v), show(again))
		}
		var stored Record
		if err := json.Unmarshal(before, &stored); err != nil {
			t.Fatal(err)
		}
		stored.Input = r.Input
		if got := p.Due(stored, at, now, why); !reflect.DeepEqual(v, got) {
			t.Fatalf("in memory %s, stored %s", show(v), show(got))
		}
		if !v.Next.IsZero() && !v.Next.After(now) {
			t.Fatalf("next %v is not after now %v", v.Next, now)
		}
		if why == Look {
			explained(t, p, r, at, now, v)
		}
		for i, e := range v.Fired {
			if e.Due.After(now) {
				t.Fatalf("%s fires at %v, before %v", e.Line, now, e.Due)
			}
			if i > 0 && e.Due.Before(v.Fired[i-1].Due) && !isOnInput(rules, e.Line) {
				t.Fatalf("%v is out of order", v.Fired)
			}
			epoch := fmt.Sprint(r.Session, " ", input)
			if e.Since == Began {
				epoch = r.Session
			}
			key := fmt.Sprint(epoch, " ", e.Line, " ", e.Times)
			if fired[key] || e.Times < 1 || e.Times > times[e.Line] {
				t.Fatalf("%s fires twice, or more than %d times", key, times[e.Line])
			}
			fired[key] = true
		}
		if v.Ends {
			if ends[r.Session]++; ends[r.Session] > 1 {
				t.Fatalf("session %s ends twice", r.Session)
			}
		}
		if d.roll(8) == 1 {
			for i := range v.Fired {
				delete(fired, fmt.Sprint(r.Session, " ", input, " ", v.Fired[i].Line, " ", v.Fired[i].Times))
				delete(fired, fmt.Sprint(r.Session, " ", v.Fired[i].Line, " ", v.Fired[i].Times))
			}
			if v.Ends {
				ends[r.Session]--
			}
			var ok bool
			if d.yes() {
				r, ok = r.Hold(now, v, d.duration())
			} else {
				r, ok = r.Veto(now, v)
			}
			if ok && r.Held.After(now) && len(p.Due(r, at, now, NoInput).Fired) > 0 {
				t.Fatal("due though held")
			}
			for _, e := range p.Due(r, at, now, why).Fired {
				if ok && r.Fired[e.Line].Vetoed {
					t.Fatalf("%s is due though vetoed", e.Line)
				}
			}
			return
		}
		next := p.Apply(r, v, now)
		if after, _ := json.Marshal(r); string(after) != string(before) {
			t.Fatalf("Apply has changed %s to %s", before, after)
		}
		r = next
		if why == User {
			why = Look // another OnlyOnInput line may be due with the next input
		}
		if again := p.Due(r, at, now, why); len(again.Fired) > 0 {
			t.Fatalf("%s after Apply: %s", show(v), show(again))
		} else if len(v.Fired) > 0 && v.Cause != User && !again.Next.Equal(v.Next) {
			t.Fatalf("next %v, after Apply %v", v.Next, again.Next)
		}
	}

	for range 40 {
		if len(*d) == 0 {
			break
		}
		switch op := d.roll(14); op {
		case 0, 1:
			look(User)
			r = r.Arrive(now, session())
			input++
			r.OnReturn = ""
		case 2:
			look(NoInput)
		case 3:
			at = d.place()
		case 4, 5:
			r = r.Ask(now, session(), Question{Waits: d.roll(4) > 0, Put: d.yes(), Sent: d.yes(), Speaks: at.Rings, Spoken: d.yes()})
		case 6:
			r = r.HandOff(now, pick(d, "bot", "agent", "nobody"))
		case 7:
			r = r.Resolve(now)
		case 8:
			r = r.Postpone(now, d.duration())
		case 9:
			before := r.Ended
			if r = r.End(now); !r.Ended.Equal(before) {
				ends[r.Session]++
			}
		case 10:
			r = r.Begin(now, session())
		case 11:
			if r.Open != nil {
				r = r.Done(*r.Open, d.yes()).Delivered(r.Open.Events)
			}
		case 12:
			silence(t, p, r, at, now)
			look(Look)
		case 13:
			look(Look)
		}
		now = now.Add(pick(d, 0, 30*s, m, m-1, 1, 5*m, h, 25*h))
	}
}

func isOnInput(rules []Rule, id string) bool {
	for _, r := range rules {
		if r.OnlyOnInput && (id == r.Name || len(id) > len(r.Name) && id[:len(r.Name)] == r.Name) {
			return true
		}
	}
	return false
}

// explained holds Explain to what Due has found.
func explained(t *testing.T, p Policy, r Record, at Place, now time.Time, v Verdict) {
	t.Helper()
	due := false
	var next time.Time
	for _, line := range p.Explain(r, at, now) {
		if line.Rule.OnlyOnInput || line.Due.IsZero() {
			continue
		}
		due = due || line.IsDue
		if next.IsZero() || line.Due.Before(next) {
			next = line.Due
		}
		if !line.InForce {
			t.Fatalf("%s is due and not in force", line.ID)
		}
	}
	if due != (len(v.Fired) > 0) || !due && !next.Equal(v.Next) {
		t.Fatalf("%s, but Explain says %v, next %v", show(v), due, next)
	}
}

// silence plays what happens if nothing happens any more: looks at Next, and right
// before it, until nothing is left.
func silence(t *testing.T, p Policy, r Record, at Place, now time.Time) {
	t.Helper()
	v := p.Due(r, at, now, Look)
	until := p.Until(p.Apply(r, v, now), at, false) // what is late has been done
	for n := 0; ; n++ {
		if n > 0 && !until.IsZero() && now.After(until.Add(100*1000)) { // rounded up by each step
			t.Fatalf("%s at %v, but the record is needed until %v only", show(v), now, until)
		}
		if r = p.Apply(r, v, now); v.Next.IsZero() {
			return
		}
		if early := p.Due(r, at, v.Next.Add(-1), Look); len(early.Fired) > 0 {
			t.Fatalf("%s before %v", show(early), v.Next)
		}
		now = v.Next
		if v = p.Due(r, at, now, Look); len(v.Fired) == 0 {
			t.Fatalf("nothing is due at %v, which was next", now)
		}
		if n > 200 {
			t.Fatal("it does not end")
		}
	}
}
