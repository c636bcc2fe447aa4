package policy_test

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	. "github.com/botlapse/botlapse/policy"
)

// An oracle says what a policy does, and knows nothing of how it does it. It has no
// record: it keeps all that ever happened, and searches it anew for each question.
// It is slow, and each answer reads like the rule that it comes from.
//
// Where the rules are silent, it does as the package: counts and vetoes go when a
// session begins. An End drops what was postponed, and Take. An End that finds no
// session leaves no session that is over. The first message that a user ever
// writes makes no OnlyOnInput line since Input due.
type oracle struct {
	rules []Rule
	past  []deed
}

// A deed is something that happened.
type deed struct {
	did     string // came (before it counts), wrote, began, turned, handed, resolved, postponed, held, vetoed, ended, fired, done, told, delivered
	at      time.Time
	begins  bool   // a session,
	session string // of this id; "": it is not recorded

	question Question  // of turned
	to       string    // of handed
	until    time.Time // of postponed and held
	line     int       // of vetoed and fired
	place    Place     // of fired
	input    time.Time // of fired: the mark Input
	do       Action    // of fired: what is left of it where the user is there, or is not
	covered  bool      // of done: OnReturn is void
	event    Event     // of handed, resolved, ended and fired; without a Kind it is none
}

// ends reports whether the deed is an End, of a rule or of the program.
func (d deed) ends() bool { return d.did == "ended" || d.do.End }

// did returns what is true of deeds of these kinds.
func did(what ...string) func(deed) bool {
	return func(d deed) bool { return slices.Contains(what, d.did) }
}

func begins(d deed) bool        { return d.begins }
func beginsOrEnds(d deed) bool  { return d.begins || d.ends() }
func wroteOrBegins(d deed) bool { return d.did == "wrote" || d.begins }
func wroteOrEnds(d deed) bool   { return d.did == "wrote" || d.ends() }
func handedOrEnds(d deed) bool  { return d.did == "handed" || d.ends() }

// last returns the last deed that is so, or none.
func (o *oracle) last(is func(deed) bool) deed {
	for _, d := range slices.Backward(o.past) {
		if is(d) {
			return d
		}
	}
	return deed{}
}

// since returns what happened after the last deed that is so.
func (o *oracle) since(is func(deed) bool) []deed {
	for i := len(o.past); i > 0; i-- {
		if is(o.past[i-1]) {
			return o.past[i:]
		}
	}
	return o.past
}

// before returns the oracle as it was before deed n.
func (o *oracle) before(n int) *oracle { return &oracle{o.rules, o.past[:n]} }

// ever reports whether there has been a session, open whether one is under way, and
// over whether the last has ended.
func (o *oracle) ever() bool { return o.last(begins).begins }
func (o *oracle) open() bool { return o.last(beginsOrEnds).begins }
func (o *oracle) over() bool { return o.ever() && !o.open() }

// by returns who answers.
func (o *oracle) by() string { return cmp.Or(o.last(handedOrEnds).to, "bot") }

// asked returns when the question that waits was put.
func (o *oracle) asked() time.Time {
	for i, d := range slices.Backward(o.past) {
		q := d.question
		switch {
		case d.ends(), d.did == "wrote", d.did == "handed":
			return time.Time{}
		case d.did != "turned":
		case !q.Waits, q.Put && q.Speaks:
			return time.Time{}
		case q.Put, q.Speaks && q.Spoken, q.Sent && !q.Speaks && o.before(i).by() == "bot" && o.before(i).asked().IsZero():
			return d.at
		}
	}
	return time.Time{}
}

// mark returns the value of a mark, zero where nothing counts from it.
func (o *oracle) mark(m Mark) time.Time {
	switch {
	case m == Asked:
		return o.asked()
	case o.over():
		return time.Time{} // only a question has a clock
	case m == Input:
		if d := o.last(func(d deed) bool { return wroteOrBegins(d) || handedOrEnds(d) }); !d.ends() {
			return d.at
		}
	case m == Began:
		if d := o.last(begins); d.session != "" {
			return d.at
		}
	case m == Resolved:
		for _, d := range o.since(wroteOrBegins) {
			if d.did == "resolved" {
				return d.at
			}
		}
	}
	return time.Time{}
}

// firings returns the steps of a line that are done.
func (o *oracle) firings(line int) []deed {
	from := wroteOrBegins
	if o.rules[line].Since == Began {
		from = begins
	}
	var fired []deed
	for _, d := range o.since(from) {
		if d.did == "fired" && d.line == line {
			fired = append(fired, d)
		}
	}
	return fired
}

// Who postpones: the program, or it and the hook.
var (
	byProgram = did("postponed")
	byAny     = did("postponed", "held")
)

// postponed returns until when nothing is due.
func (o *oracle) postponed(by func(deed) bool) time.Time {
	var until time.Time
	for _, d := range o.since(wroteOrEnds) {
		if by(d) {
			until = later(until, d.until)
		}
	}
	return until
}

