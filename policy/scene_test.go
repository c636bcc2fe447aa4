package policy_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/botlapse/botlapse/policy"
)

// A scene is a policy and what happens under it.
type scene struct {
	Rules  []Rule
	NoIDs  bool // sessions are not recorded
	Stored bool // the record is stored and read each time
	Ops    []op
}

// An op is what happens at an instant since the start. Do is look, write (user
// input), ring (a cause from outside), hold or veto (a look with a hook), turn (its
// end), hand off, resolve, postpone, begin, end, do (what is open), tell (what is
// told on return), or deliver (events).
type op struct {
	Do       string
	At       time.Duration
	Place    Place
	Question Question      // of turn
	To       string        // of hand off
	For      time.Duration // of hold and postpone
	Told     bool          // of do
}

// A stage is where a scene is played to the policy and to the oracle.
type stage struct {
	policy  Policy
	record  Record
	oracle  *oracle
	noIDs   bool
	problem string // in what they differ first
}

// play plays the scene, and says in what the two differ first.
func (sc scene) play(p Policy) string {
	st := stage{policy: p, oracle: &oracle{rules: sc.Rules}, noIDs: sc.NoIDs}
	for i, op := range sc.Ops {
		st.play(i, op)
		st.compareOpen()
		st.compareLines(op)
		st.compareDue("afterwards", op, Look)
		st.compareDue("afterwards", op, Cause(i%3))
		if sc.Stored {
			stored, err := json.Marshal(st.record)
			r := Record{Input: st.record.Input}
			st.compare("stored", errors.Join(err, json.Unmarshal(stored, &r)), nil)
			st.record = r
		}
		if i == len(sc.Ops)-1 {
			st.rest(op)
		}
		if st.problem != "" {
			return fmt.Sprintf("op %d, %s\nrecord  %s", i, st.problem, text(st.record))
		}
	}
	return ""
}

func (st *stage) compare(what string, got, want any) {
	if st.problem != "" || reflect.DeepEqual(got, want) {
		return
	}
	if g, w := text(got), text(want); g != w {
		st.problem = fmt.Sprintf("%s\npolicy: %s\noracle: %s", what, g, w)
	}
}

// play plays an op.
func (st *stage) play(i int, op op) {
	o, r := st.oracle, &st.record
	now := start.Add(op.At)
	session := fmt.Sprint("session of op ", i)
	if st.noIDs {
		session = ""
	}
	happen := func(what string, d deed) {
		d.did, d.at = what, Instant(now)
		if d.begins {
			d.session = session
		}
		o.past = append(o.past, d)
	}
	switch op.Do {
	case "look", "write", "ring", "hold", "veto":
		st.look(op, now)
		if op.Do == "write" {
			happen("wrote", deed{begins: !o.open()})
			*r = r.Arrive(now, session)
		}
	case "begin":
		if !o.open() {
			happen("began", deed{begins: true})
		}
		*r = r.Begin(now, session)
	case "turn":
		ever := o.ever()
		happen("turned", deed{question: op.Question})
		if turned := &o.past[len(o.past)-1]; !ever && !o.asked().IsZero() {
			turned.begins, turned.session = true, session
		}
		*r = r.Ask(now, session, op.Question)
	case "hand off":
		if o.by() != op.To {
			happen("handed", deed{to: op.To, event: Event{Kind: KindHandedOff, By: op.To}})
		}
		*r = r.HandOff(now, op.To)
	case "resolve":
		if o.open() && o.mark(Resolved).IsZero() {
			happen("resolved", deed{event: Event{Kind: KindResolved}})
		}
		*r = r.Resolve(now)
	case "postpone":
		happen("postponed", deed{until: Instant(now.Add(op.For))})
		*r = r.Postpone(now, op.For)
	case "end":
		var e Event
		if o.open() {
			e.Kind = KindEnded
		}
		happen("ended", deed{event: e})
		*r = r.End(now)
	case "do":
		if r.Open != nil {
			_, _, covers, _ := fold(o.todo())
			happen("done", deed{covered: covers && op.Told})
			*r = r.Done(*r.Open, op.Told)
		}
	case "tell":
		happen("told", deed{})
		r.OnReturn = ""
	case "deliver":
		if r.Open != nil {
			happen("delivered", deed{})
			*r = r.Delivered(r.Open.Events)
		}
	}
}

