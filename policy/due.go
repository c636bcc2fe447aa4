package policy

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A Cause is why a conversation is looked at.
type Cause int

const (
	// Look is a deadline, or an activity that is no user input.
	Look Cause = iota

	// User is user input, which is judged before it counts. What is to be said is
	// dropped, because the user is there, but not the Say of a line since Began
	// if the verdict has no OnReturn; Ask and Close are dropped too. OnlyOnInput
	// lines are judged.
	User

	// NoInput is a Look because a channel says that its own clock for silence has
	// rung. Besides what time makes due, the first line since Asked that has
	// something left is due now, unless a line since Asked has fired for this
	// value of Asked: such reports carry no id, and come twice.
	NoInput
)

// A Verdict says what is due.
type Verdict struct {
	Cause Cause
	Place Place

	// Fired holds the steps that are due, by due instant, at one instant by the
	// page, up to the first that ends. None is: nothing is due. Their Session,
	// Seq and At are set when the verdict is applied.
	Fired []Event

	// Action is what they do together. The last Say, OnReturn and Goto win, Ask
	// and Take are done if any step has them, and an End stands alone, because it
	// drops what came before it. Take is false where the user is silent. A hook
	// may change what is said before the verdict is applied.
	Action Action

	// Ends is set if the session ends. An Action that ends clears the state all
	// the same where the session has ended before, or was never begun.
	Ends bool

	// Rule is the line whose Goto or End it is, or else the last that fired.
	Rule string

	// Covers is set if the Say of Action is of the same step as its OnReturn or of
	// a later one, or there is only a Say.
	Covers bool

	// First is when the first of the steps fell due, whatever a hook has held.
	First time.Time

	// Next is when something is due again if nothing happens: always after now,
	// and zero for never. If steps are due now, it is that after Apply.
	Next time.Time
}

// MaxHold is how long after a verdict's First a hook can hold it.
const MaxHold = 24 * time.Hour

// Due says what is due at the instant now. Nothing else decides. The same record,
// place, instant and cause give the same verdict. The place is that of the stored
// stack. Due after Apply is empty, but for OnlyOnInput lines, of which one fires
// with each input.
func (p Policy) Due(r Record, at Place, now time.Time, why Cause) Verdict {
	v := Verdict{Cause: why, Place: at}
	k := p.look(&r, &at)
	var buffer [32]clock // no allocation for as many lines in force
	timers := buffer[:0]
	var onInput clock // of the line that fires alone, if any
	caused := -1      // the timer that NoInput makes due
	for i := range p.lines {
		c, none := k.clock(&p.lines[i])
		if none != "" {
			continue
		}
		if c.OnlyOnInput {
			if _, due, _ := k.due(&c); why == User && onInput.line == nil && isDue(due, now) {
				onInput = c
			}
			continue
		}
		if c.Since == Asked && why == NoInput && caused < 0 && c.left() && r.answerable(now) {
			caused = len(timers)
		}
		timers = append(timers, c)
	}
	for !v.Action.End {
		next, first, due := -1, time.Time{}, time.Time{}
		for i := range timers {
			f, d, _ := k.due(&timers[i])
			if i == caused && !isDue(d, now) {
				f, d = now, now
			}
			if !d.IsZero() && (next < 0 || d.Before(due)) {
				next, first, due = i, f, d
			}
		}
		if !isDue(due, now) {
			v.Next = due
			break
		}
		if next == caused {
			caused = -1
		}
		v.fire(&k, &timers[next], first, due, now)
	}
	for onInput.line != nil && !v.Action.End {
		first, due, _ := k.due(&onInput)
		if !isDue(due, now) {
			break
		}
		v.fire(&k, &onInput, first, due, now)
	}
	if v.Action.End {
		v.Next = time.Time{} // nothing has a clock after it
		v.Ends = r.underWay()
	}
	if why == User && v.Action.OnReturn != "" {
		v.Action.Say, v.Covers = "", false
	}
	return v
}

func isDue(due, now time.Time) bool { return !due.IsZero() && !due.After(now) }

// fire adds the next step of a clock to the verdict, and moves the clock on.
func (v *Verdict) fire(k *look, c *clock, first, due, now time.Time) {
	do := c.step(c.done).Do
	if v.Cause == User {
		do.Ask, do.Close = false, false
		if c.Since != Began {
			do.Say = ""
		}
	} else {
		do.Take = false
	}
	c.done++
	c.at = Instant(due)
	if c.Since == Asked {
		c.at = Instant(now)
	}
	if c.line == k.patient {
		k.asked = c.done
	}
	if do.End || do.Goto != "" || v.Action.Goto == "" {
		v.Rule = c.id
	}
	if len(v.Fired) == 0 || first.Before(v.First) {
		v.First = first
	}
	v.Fired = append(v.Fired, Event{Kind: k.kind(do), Line: c.id, Since: c.Since, Mark: c.mark, Due: due, Times: c.done})
	v.Action, v.Covers = fold(v.Action, v.Covers, do, do.Say != "")
}