func later(t, u time.Time) time.Time {
	if u.After(t) {
		return u
	}
	return t
}

// steps returns the steps of a rule, each of its times by itself.
func steps(r Rule) []Step {
	var all []Step
	wait := r.After
	for _, s := range append([]Step{{r.After, r.Times, r.Do}}, r.Then...) {
		if s.After > 0 {
			wait = s.After
		}
		all = append(all, slices.Repeat([]Step{{After: wait, Do: s.Do}}, max(s.Times, 1))...)
	}
	return all
}

// inForce reports whether a line holds, and no earlier one of its name.
func (o *oracle) inForce(line int, at Place) bool {
	path := at.Path
	if len(path) == 0 {
		path = []string{""}
	}
	holds := func(r Rule) bool {
		return r.Name == o.rules[line].Name &&
			(len(r.When.Channels) == 0 || slices.Contains(r.When.Channels, at.Channel)) &&
			(len(r.When.At) == 0 || slices.ContainsFunc(path, func(id string) bool { return slices.Contains(r.When.At, id) })) &&
			(r.When.By == "" || r.When.By == o.by())
	}
	return slices.IndexFunc(o.rules, holds) == line && o.rules[line].After > 0
}

// rests reports whether a line rests because the matter is settled.
func (o *oracle) rests(line int, at Place) bool {
	if since := o.rules[line].Since; since != Input && since != Asked || o.mark(Resolved).IsZero() {
		return false
	}
	for i, r := range o.rules {
		if r.Since == Resolved && o.inForce(i, at) {
			return true
		}
	}
	return false
}

// ready reports whether a line only waits for its time.
func (o *oracle) ready(line int, at Place) bool {
	r := o.rules[line]
	if r.OnlyOnInput && r.Since == Input && o.last(did("wrote")).did == "" {
		return false // there is no message before
	}
	vetoed := slices.ContainsFunc(o.since(wroteOrBegins), func(d deed) bool { return d.did == "vetoed" && d.line == line })
	return o.inForce(line, at) && !o.rests(line, at) && !vetoed && !o.mark(r.Since).IsZero() && len(o.firings(line)) < len(steps(r))
}

// wait returns how long the next step of a line waits, or 0 for ever.
func (o *oracle) wait(line int, at Place) time.Duration {
	isAsked := func(r Rule) bool { return r.Since == Asked && !r.OnlyOnInput }
	r := o.rules[line]
	after := steps(r)[len(o.firings(line))].After
	switch {
	case !isAsked(r):
		return after
	case at.Rings:
		return 0
	case len(at.Patience) == 0:
		return after
	}
	first := 0
	for !isAsked(o.rules[first]) || !o.inForce(first, at) {
		first++
	}
	n := len(o.firings(first))
	patience := at.Patience[min(n, len(at.Patience)-1)]
	switch its := steps(o.rules[first]); {
	case patience <= 0:
		return 0
	case line == first:
		return patience
	default:
		return after + max(0, patience-its[min(n, len(its)-1)].After)
	}
}

// due returns when the next step of a line is due, with what these have postponed;
// zero is never.
func (o *oracle) due(line int, at Place, by func(deed) bool) time.Time {
	if !o.ready(line, at) || o.wait(line, at) == 0 {
		return time.Time{}
	}
	from := o.mark(o.rules[line].Since)
	if o.rules[line].Since == Asked {
		from = later(from, o.last(func(d deed) bool { return d.did == "fired" && d.line == line }).at)
	} else if fired := o.firings(line); len(fired) > 0 {
		from = later(from, fired[len(fired)-1].event.Due)
	}
	return later(from.Add(o.wait(line, at)), o.postponed(by))
}

// next returns the timer that is due first, and when; zero for never.
func (o *oracle) next(at Place) (line int, due time.Time) {
	for i, r := range o.rules {
		if d := o.due(i, at, byAny); !r.OnlyOnInput && !d.IsZero() && (due.IsZero() || d.Before(due)) {
			line, due = i, d
		}
	}
	return line, due
}

// rung returns the line that a cause from outside makes due, or -1.
func (o *oracle) rung(at Place, now time.Time) int {
	if o.postponed(byAny).After(now) {
		return -1
	}
	for _, d := range o.since(did("wrote")) {
		if d.did == "fired" && o.rules[d.line].Since == Asked && d.event.Mark.Equal(o.asked()) {
			return -1
		}
	}
	for i, r := range o.rules {
		if r.Since == Asked && !r.OnlyOnInput && o.ready(i, at) {
			return i
		}
	}
	return -1
}

