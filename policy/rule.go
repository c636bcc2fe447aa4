package policy

import (
	"fmt"
	"slices"
	"time"
)

// A Mark is an instant of a conversation that rules count from. A mark that has
// not happened is the zero time, and makes nothing due.
type Mark int

const (
	Input    Mark = iota // the latest of the last user input, the last change of who answers, and Began
	Began                // the session began
	Asked                // the bot has finished asking the question that waits
	Resolved             // somebody said that the matter is settled
)

var marks = [...]string{"input", "began", "asked", "resolved"}

// String returns the name of the mark in JSON, such as "input".
func (m Mark) String() string {
	if m < 0 || int(m) >= len(marks) {
		return fmt.Sprintf("Mark(%d)", int(m))
	}
	return marks[m]
}

// MarshalText returns the name of the mark.
func (m Mark) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the name of a mark.
func (m *Mark) UnmarshalText(text []byte) error {
	for i, name := range marks {
		if string(text) == name {
			*m = Mark(i)
			return nil
		}
	}
	return fmt.Errorf("policy: %q is no mark", text)
}

// A Place is where a conversation stands.
type Place struct {
	Channel string `json:"channel,omitempty"`

	// Path holds the ids of the dialogs under way, outermost first, and last
	// that of the step or prompt that waits. It is empty if no dialog is under
	// way.
	Path []string `json:"path,omitempty"`

	// Patience is how long the waiting prompt waits: first, then after each time
	// that it was asked again, which is how often the first line since Asked has
	// fired. The last value is that of all later times. If Patience is empty, the
	// rule says how long. A value of 0 or less is for ever: no line since Asked
	// is due then but by a cause from outside.
	Patience []time.Duration `json:"-"`

	// Rings is set where the channel rings its own clock, as a voice service
	// does. Lines since Asked arm nothing there, and time alone never makes them
	// due: only NoInput does.
	Rings bool `json:"-"`
}

// A When says in which conversations a rule holds. What is empty holds
// everywhere.
type When struct {
	Channels []string // any of these channels, spelled as in activities
	At       []string // any of these ids is on the path; "" is: no dialog is under way
	By       string   // who answers: "bot", "nobody" (a person was asked for), or who has taken over, such as "agent"
}

// An Action is what a rule does. The zero Action does nothing: the program
// alone is told.
type Action struct {
	// End clears the conversation state and ends the session: the next user
	// input begins a new one.
	End bool `json:"end,omitempty"`

	// Close, which needs End, tells the channel that the conversation is over.
	// It hangs up a call.
	Close bool `json:"close,omitempty"`

	// Say is what the user is told now.
	Say string `json:"say,omitempty"`

	// OnReturn is what the user is told with their next input, unless the Say of
	// the same firing or of a later one has got through.
	OnReturn string `json:"on_return,omitempty"`

	// Ask asks the open question again. It does nothing beside End or Goto.
	Ask bool `json:"ask,omitempty"`

	// Goto cancels all dialogs and begins this one. Target finds it.
	Goto string `json:"goto,omitempty"`

	// Take ends a turn of the user's, as Goto does: their message goes no
	// further. It does nothing where the user is silent.
	Take bool `json:"take,omitempty"`
}

// Target as [Action.Goto] is the dialog that the waiting prompt names, or else
// its step, or its dialog, or else the dialog called "timeout".
const Target = "@timeout"

// A Step is one tier of a rule.
type Step struct {
	// After is how long after the mark, or after the step before, the step is
	// due. 0 or less is the After of the step before.
	After time.Duration

	// Times is how often the step is done, each time After later. 0 is once; at
	// most MaxTimes.
	Times int

	Do Action
}

// MaxTimes bounds how often one step is done, because all that is past counts at
// one late look.
const MaxTimes = 1000

