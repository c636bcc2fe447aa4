package policy_test

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	. "github.com/botlapse/botlapse/policy"
)

func TestRecordIsStored(t *testing.T) {
	p := mustNew(t,
		Rule{Name: "nudge", After: m, Do: Action{Say: "Hello?", OnReturn: "There you are."}},
		Rule{Name: "no-input", Since: Asked, After: m + 1, Do: Action{Goto: Target}},
		Rule{Name: "life", Since: Began, After: h, Do: end("Bye")})
	odd := time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.FixedZone("", 7200))
	r := Record{}.Arrive(odd, "s1").Ask(odd.Add(1), "", Question{Waits: true, Put: true}).Postpone(odd, 10*m)
	r.Armed, r.Reference = Instant(odd.Add(m)), json.RawMessage(`{"serviceUrl":"https://x"}`)
	for _, row := range []struct {
		name string
		r    Record
	}{
		{"with marks", r.Resolve(odd).HandOff(odd, "agent")},
		{"with what fired and is open", p.Apply(r, p.Due(r, Place{Channel: "sms", Path: []string{"main", "ask"}}, odd.Add(30*m), Look), odd.Add(30*m))},
		{"with what fired to the nanosecond", func() Record {
			r := Record{}.Arrive(odd, "s1").Ask(odd, "", Question{Waits: true, Put: true})
			return p.Apply(r, p.Due(r, Place{}, odd.Add(30*m), Look), odd.Add(30*m))
		}()},
		{"held", func() Record {
			r, _ := r.Hold(odd, Verdict{Fired: make([]Event, 1), First: odd}, h)
			return r
		}()},
		{"vetoed", func() Record {
			r, _ := r.Veto(odd, p.Due(r, Place{}, odd.Add(h), Look))
			return r
		}()},
		{"ended", r.End(odd.Add(h))},
		{"a session that a question began", Record{}.Ask(odd, "s1", Question{Waits: true, Put: true})},
	} {
		t.Run(row.name, func(t *testing.T) {
			text, err := json.Marshal(row.r)
			if err != nil {
				t.Fatal(err)
			}
			var got Record
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if regexp.MustCompile(`\.\d{8}`).Match(text) {
				t.Errorf("more digits than .NET reads: %s", text)
			}
			got.Input = row.r.Input // is kept elsewhere
			if !reflect.DeepEqual(got, row.r) {
				t.Errorf("stored %s\ngot  %+v\nwant %+v", text, got, row.r)
			}
			for _, why := range []Cause{Look, User, NoInput} {
				now := odd.Add(2 * h)
				if a, b := p.Due(got, Place{}, now, why), p.Due(row.r, Place{}, now, why); !reflect.DeepEqual(a, b) {
					t.Errorf("cause %d: stored %s, in memory %s", why, show(a), show(b))
				}
			}
		})
	}
}

func TestRecordStoresNothingThatIsNotUsed(t *testing.T) {
	p := Idle(30 * m)
	r := Record{}
	for _, now := range []time.Duration{0, m, h, 2 * h} {
		v := p.Due(r, Place{}, after(now), User)
		r = p.Apply(r, v, after(now)).Arrive(after(now), "")
		if len(v.Fired) > 0 {
			if r.OnReturn == "" {
				t.Errorf("after %v the user is not welcomed back", now)
			}
			r = r.Done(*r.Open, false).Delivered(r.Open.Events)
			r.OnReturn = ""
		}
		if text, _ := json.Marshal(r); string(text) != "{}" {
			t.Errorf("after %v: %s", now, text)
		}
	}
	if p.Uses(Began) || p.Uses(Asked) || p.Uses(Resolved) || !p.Uses(Input) {
		t.Error("Idle uses more than Input")
	}
}

func TestInstantIsNeverEarlier(t *testing.T) {
	for _, row := range []struct{ nanosecond, want int }{{0, 0}, {1, 100}, {99, 100}, {100, 100}, {101, 200}} {
		at := time.Date(2026, 1, 1, 0, 0, 0, row.nanosecond, time.UTC)
		if got := Instant(at); got.Nanosecond() != row.want || got.Location() != time.UTC {
			t.Errorf("%d ns: got %v", row.nanosecond, got)
		}
	}
}

