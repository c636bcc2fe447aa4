package policy

import "time"

// A Line explains one rule.
type Line struct {
	Rule Rule
	ID   string // as events and logs call it, such as "idle#2"

	// InForce is set if the rule holds, no earlier rule of its name does, and its
	// After is not 0.
	InForce bool

	Mark  time.Time // the instant that it counts from; zero: has not happened
	Step  int       // the next step, from 1, where each time of a step counts; 0: none
	Steps int       // how many there are
	Do    Action    // what the next step does
	Due   time.Time // when it is due; zero: never, as things are
	IsDue bool      // now; of an OnlyOnInput rule: if the user wrote now
	Why   string    // why it is not due, ever, or what it waits for besides its time; "" for nothing
}

// Explain says of each rule, in the order of the page, whether it is in force,
// since when it counts, when it is due, and why not.
func (p Policy) Explain(r Record, at Place, now time.Time) []Line {
	k := p.look(&r, &at)
	lines := make([]Line, len(p.lines))
	for i := range p.lines {
		l := &p.lines[i]
		line := Line{Rule: l.Rule.clone(), ID: l.id, InForce: k.inForce(l) == "", Mark: r.mark(l.Since), Steps: l.total}
		c, why := k.clock(l)
		if why == "" {
			var first time.Time
			if first, line.Due, why = k.due(&c); c.left() {
				line.Step, line.Do = c.done+1, c.step(c.done).Do
			}
			line.IsDue = isDue(line.Due, now)
			switch {
			case why != "":
			case line.Due.After(first):
				why = "held by a hook"
			case line.Due.Equal(r.Postponed):
				why = "postponed"
			case l.OnlyOnInput:
				why = "only when the user writes"
			}
		}
		line.Why = why
		lines[i] = line
	}
	return lines
}