// look lives up to now. It lets happen what is due, and says what that is.
func (o *oracle) look(at Place, now time.Time, why Cause) Verdict {
	v := Verdict{Cause: why, Place: at}
	wasOpen, rung := o.open(), -1
	switch why {
	case User:
		o.past = append(o.past, deed{did: "came"})
	case NoInput:
		rung = o.rung(at, now)
	}
	lived := len(o.past)
	isDue := func(due time.Time) bool { return !due.IsZero() && !due.After(now) }
	for !v.Action.End {
		line, due := o.next(at)
		if rung >= 0 && (!isDue(due) || due.Equal(now) && rung < line) {
			line, due = rung, now
		}
		if !isDue(due) {
			break
		}
		if line == rung {
			rung = -1
		}
		o.fire(&v, line, due, now)
	}
	for i, r := range o.rules {
		alone := false
		for r.OnlyOnInput && why == User && !v.Action.End && isDue(o.due(i, at, byAny)) {
			o.fire(&v, i, o.due(i, at, byAny), now)
			alone = true
		}
		if alone {
			break
		}
	}
	fired := o.past[lived:]
	v.Ends = wasOpen && v.Action.End
	v.Action, v.Rule, v.Covers, _ = fold(fired)
	if why == User && v.Action.OnReturn != "" {
		v.Action.Say, v.Covers = "", false
		for i := range fired {
			fired[i].do.Say = ""
		}
	}
	_, v.Next = o.next(at)
	return v
}

// fire lets the next step of a line happen.
func (o *oracle) fire(v *Verdict, line int, due, now time.Time) {
	r, n := o.rules[line], len(o.firings(line))
	first := due
	if unheld := o.due(line, v.Place, byProgram); !unheld.IsZero() && unheld.Before(due) {
		first = unheld
	}
	if len(v.Fired) == 0 || first.Before(v.First) {
		v.First = first
	}
	do := steps(r)[n].Do
	if v.Cause == User {
		do.Ask, do.Close = false, false
		if r.Since != Began {
			do.Say = ""
		}
	} else {
		do.Take = false
	}
	e := Event{Kind: KindDue, Line: id(o.rules, line), Since: r.Since, Mark: o.mark(r.Since), Times: n + 1, Due: due}
	switch {
	case do.End && !o.open():
		e.Kind = ""
	case do.End:
		e.Kind = KindEnded
	case do.Goto != "":
		e.Kind = KindRedirected
	case do.Ask:
		e.Kind = KindAsked
	case do.Say != "":
		e.Kind = KindReminded
	}
	o.past = append(o.past, deed{did: "fired", at: Instant(now), line: line, place: v.Place, input: o.mark(Input), do: do, event: e})
	v.Fired = append(v.Fired, e)
	v.Action.End = do.End
}

// fold returns what firings do together, the line that decides, whether its Say
// covers its OnReturn, and the firing that goes somewhere.
func fold(fired []deed) (a Action, rule string, covers bool, goes deed) {
	for _, d := range fired {
		do := d.do
		if do.End {
			a, covers, goes = Action{Close: a.Close}, false, deed{}
		}
		a.End = a.End || do.End
		a.Close = a.Close || do.Close
		a.Ask = (a.Ask || do.Ask) && !do.End
		a.Take = a.Take || do.Take
		if do.OnReturn != "" {
			a.OnReturn, covers = do.OnReturn, false
		}
		if do.Say != "" {
			a.Say, covers = do.Say, true
		}
		if do.Goto != "" {
			a.Goto, goes = do.Goto, d
		}
		if do.End || do.Goto != "" || a.Goto == "" {
			rule = d.event.Line
		}
	}
	a.Ask = a.Ask && a.Goto == ""
	return a, rule, covers, goes
}

// todo returns the firings that are not done yet, and the Ends of the program after them.
func (o *oracle) todo() []deed {
	var todo []deed
	for _, d := range o.since(did("came", "done")) {
		if d.did == "fired" || d.did == "ended" && len(todo) > 0 {
			d.do.End = d.ends()
			todo = append(todo, d)
		}
	}
	return todo
}

// onReturn returns what the user is to be told with their next input.
func (o *oracle) onReturn() string {
	return o.last(func(d deed) bool { return d.ends() || d.do.OnReturn != "" || d.did == "told" || d.covered }).do.OnReturn
}

// events returns those that nobody else has yet.
func (o *oracle) events() (events []Event) {
	seq, session := 0, ""
	for _, d := range o.past {
		if d.event.Kind != "" {
			seq++
			d.event.Session, d.event.Seq, d.event.Due, d.event.At = session, seq, Instant(d.event.Due), d.at
			events = append(events, d.event)
		}
		switch {
		case d.begins:
			seq, session = 0, d.session
		case d.did == "delivered":
			events = nil
		}
	}
	return events
}

// id returns what events call a line.
func id(rules []Rule, line int) string {
	n := 0
	for _, r := range rules[:line+1] {
		if r.Name == rules[line].Name {
			n++
		}
	}
	if n == 1 {
		return rules[line].Name
	}
	return fmt.Sprintf("%s#%d", rules[line].Name, n)
}