func TestRecordOnAConflict(t *testing.T) {
	// What a turn did is done again on what another turn has stored meanwhile.
	put := Question{Waits: true, Put: true}
	for _, row := range []struct {
		name   string
		stored Record
		turn   func(Record) Record
		want   func(Record) bool
	}{
		{"of two inputs the later counts", began().Arrive(after(3*m), "x"), func(r Record) Record { return r.Arrive(after(2*m), "y") },
			func(r Record) bool { return r.Input.Equal(after(3 * m)) }},
		{"of two questions the later counts", began().Ask(after(3*m), "", put), func(r Record) Record { return r.Ask(after(2*m), "", put) },
			func(r Record) bool { return r.Asked.Equal(after(3 * m)) }},
		{"of two ways to postpone the longer counts", began().Postpone(after(m), h), func(r Record) Record { return r.Postpone(after(2*m), m) },
			func(r Record) bool { return r.Postponed.Equal(after(61 * m)) }},
		{"an input that meets an end begins a session", began().End(after(m)), func(r Record) Record { return r.Arrive(after(2*m), "s2") },
			func(r Record) bool { return r.Session == "s2" && r.Ended.IsZero() }},
		{"two first inputs begin one session, the one that was stored", Record{}.Arrive(after(m), "stored"), func(r Record) Record { return r.Arrive(start, "mine") },
			func(r Record) bool { return r.Session == "stored" && r.Began.Equal(after(m)) }},
		{"an end that meets an end ends nothing again", began().End(after(m)), func(r Record) Record { return r.End(after(2 * m)) },
			func(r Record) bool { return r.Ended.Equal(after(m)) && len(r.Open.Events) == 1 }},
		{"what is done is done, and events that were added stay", func() Record {
			r := Record{}.Arrive(start, "s1")
			p := mustNew(t, Rule{Name: "a", After: m, Do: say("A")})
			return p.Apply(r, p.Due(r, Place{}, after(m), Look), after(m)).Resolve(after(2 * m))
		}(), func(r Record) Record { return r.Done(Open{At: after(m)}, true) },
			func(r Record) bool {
				return r.Open.Action == Action{} && len(r.Open.Events) == 2
			}},
		{"what was folded in meanwhile is not done", func() Record {
			r := Record{}.Arrive(start, "s1")
			p := mustNew(t, Rule{Name: "a", After: m, Do: say("A")}, Rule{Name: "b", After: 2 * m, Do: say("B")})
			r = p.Apply(r, p.Due(r, Place{}, after(m), Look), after(m))
			return p.Apply(r, p.Due(r, Place{}, after(2*m), Look), after(2*m))
		}(), func(r Record) Record { return r.Done(Open{At: after(m)}, true) },
			func(r Record) bool { return r.Open.Action.Say == "B" }},
		{"only the events that were delivered go", began().Resolve(after(m)).HandOff(after(2*m), "agent"), func(r Record) Record {
			return r.Delivered([]Event{{Session: "s1", Seq: 1}, {Session: "s0", Seq: 2}})
		}, func(r Record) bool { return len(r.Open.Events) == 1 && r.Open.Events[0].By == "agent" }},
		{"the last event that is delivered leaves nothing open", began().Resolve(after(m)), func(r Record) Record { return r.Delivered(r.Open.Events) },
			func(r Record) bool { return r.Open == nil }},
		{"nothing is delivered of nothing", began(), func(r Record) Record { return r.Delivered([]Event{{Seq: 1}}) },
			func(r Record) bool { return r.Open == nil }},
	} {
		t.Run(row.name, func(t *testing.T) {
			before, _ := json.Marshal(row.stored)
			got := row.turn(row.stored)
			if !row.want(got) {
				t.Errorf("got %+v, open %+v", got, got.Open)
			}
			if text, _ := json.Marshal(row.stored); string(text) != string(before) {
				t.Errorf("the stored record was changed: %s, was %s", text, before)
			}
		})
	}
}