// look plays a look, and what the hook makes of it.
func (st *stage) look(op op, now time.Time) {
	p, o := st.policy, st.oracle
	cause := map[string]Cause{"write": User, "ring": NoInput}[op.Do]
	v := p.Due(st.record, op.Place, now, cause)
	lived := len(o.past)
	st.compare(op.Do, compared(v), compared(o.look(op.Place, now, cause)))
	last := v.First.Add(MaxHold)
	canHold := len(v.Fired) > 0 && now.Before(last)
	switch op.Do {
	case "hold":
		r, ok := st.record.Hold(now, v, op.For)
		if st.compare("Hold", ok, canHold); ok {
			until := now.Add(op.For)
			if last.Before(until) {
				until = last
			}
			o.past = append(o.past[:lived], deed{did: "held", until: Instant(until)})
			st.record = r
			return
		}
	case "veto":
		r, ok := st.record.Veto(now, v)
		if st.compare("Veto", ok, canHold); ok {
			for i, d := range o.past[lived:] {
				o.past[lived+i] = deed{did: "vetoed", line: d.line}
			}
			st.record = r
			return
		}
	}
	st.record = p.Apply(st.record, v, now)
	after := p.Due(st.record, op.Place, now, Look)
	st.compare("after Apply", []any{len(after.Fired), after.Next}, []any{0, v.Next})
}

// compareOpen compares what is left to be done and to be told.
func (st *stage) compareOpen() {
	o := st.oracle
	want := Open{Events: o.events()}
	if todo := o.todo(); len(todo) > 0 {
		var goes deed
		want.Action, want.Rule, want.Covers, goes = fold(todo)
		want.Action.End, want.Action.OnReturn = false, ""
		want.Place, want.Input = goes.place, goes.input
		if want.Action != (Action{}) || todo[len(todo)-1].did == "fired" {
			want.At = o.last(did("fired")).at
		}
	}
	var got Open
	if st.record.Open != nil {
		got = *st.record.Open
	}
	if !got.At.IsZero() && !got.At.Before(want.At) {
		got.At = want.At // it need only tell one Open from another
	}
	if want.Action.Goto == "" {
		got.Place, got.Rule, want.Rule = Place{}, "", ""
	}
	if want.Input.IsZero() {
		got.Input = want.Input // after an End it is of the session that has ended
	}
	st.compare("what is open", got, want)
	st.compare("what is told on return", st.record.OnReturn, o.onReturn())
}

// compareLines compares what Explain says.
func (st *stage) compareLines(op op) {
	o, now := st.oracle, start.Add(op.At)
	for i, line := range st.policy.Explain(st.record, op.Place, now) {
		step, due := 0, o.due(i, op.Place, byAny)
		if o.ready(i, op.Place) {
			step = len(o.firings(i)) + 1
		}
		st.compare("explained", []any{line.ID, line.InForce, line.Step, line.Due, line.IsDue},
			[]any{id(o.rules, i), o.inForce(i, op.Place), step, due, !due.IsZero() && !due.After(now)})
	}
}

// compareDue compares what would be due now.
func (st *stage) compareDue(what string, op op, why Cause) {
	lived, now := len(st.oracle.past), start.Add(op.At)
	st.compare(what, compared(st.policy.Due(st.record, op.Place, now, why)), compared(st.oracle.look(op.Place, now, why)))
	st.oracle.past = st.oracle.past[:lived]
}

// rest looks in time after an op, until nothing is due any more.
func (st *stage) rest(op op) {
	op.Do = "look"
	st.look(op, start.Add(op.At)) // what is late
	until := st.policy.Until(st.record, op.Place, false)
	for st.problem == "" {
		v := st.policy.Due(st.record, op.Place, start.Add(op.At), Look)
		if v.Next.IsZero() {
			return
		}
		if !until.IsZero() && v.Next.After(until) {
			st.compare("Until", until, v.Next)
		}
		op.At = v.Next.Sub(start)
		st.look(op, v.Next)
	}
}