// A Rule is one line of a policy: when this holds, so long after that mark, do
// this.
type Rule struct {
	// Name is what firings, events and logs call the rule. It must not be empty
	// nor hold "#". Of several lines of one name only the first that holds is in
	// force. The second line of the name idle is called idle#2.
	Name string

	When  When
	Since Mark

	// OnlyOnInput lines are judged only when the user writes, after all timers:
	// the first on the page that is in force and due fires alone, with all of its
	// steps that are past. They arm nothing, and neither a patience nor a cause
	// from outside concerns them.
	OnlyOnInput bool

	// After, Times and Do are the first step. An After of 0 or less is never,
	// for Then as well. Such a line is an exception: where it holds it keeps the
	// later lines of its name out of force, and counts for nothing else. It does
	// not let others rest (Resolved), and takes no patience and no cause.
	After time.Duration
	Times int
	Do    Action

	Then []Step
}

// A Policy is a list of rules, checked and compiled. The zero Policy has none:
// nothing is ever due. A Policy does not change and may be used by several
// goroutines at once.
type Policy struct {
	lines        []line // in the order of the page
	messagesOnly bool
}

// A line is a compiled rule.
type line struct {
	Rule
	id     string // the name, from the second of a name on with its number
	index  int
	before int    // the line before of the same name, or -1
	steps  []Step // all of them, each with its After and at least once
	total  int    // how often they are done together; 0 is never
}

// step returns step n, where each time of a step counts.
func (l *line) step(n int) *Step {
	for i := range l.steps {
		if n < l.steps[i].Times {
			return &l.steps[i]
		}
		n -= l.steps[i].Times
	}
	return &l.steps[len(l.steps)-1]
}

// New returns the policy of the rules, in the order of precedence. Its error is
// of type [Problems] and holds all that is wrong with them. A Policy keeps nothing of
// the slices that it is given.
func New(rules ...Rule) (Policy, error) {
	p := compile(rules)
	var problems Problems
	p.check(func(i int, key, text string) {
		problems = append(problems, Problem{Rule: p.lines[i].id, Key: fmt.Sprintf("rules[%d].%s", i, key), Text: text})
	})
	if len(problems) > 0 {
		return Policy{}, problems
	}
	return p, nil
}

// Idle returns the policy of one rule, idle, which ends the session once the user
// has been silent for so long, and welcomes them back. An after of 0 or less is
// never.
func Idle(after time.Duration) Policy {
	return compile([]Rule{{
		Name:  "idle",
		After: after,
		Do:    Action{End: true, OnReturn: "Welcome back!  Let's start over from the beginning."},
	}})
}

// compile returns the policy of rules that may be wrong.
func compile(rules []Rule) Policy {
	var p Policy
	last := make(map[string]int)   // the last line of a name
	number := make(map[string]int) // how many lines of it there are
	for i, rule := range rules {
		l := line{Rule: rule.clone(), id: rule.Name, index: i, before: -1}
		if number[rule.Name]++; number[rule.Name] > 1 {
			l.id, l.before = fmt.Sprintf("%s#%d", rule.Name, number[rule.Name]), last[rule.Name]
		}
		last[rule.Name] = i
		if rule.After > 0 {
			after := rule.After
			for _, s := range append([]Step{{rule.After, rule.Times, rule.Do}}, rule.Then...) {
				if s.After > 0 {
					after = s.After
				}
				s.After, s.Times = after, max(s.Times, 1)
				l.steps = append(l.steps, s)
				l.total += s.Times
			}
		}
		p.lines = append(p.lines, l)
	}
	return p
}

func (r Rule) clone() Rule {
	r.When.Channels, r.When.At, r.Then = slices.Clone(r.When.Channels), slices.Clone(r.When.At), slices.Clone(r.Then)
	return r
}

// Uses reports whether a rule counts from the mark. Where none counts from Began,
// and nobody wants ids, sessions need not be recorded ([Record.Arrive]); where none
// counts from Asked or Resolved, these may stay zero.
func (p Policy) Uses(m Mark) bool {
	return slices.ContainsFunc(p.lines, func(l line) bool { return l.Since == m && l.total > 0 })
}

// UsesBy reports whether a rule asks who answers.
func (p Policy) UsesBy() bool {
	return slices.ContainsFunc(p.lines, func(l line) bool { return l.When.By != "" })
}

// MessagesOnly reports whether messages alone are user input, and not invokes,
// because the policy has conversation.timeout events.
func (p Policy) MessagesOnly() bool { return p.messagesOnly }