func TestOpenStandsForItself(t *testing.T) {
	p := mustNew(t,
		Rule{Name: "nudge", After: m, Do: Action{Say: "Hello?", OnReturn: "There you are."}},
		Rule{Name: "note", After: 2 * m, Do: Action{OnReturn: "Note."}},
		Rule{Name: "leave", After: 3 * m, Do: Action{Goto: "help"}},
		Rule{Name: "last", After: 4 * m, Do: say("Still there?")},
		Rule{Name: "idle", After: 5 * m, Do: Action{End: true, Close: true}},
		Rule{Name: "again", Since: Asked, After: m, Do: end("")})
	at := Place{Channel: "sms", Path: []string{"main", "ask"}}
	apply := func(r Record, at Place, d time.Duration) Record {
		return p.Apply(r, p.Due(r, at, after(d), Look), after(d))
	}
	t.Run("a Say that gets through makes its own OnReturn void", func(t *testing.T) {
		r := apply(began(), at, m)
		if done := r.Done(*r.Open, true); done.OnReturn != "" || done.Open.Action != (Action{}) {
			t.Errorf("on return %q, open %+v", done.OnReturn, done.Open)
		}
		if failed := r.Done(*r.Open, false); failed.OnReturn != "There you are." {
			t.Errorf("on return %q", failed.OnReturn)
		}
	})
	t.Run("a Say that gets through leaves a later OnReturn", func(t *testing.T) {
		for _, r := range []Record{apply(began(), at, 2*m), apply(apply(began(), at, m), at, 2*m)} {
			if done := r.Done(*r.Open, true); r.Open.Action.Say != "Hello?" || done.OnReturn != "Note." {
				t.Errorf("open %+v, on return %q", r.Open, done.OnReturn)
			}
		}
	})
	t.Run("a Say that gets through makes its OnReturn void, whatever else is done", func(t *testing.T) {
		p := mustNew(t, Rule{Name: "a", After: m, Do: Action{Say: "A", OnReturn: "B"}}, Rule{Name: "b", After: 2 * m, Do: Action{Ask: true}})
		late := p.Apply(began(), p.Due(began(), at, after(2*m), Look), after(2*m))
		intime := p.Apply(began(), p.Due(began(), at, after(m), Look), after(m))
		intime = p.Apply(intime, p.Due(intime, at, after(2*m), Look), after(2*m))
		for _, r := range []Record{late, intime} {
			if done := r.Done(*r.Open, true); !r.Open.Action.Ask || done.OnReturn != "" {
				t.Errorf("open %+v, on return %q", r.Open, done.OnReturn)
			}
		}
	})
	t.Run("a later Say that gets through makes it void", func(t *testing.T) {
		for _, r := range []Record{apply(began(), at, 4*m), apply(apply(began(), at, 2*m), at, 4*m)} {
			if done := r.Done(*r.Open, true); r.Open.Action.Say != "Still there?" || done.OnReturn != "" {
				t.Errorf("open %+v, on return %q", r.Open, done.OnReturn)
			}
		}
	})
	t.Run("a Goto knows where it stood, whatever is folded in", func(t *testing.T) {
		r := apply(apply(began(), at, 3*m), Place{Channel: "sms"}, 4*m)
		o := r.Open
		if o.Action.Goto != "help" || o.Rule != "leave" || len(o.Place.Path) != 2 || !o.Input.Equal(start) || !o.At.Equal(after(4*m)) {
			t.Errorf("open %+v", o)
		}
	})
	t.Run("a late Goto is told the rule that it is of", func(t *testing.T) {
		if r := apply(began(), at, 4*m); r.Open.Rule != "leave" || r.Open.Action.Goto != "help" {
			t.Errorf("open %+v", r.Open)
		}
	})
	t.Run("what falls due while something is open is folded in, as at one look", func(t *testing.T) {
		r := began()
		for d := m; d <= 5*m; d += m {
			r = apply(r, at, d)
		}
		late := apply(began(), at, 5*m)
		if r.Open.Action != late.Open.Action || r.OnReturn != late.OnReturn || r.Open.Covers != late.Open.Covers || len(r.Open.Events) != len(late.Open.Events) {
			t.Errorf("in time %+v, late %+v", r.Open, late.Open)
		}
		if got, want := showAction(r.Open.Action), "close"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("a call is still to be hung up after another End", func(t *testing.T) {
		r := apply(began(), at, 5*m).Ask(after(6*m), "s2", Question{Waits: true, Put: true})
		if r = apply(r, at, 7*m); !r.Open.Action.Close {
			t.Errorf("open %+v", r.Open)
		}
		if r = r.End(after(8 * m)); !r.Open.Action.Close {
			t.Errorf("after the program's End: open %+v", r.Open)
		}
	})
	t.Run("the program's End drops what was to be said and told", func(t *testing.T) {
		r := apply(began(), at, 2*m).End(after(3 * m))
		if r.OnReturn != "" || r.Open.Action != (Action{}) || len(r.Open.Events) != 3 {
			t.Errorf("on return %q, open %+v", r.OnReturn, r.Open)
		}
	})
	t.Run("events keep what fired, each step its own", func(t *testing.T) {
		r := apply(began(), at, 5*m)
		var got []string
		for i, e := range r.Open.Events {
			got = append(got, e.Line+" "+e.Kind)
			if e.Session != "s1" || e.Seq != i+1 || !e.At.Equal(after(5*m)) || !e.Due.Equal(after(time.Duration(i+1)*m)) || e.Times != 1 || !e.Mark.Equal(start) {
				t.Errorf("%+v", e)
			}
		}
		if want := "nudge reminded, note due, leave redirected, last reminded, idle ended"; strings.Join(got, ", ") != want {
			t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
		}
	})
	t.Run("a text that a hook has changed is what is told", func(t *testing.T) {
		v := p.Due(began(), at, after(m), Look)
		v.Action.Say = "Hallo?"
		if r := p.Apply(began(), v, after(m)); r.Open.Action.Say != "Hallo?" || !r.Open.Covers {
			t.Errorf("open %+v", r.Open)
		}
		v.Action.Say = ""
		if r := p.Apply(began(), v, after(m)); r.Open.Action.Say != "" || r.Done(*r.Open, true).OnReturn != "There you are." {
			t.Errorf("open %+v", r.Open)
		}
	})
}

func TestHook(t *testing.T) {
	p := mustNew(t,
		Rule{Name: "idle", After: 10 * m, Do: say("Hello?"), Then: []Step{{Do: end("Bye")}}},
		Rule{Name: "life", Since: Began, After: 10 * m, Do: say("Late")},
		Rule{Name: "note", After: h})
	due := func(r Record, d time.Duration) Verdict { return p.Due(r, Place{}, after(d), Look) }
	v := due(began(), 11*m)
	held, ok := began().Hold(after(11*m), v, h)
	t.Run("what is held is due when it ends", func(t *testing.T) {
		if got, want := show(due(held, 71*m-1)), ": nothing; next 1h11m0s"; !ok || got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := show(due(held, 71*m)), "idle life note: say=Late; next 1h21m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("First is when it fell due, whatever was held", func(t *testing.T) {
		if got := due(held, 71*m).First; !got.Equal(after(10 * m)) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("First is that of the step that fell due first, in whatever order", func(t *testing.T) {
		p := mustNew(t, Rule{Name: "late", After: h}, Rule{Name: "early", After: 10 * m})
		r := began()
		r.Held = after(2 * h)
		if v := p.Due(r, Place{}, after(2*h), Look); !v.First.Equal(after(10*m)) || v.Fired[0].Line != "late" {
			t.Errorf("first %v: %s", v.First, show(v))
		}
	})
	t.Run("24 h after it fell due it is held no more", func(t *testing.T) {
		for _, row := range []struct {
			now  time.Duration
			want time.Duration // until when it is held, or never
		}{{11 * m, 24*h + 10*m}, {24*h + 10*m - 1, 24*h + 10*m}, {24*h + 10*m, never}} {
			r, ok := began().Hold(after(row.now), v, 100*h)
			if ok != (row.want != never) || ok && !r.Held.Equal(after(row.want)) {
				t.Errorf("at %v: %v, held until %v", row.now, ok, r.Held)
			}
		}
		if _, ok := began().Veto(after(24*h+10*m), v); ok {
			t.Error("vetoed")
		}
		if _, ok := began().Veto(after(24*h+10*m-1), v); !ok {
			t.Error("not vetoed")
		}
	})
	t.Run("24 h are counted from what the program postponed", func(t *testing.T) {
		r := began().Postpone(start, 48*h)
		if got := due(r, 48*h).First; !got.Equal(after(48 * h)) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("a hook that holds nothing, or for no time, holds nothing", func(t *testing.T) {
		if _, ok := began().Hold(after(11*m), v, 0); ok {
			t.Error("held for no time")
		}
		if _, ok := began().Hold(after(11*m), due(began(), 0), h); ok {
			t.Error("held nothing")
		}
		if _, ok := began().Veto(after(11*m), due(began(), 0)); ok {
			t.Error("vetoed nothing")
		}
	})
	vetoed, _ := began().Veto(after(11*m), v)
	t.Run("lines that are vetoed are silent, and others are not", func(t *testing.T) {
		if got, want := show(due(vetoed, h-1)), ": nothing; next 1h0m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("a veto and what is held end with user input", func(t *testing.T) {
		if got, want := show(due(vetoed.Arrive(after(20*m), "s2"), 20*m)), "life: say=Late; next 30m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := show(due(held.Arrive(after(20*m), "s2"), 20*m)), "life: say=Late; next 30m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("a veto of a line since Began that has fired before ends with user input", func(t *testing.T) {
		p := mustNew(t, Rule{Name: "life", Since: Began, After: 10 * m, Times: 2})
		r := p.Apply(began(), p.Due(began(), Place{}, after(10*m), Look), after(10*m))
		r, ok := r.Veto(after(20*m), p.Due(r, Place{}, after(20*m), Look))
		if v := p.Due(r, Place{}, after(h), Look); !ok || len(v.Fired) > 0 {
			t.Errorf("vetoed: %s", show(v))
		}
		if got, want := show(p.Due(r.Arrive(after(h), "s2"), Place{}, after(h), Look)), "life: nothing"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("a line since Began keeps its count over a veto and user input", func(t *testing.T) {
		r := p.Apply(began(), v, after(11*m)).Arrive(after(12*m), "s2")
		if got, want := show(due(r, 12*m)), ": nothing; next 22m0s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestUntil(t *testing.T) {
	idle := Rule{Name: "idle", After: 10 * m, Times: 2, Do: say("Hello?"), Then: []Step{{After: h, Do: end("Bye")}}}
	noInput := Rule{Name: "no-input", Since: Asked, After: m, Times: 2, Do: Action{Ask: true}, Then: []Step{{Do: end("Bye")}}}
	for _, row := range []struct {
		name  string
		rules []Rule
		r     Record
		at    Place
		hook  bool
		want  time.Duration // or never: no end
	}{
		{"to the end of the longest chain", []Rule{idle, {Name: "b", After: m, Do: end("")}}, began(), Place{}, false, 80 * m},
		{"of steps that are left", []Rule{idle}, func() Record {
			r := began()
			r.Fired = map[string]Fired{"idle": {Times: 2, At: after(25 * m)}}
			return r
		}(), Place{}, false, 85 * m},
		{"with what is postponed", []Rule{idle}, began().Postpone(start, 2*h), Place{}, false, 2*h + 70*m},
		{"with what a hook may hold", []Rule{idle}, began(), Place{}, true, 24*h + 80*m},
		{"with the longest patience each time, if since Asked", []Rule{noInput}, asked(), Place{Patience: []time.Duration{s, h, 2 * m}}, false, s + h + 2*(h+m)},
		{"of what is judged on input", []Rule{{Name: "back", OnlyOnInput: true, After: 7 * h, Do: end("")}}, began(), Place{}, false, 7 * h},
		{"for ever, if nothing in force ends the session", []Rule{{Name: "nudge", After: m, Do: say("Hello?")}}, began(), Place{}, false, never},
		{"for ever, where an exception holds", []Rule{{Name: "idle", When: When{Channels: []string{"sms"}}}, idle}, began(), Place{Channel: "sms"}, false, never},
		{"for ever, while the end is vetoed", []Rule{{Name: "idle", After: m, Do: end("")}}, func() Record {
			r := began()
			r.Fired = map[string]Fired{"idle": {Vetoed: true}}
			return r
		}(), Place{}, false, never},
		{"for ever, without a session", []Rule{idle}, Record{}, Place{}, false, never},
		{"the end, once it has ended", []Rule{idle}, began().End(after(m)), Place{}, false, m},
		{"a question that was put since, once it has ended", []Rule{noInput}, began().End(after(m)).Ask(after(2*m), "", Question{Waits: true, Put: true}), Place{}, false, 5 * m},
	} {
		t.Run(row.name, func(t *testing.T) {
			var want time.Time
			if row.want != never {
				want = after(row.want)
			}
			if got := mustNew(t, row.rules...).Until(row.r, row.at, row.hook); !got.Equal(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestClamp(t *testing.T) {
	p := mustNew(t, Rule{Name: "idle", After: m, Do: say("Hello?"), Then: []Step{{}}})
	ahead := Record{}.Arrive(after(h), "s1").HandOff(after(h), "agent").Ask(after(h), "", Question{Waits: true, Put: true}).Resolve(after(h))
	ahead = p.Apply(ahead, p.Due(ahead, Place{}, after(h+m), Look), after(h+m))
	for _, row := range []struct {
		name string
		skew time.Duration
		want bool
	}{{"what is ahead by the skew is let be", h + m, false}, {"what is ahead by more is now", h - 1, true}} {
		t.Run(row.name, func(t *testing.T) {
			before, _ := json.Marshal(ahead)
			r, clamped := ahead.Clamp(start, row.skew)
			if clamped != row.want {
				t.Errorf("got %v", clamped)
			}
			if text, _ := json.Marshal(ahead); string(text) != string(before) {
				t.Error("the record was changed")
			}
			if !row.want {
				if !reflect.DeepEqual(r, ahead) {
					t.Errorf("got %+v", r)
				}
				return
			}
			for _, at := range []time.Time{r.Input, r.Began, r.HandedOff, r.Asked, r.Resolved, r.Fired["idle"].Mark, r.Fired["idle"].At} {
				if !at.Equal(start) {
					t.Errorf("got %v", at)
				}
			}
			if got, want := show(p.Due(r, Place{}, start, Look)), ": nothing; next 1m0s"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
	t.Run("what has ended in the future has ended now", func(t *testing.T) {
		if r, _ := began().End(after(h)).Clamp(start, m); !r.Ended.Equal(start) {
			t.Errorf("ended %v", r.Ended)
		}
	})
}

func TestUses(t *testing.T) {
	p := mustNew(t, Rule{Name: "a", When: When{By: "agent"}, Since: Asked, After: m}, Rule{Name: "b", Since: Resolved})
	for mark, want := range map[Mark]bool{Input: false, Began: false, Asked: true, Resolved: false} {
		if got := p.Uses(mark); got != want {
			t.Errorf("%v: got %v", mark, got)
		}
	}
	if !p.UsesBy() || Idle(m).UsesBy() {
		t.Error("UsesBy")
	}
}

func TestNeedsArming(t *testing.T) {
	for _, row := range []struct {
		name             string
		armed, next, now time.Time
		want             bool
	}{
		{"what is not armed", time.Time{}, after(h), after(m), true},
		{"not what is armed for then", after(h), after(h), after(m), false},
		{"not what is armed before then", after(h - 1), after(h), after(m), false},
		{"what is armed after then", after(h + 1), after(h), after(m), true},
		{"what was armed for now", after(m), after(h), after(m), true},
		{"not what is armed for the instant after now", after(m + 1), after(h), after(m), false},
		{"not what is never due", time.Time{}, time.Time{}, after(m), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := (Record{Armed: row.armed}).NeedsArming(row.next, row.now); got != row.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestDamagedRecordsAreJudged(t *testing.T) {
	p := mustNew(t, Rule{Name: "a", Since: Asked, After: m, Do: say("A")}, Rule{Name: "b", After: m, Do: end("B")})
	for _, n := range []int{-1 << 62, -1, 0, 1, 2, 1 << 62} {
		r := asked()
		r.Fired = map[string]Fired{"a": {Times: n, Since: 7}, "b": {Times: n}}
		v := p.Due(r, Place{Patience: []time.Duration{m}}, after(h), Look)
		if v2 := p.Due(p.Apply(r, v, after(h)), Place{}, after(h), Look); len(v2.Fired) > 0 {
			t.Errorf("%d: %s, then %s", n, show(v), show(v2))
		}
		p.Until(r, Place{}, true)
		p.Explain(r, Place{}, after(h))
	}
}