// compared returns what is compared of a verdict.
func compared(v Verdict) any {
	return []any{v.Fired, v.Action, v.Ends, v.Rule, v.Covers && v.Action.Say != "", v.First, v.Next}
}

// text returns JSON, without the day on which tests start.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(string(b), start.Format("2006-01-02T"), "")
}

func (sc scene) String() string {
	var b strings.Builder
	for _, r := range sc.Rules {
		fmt.Fprintf(&b, "%+v\n", r)
	}
	fmt.Fprintf(&b, "no ids: %v, stored: %v\n", sc.NoIDs, sc.Stored)
	for i, op := range sc.Ops {
		fmt.Fprintf(&b, "%d %+v\n", i, op)
	}
	return b.String()
}

// shrink returns the smallest scene that it finds with a problem, and the problem.
func (sc scene) shrink() (scene, string) {
	fails := func(sc scene) string {
		if p, err := New(sc.Rules...); err == nil {
			return sc.play(p)
		}
		return ""
	}
	problem := fails(sc)
	for again := true; again; {
		again = false
		try := func(change func(*scene)) {
			smaller := sc
			smaller.Rules, smaller.Ops = slices.Clone(sc.Rules), slices.Clone(sc.Ops)
			change(&smaller)
			if smaller.String() == sc.String() {
				return
			}
			if p := fails(smaller); p != "" {
				sc, problem, again = smaller, p, true
			}
		}
		for i := len(sc.Ops) - 1; i >= 0; i-- {
			try(func(sc *scene) { sc.Ops = slices.Delete(sc.Ops, i, i+1) })
			for _, simpler := range []func(*op){
				func(op *op) { op.Place = Place{} },
				func(op *op) { op.Place.Patience = nil },
				func(op *op) { op.Question.Spoken, op.Question.Sent = false, false },
			} {
				try(func(sc *scene) {
					if i < len(sc.Ops) {
						simpler(&sc.Ops[i])
					}
				})
			}
		}
		for i := len(sc.Rules) - 1; i >= 0; i-- {
			try(func(sc *scene) { sc.Rules = slices.Delete(sc.Rules, i, i+1) })
			for _, simpler := range []func(*Rule){
				func(r *Rule) { r.When = When{} },
				func(r *Rule) { r.Then = nil },
				func(r *Rule) { r.Times = 0 },
				func(r *Rule) { r.Do = Action{} },
				func(r *Rule) { r.Do = Action{End: r.Do.End} },
				func(r *Rule) { r.OnlyOnInput = false },
			} {
				try(func(sc *scene) {
					if i < len(sc.Rules) {
						simpler(&sc.Rules[i])
					}
				})
			}
		}
		try(func(sc *scene) { sc.Stored = false })
	}
	return sc, problem
}

// A director makes scenes.
type director struct{ *rand.Rand }

func (d director) chance(percent int) bool { return d.IntN(100) < percent }

func (d director) one(of ...string) string { return of[d.IntN(len(of))] }

func (d director) seconds(n int) time.Duration { return time.Duration(d.IntN(n)) * time.Second }

func (d director) action() Action {
	var a Action
	if d.chance(50) {
		a.Say = fmt.Sprint("say ", d.IntN(1000))
	}
	if d.chance(25) {
		a.OnReturn = fmt.Sprint("return ", d.IntN(1000))
	}
	if d.chance(15) {
		a.Goto = fmt.Sprint("dialog ", d.IntN(1000))
	}
	a.Ask = d.chance(20)
	a.Take = d.chance(20)
	a.End = d.chance(30)
	a.Close = a.End && d.chance(30)
	return a
}

