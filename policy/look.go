package policy

import (
	"math"
	"slices"
	"time"
)

// A look judges one record at one place. Due, Explain and Until see lines through
// it alone, so that they cannot disagree.
type look struct {
	lines []line
	r     *Record
	at    *Place
	rests bool // lines since Input and Asked rest, because the conversation is resolved

	patient *line // the line that patience concerns, or nil
	asked   int   // how many of its steps are done
}

// A clock is a line in force whose mark has happened.
type clock struct {
	*line
	done   int // steps
	vetoed bool
	mark   time.Time
	at     time.Time // what the next step counts from, besides the mark
}

func (p Policy) look(r *Record, at *Place) look {
	k := look{lines: p.lines, r: r, at: at}
	for i := range k.lines {
		switch l := &k.lines[i]; l.Since {
		case Resolved:
			k.rests = k.rests || !r.Resolved.IsZero() && k.inForce(l) == ""
		case Asked:
			if k.patient == nil && !l.OnlyOnInput && !r.Asked.IsZero() && k.inForce(l) == "" {
				k.patient, k.asked = l, max(r.Fired[l.id].Times, 0)
			}
		}
	}
	return k
}

// inForce says why a line is not in force, or is an exception. It is empty if the
// line is in force.
func (k *look) inForce(l *line) string {
	if why := l.When.fails(k.r, k.at); why != "" {
		return why
	}
	for j := l.before; j >= 0; j = k.lines[j].before {
		if k.lines[j].When.fails(k.r, k.at) == "" {
			return "an earlier line of its name is in force"
		}
	}
	if l.total == 0 {
		return "never due: after is 0"
	}
	return ""
}

// fails says what does not hold.
func (w *When) fails(r *Record, at *Place) string {
	switch {
	case len(w.Channels) > 0 && !slices.Contains(w.Channels, at.Channel):
		return "another channel"
	case w.By != "" && w.By != r.answers():
		return "another answers"
	case len(w.At) > 0 && !w.holdsAt(at.Path):
		return "the conversation stands elsewhere"
	}
	return ""
}

func (w *When) holdsAt(path []string) bool {
	for _, id := range w.At {
		if id == "" && len(path) == 0 || slices.Contains(path, id) {
			return true
		}
	}
	return false
}

// clock returns the clock of a line, or why it has none.
func (k *look) clock(l *line) (clock, string) {
	if why := k.inForce(l); why != "" {
		return clock{}, why
	}
	c := clock{line: l, mark: k.r.mark(l.Since)}
	switch {
	case !k.r.Ended.IsZero() && l.Since != Asked:
		return c, "the session has ended"
	case k.rests && (l.Since == Input || l.Since == Asked):
		return c, "rests: the conversation is resolved"
	case c.mark.IsZero(), l.OnlyOnInput && l.Since == Input && k.r.Input.IsZero():
		return c, notYet[l.Since]
	}
	if f, ok := k.r.Fired[l.id]; ok && f.Since == l.Since { // or else it is of an older policy
		c.done, c.vetoed, c.at = max(f.Times, 0), f.Vetoed, f.At
	}
	return c, ""
}

var notYet = [...]string{
	Input:    "the user has not written yet",
	Began:    "no session has begun",
	Asked:    "no question waits",
	Resolved: "the conversation is not resolved",
}

func (c *clock) left() bool { return c.done < c.total && !c.vetoed }

// due returns when the next step of a clock is due, and when it would be if no
// hook had held it; or why it is not due, ever.
func (k *look) due(c *clock) (first, due time.Time, why string) {
	switch {
	case c.vetoed:
		return first, due, "vetoed until the user writes"
	case !c.left():
		return first, due, "nothing left until the user writes"
	}
	after := c.step(c.done).After
	if c.Since == Asked && !c.OnlyOnInput {
		if k.at.Rings {
			return first, due, "the channel rings its own clock"
		}
		if after = k.patience(c, after); after <= 0 {
			return first, due, "the prompt waits for ever"
		}
	}
	first = later(later(c.mark, c.at).Add(after), k.r.Postponed)
	return first, later(first, k.r.Held), ""
}

// patience returns how long after what a step since Asked is due, if the rule says
// after; 0 is never.
func (k *look) patience(c *clock, after time.Duration) time.Duration {
	if len(k.at.Patience) == 0 || k.patient == nil {
		return after
	}
	patience := k.at.Patience[min(k.asked, len(k.at.Patience)-1)]
	if patience <= 0 || c.line == k.patient {
		return patience
	}
	more := patience - k.patient.step(k.asked).After
	return saturated(after, max(more, 0))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func saturated(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