// kind says what is strongest in an action. It is empty for an End that ends
// nothing.
func (k *look) kind(do Action) string {
	switch {
	case do.End && k.r.underWay():
		return KindEnded
	case do.End:
		return ""
	case do.Goto != "":
		return KindRedirected
	case do.Ask:
		return KindAsked
	case do.Say != "":
		return KindReminded
	}
	return KindDue
}

// fold returns what two actions do one after the other, and whether the Say
// covers the OnReturn.
func fold(first Action, covered bool, second Action, covers bool) (Action, bool) {
	switch {
	case second.End:
		second.Ask = false
		second.Close = second.Close || first.Close // of an earlier End
		return second, covers
	case second.Say == "" && second.OnReturn == "":
		covers = covered
	}
	first.Say = cmp.Or(second.Say, first.Say)
	first.OnReturn = cmp.Or(second.OnReturn, first.OnReturn)
	first.Goto = cmp.Or(second.Goto, first.Goto)
	first.Take = first.Take || second.Take
	first.Ask = (first.Ask || second.Ask) && first.Goto == ""
	return first, covers
}

// Apply returns r with the verdict stored: the steps are counted, the session is
// ended if it ends, OnReturn is noted, and what is to be done is folded into what
// is Open, as at one look. A verdict of cause User first drops what was open, even
// if nothing is due, because the user is there; events stay. The verdict is that
// of Due for r, with or without another text.
func (p Policy) Apply(r Record, v Verdict, now time.Time) Record {
	if v.Cause == User {
		r.Open = r.Open.undone()
	}
	if len(v.Fired) == 0 {
		return r
	}
	now = Instant(now)
	open := Open{Place: v.Place, Rule: v.Rule, At: now, Input: r.mark(Input)}
	if old := r.Open; old != nil {
		if !open.At.After(old.At) {
			open.At = Instant(old.At.Add(1)) // because At tells one Open from another
		}
		if old.Action.Goto != "" && v.Action.Goto == "" && !v.Action.End {
			open.Place, open.Rule, open.Input = old.Place, old.Rule, old.Input // the dialog is still to begin
		}
		open.Action, open.Covers, open.Activity, open.Events = old.Action, old.Covers, old.Activity, old.Events
	}
	open.Place.Path = slices.Clone(open.Place.Path)
	open.Action, open.Covers = fold(open.Action, open.Covers, v.Action, v.Action.Say != "" && (v.Covers || v.Action.OnReturn == ""))
	open.Action.End, open.Action.OnReturn = false, "" // the state is cleared with this, and OnReturn is the record's
	r.Open = &open

	fired := make(map[string]Fired, len(r.Fired)+len(v.Fired))
	maps.Copy(fired, r.Fired)
	var events []Event
	for _, e := range v.Fired {
		at := Instant(e.Due)
		if e.Since == Asked {
			at = now
		}
		fired[e.Line] = Fired{Since: e.Since, Times: e.Times, Mark: e.Mark, At: at}
		if e.Kind != "" {
			e.At, e.Due = now, Instant(e.Due)
			events = append(events, e)
		}
	}
	r.Fired = fired
	r.tell(events...)
	if v.Action.End {
		r.end(now)
		r.OnReturn = ""
	}
	r.OnReturn = cmp.Or(v.Action.OnReturn, r.OnReturn)
	return r
}

// Until returns the instant until which the record is needed: nothing that is in
// force becomes due later, whatever else is in force, with the longest patience and
// what is postponed; MaxHold later if a hook may hold it. It is zero if nothing in force
// can end the session: then the state must stay for ever.
func (p Policy) Until(r Record, at Place, hook bool) time.Time {
	k := p.look(&r, &at)
	until, ends := r.Ended, !r.Ended.IsZero()
	for i := range p.lines {
		c, why := k.clock(&p.lines[i])
		if why != "" {
			continue
		}
		_, due, why := k.due(&c)
		if why != "" {
			continue
		}
		for n := c.done; n < c.total; n++ {
			s := c.step(n)
			ends = ends || s.Do.End
			if n > c.done {
				due = due.Add(s.After)
			}
			if c.Since == Asked && len(at.Patience) > 0 { // whichever counts by then
				due = due.Add(max(slices.Max(at.Patience), 0))
			}
		}
		until = later(until, due)
	}
	if !ends {
		return time.Time{}
	}
	if hook {
		until = until.Add(MaxHold)
	}
	return until
}