func (d director) rule() Rule {
	r := Rule{Name: d.one("a", "b", "c", "d"), Since: Mark(d.IntN(4)), After: d.seconds(10), Do: d.action(), OnlyOnInput: d.chance(15)}
	if d.chance(30) {
		r.Since = Asked
	}
	if d.chance(20) {
		r.When.Channels = []string{d.one("voice", "webchat")}
	}
	if d.chance(25) {
		r.When.At = []string{d.one("", "order", "size")}
	}
	if d.chance(15) {
		r.When.By = d.one("bot", "nobody", "agent")
	}
	if d.chance(25) {
		r.Times = d.IntN(4)
	}
	for d.chance(30) {
		r.Then = append(r.Then, Step{After: d.seconds(10), Times: d.IntN(3), Do: d.action()})
	}
	return r
}

func (d director) place() Place {
	at := Place{Channel: d.one("webchat", "voice")}
	at.Rings = at.Channel == "voice" && d.chance(50)
	at.Path = [][]string{nil, {"order"}, {"order", "size"}}[d.IntN(3)]
	for n := d.IntN(4); n > 0 && d.chance(50); n-- {
		at.Patience = append(at.Patience, d.seconds(16))
	}
	return at
}

// scene returns a scene of up to five lines and twenty ops. Its instants are whole
// seconds, and sometimes a nanosecond beside, so that much meets.
func (d director) scene() scene {
	sc := scene{NoIDs: d.chance(10), Stored: d.chance(5)}
	for range 1 + d.IntN(5) {
		r := d.rule()
		if sc.NoIDs && r.Since == Began {
			r.Since = Input
		}
		sc.Rules = append(sc.Rules, r)
	}
	at, speaks, now := d.place(), d.chance(20), time.Duration(0)
	for i := range 5 + d.IntN(16) {
		switch n := d.IntN(50); {
		case n == 0:
			now += 25 * time.Hour
		case n < 5:
			now += d.seconds(60)
		case n < 40:
			now += d.seconds(7)
		}
		if d.chance(20) {
			at = d.place()
		}
		it := op{At: now, Place: at, Do: d.one("write", "write", "write", "look", "look", "look", "look", "look", "turn", "turn", "turn", "turn",
			"turn", "ring", "ring", "hand off", "resolve", "postpone", "begin", "end", "hold", "veto", "do", "do", "tell", "deliver")}
		if sc.NoIDs && i == 0 {
			it.Do = "write"
		}
		switch d.IntN(10) {
		case 0:
			it.At = max(now-1, 0)
			if i > 0 {
				it.At = max(it.At, sc.Ops[i-1].At)
			}
		case 1:
			it.At++
			now = it.At
		}
		switch it.Do {
		case "turn":
			it.Question = Question{Waits: d.chance(80), Put: d.chance(50), Sent: d.chance(50), Speaks: speaks, Spoken: d.chance(30)}
		case "hand off":
			it.To = d.one("bot", "nobody", "agent")
		case "postpone", "hold":
			if it.For = time.Second + d.seconds(9); d.chance(10) {
				it.For = 30 * time.Hour
			}
		case "do":
			it.Told = d.chance(70)
		}
		sc.Ops = append(sc.Ops, it)
	}
	return sc
}

var (
	firstSeed = flag.Uint64("seed", 0, "the first scene that TestOracle plays")
	scenes    = flag.Uint64("scenes", 10000, "how many scenes TestOracle plays")
)

// TestOracle holds the policy to the oracle. What differs is played again by the
// seed: go test ./policy -run TestOracle -seed 7 -scenes 1.
func TestOracle(t *testing.T) {
	for seed, bad := *firstSeed, 0; seed < *firstSeed+*scenes && bad < 5; seed++ {
		sc := director{rand.New(rand.NewPCG(seed, 0))}.scene()
		p, err := New(sc.Rules...)
		if err != nil {
			t.Fatalf("seed %d: %v\n%v", seed, err, sc)
		}
		if sc.play(p) != "" {
			small, problem := sc.shrink()
			t.Errorf("seed %d\n%v%s", seed, small, problem)
			bad++
		}
	}
}
