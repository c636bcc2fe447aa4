package policy

import (
	"encoding/json"
	"time"
)

// A Record says what happened in a conversation, and when. It is one property of
// the conversation state, "botlapse.session"; only Input stands elsewhere, under
// "lastAccessed", because the bots of other SDKs read it there. The zero Record
// is that of a new conversation, and parts that are zero are not stored.
//
// Methods return a changed copy and leave the record and what it refers to as
// they were. They keep instants as [Instant] returns them, so what is stored is
// what is in memory. Each takes the instant at which it happened.
type Record struct {
	// Input is the time of the last user input, of this session or one before. The mark
	// [Input] is the latest of it, HandedOff and Began.
	Input time.Time `json:"-"`

	// Session is the id of the session, and Began when it began. Both are empty
	// where sessions are not recorded: a conversation with an Input and without
	// Began has a session all the same. After Ended they are those of the session
	// that has ended.
	Session string    `json:"session,omitempty"`
	Began   time.Time `json:"began,omitzero"`

	// Asked is zero while no question waits. After Ended it is that of a question
	// that was put since, because ending removes it.
	Asked time.Time `json:"asked,omitzero"`

	Resolved time.Time `json:"resolved,omitzero"` // zero: not resolved
	Ended    time.Time `json:"ended,omitzero"`    // zero: not ended

	// By is who answers; "" is the bot. HandedOff is when that changed last in
	// this session, zero for never.
	By        string    `json:"by,omitempty"`
	HandedOff time.Time `json:"handed_off,omitzero"`

	// OnReturn is what the user is to be told with their next input.
	OnReturn string `json:"on_return,omitempty"`

	// Postponed is until when the program, and Held until when the hook, has
	// postponed all rules. What would be due before is due then, and later steps
	// count from there. User input ends both.
	Postponed time.Time `json:"postponed,omitzero"`
	Held      time.Time `json:"held,omitzero"`

	// Armed is the deadline that was armed last. One in the past counts as none.
	Armed time.Time `json:"armed,omitzero"`

	// Reference is what is needed to write to the conversation, as its owner
	// encodes it.
	Reference json.RawMessage `json:"reference,omitempty"`

	// Seq is how many events the session has had.
	Seq int `json:"seq,omitempty"`

	// Fired says by line, such as "idle" or "idle#2", what has fired since the
	// last user input; of lines since Began, in the session.
	Fired map[string]Fired `json:"fired,omitempty"`

	// Open is what was decided and stored, and is not yet done. Nil is nothing.
	Open *Open `json:"open,omitempty"`
}

// Fired says what a line has done. Only its count, At and Vetoed matter to the
// line itself; a mark that moves does not change the count.
type Fired struct {
	Since Mark      `json:"since,omitempty"`
	Times int       `json:"times,omitempty"` // how many of its steps are done, where each time of a step counts
	Mark  time.Time `json:"mark,omitzero"`   // the value of its mark when it fired last

	// At is what the next step counts from: the instant at which the last one was
	// due, or, of lines since Asked, the instant at which it fired.
	At time.Time `json:"at,omitzero"`

	Vetoed bool `json:"vetoed,omitempty"` // by the hook: nothing is due until the next user input
}

// Open is what is stored and not yet done. It stands for itself: whoever finds it
// can do it without the policy and the state that it came from.
type Open struct {
	// Action is what is to be done: Say, Ask, Goto, Close and Take. What is to be
	// told on return is in [Record.OnReturn].
	Action Action `json:"action,omitzero"`

	// Covers is set if Action.Say is of the same firing as Record.OnReturn or of
	// a later one: once it has got through, OnReturn is void.
	Covers bool `json:"covers,omitempty"`

	// Place is where the conversation stood, Rule the line that decided, At when it
	// fired, and Input what the mark Input was then. A Goto is told them.
	Place Place     `json:"place,omitzero"`
	Rule  string    `json:"rule,omitempty"`
	At    time.Time `json:"at,omitzero"`
	Input time.Time `json:"input,omitzero"`

	// Activity is the id of the user's activity whose turn fired; "" is none. The
	// same activity, delivered again, does what is open.
	Activity string `json:"activity,omitempty"`

	// Events are those that nobody else has yet.
	Events []Event `json:"events,omitempty"`
}

// An Event is a step that fired, or what the program did: it ended, resolved or
// handed off the conversation.
type Event struct {
	Kind    string    `json:"kind"`
	Session string    `json:"session,omitempty"` // the session that it belongs to
	Seq     int       `json:"seq,omitempty"`     // its place among the events of the session, from 1
	Line    string    `json:"line,omitempty"`    // the line that fired; "" if the program did it
	Since   Mark      `json:"since,omitempty"`   // the line's mark,
	Mark    time.Time `json:"mark,omitzero"`     // and its value
	Due     time.Time `json:"due,omitzero"`      // when it was due, after all postponing; now if by a cause from outside
	At      time.Time `json:"at,omitzero"`       // when it was done
	Times   int       `json:"times,omitempty"`   // the how manieth step of the line it is, from 1, where each time of a step counts
	By      string    `json:"by,omitempty"`      // of KindHandedOff: who answers now
}

// The kinds of events: that of a step is what is strongest in its action.
const (
	KindEnded      = "ended"      // End of a session under way, or the program ended it
	KindRedirected = "redirected" // Goto
	KindAsked      = "asked"      // Ask
	KindReminded   = "reminded"   // Say
	KindDue        = "due"        // OnReturn alone, or no action: the program alone is told
	KindResolved   = "resolved"   // the program resolved it
	KindHandedOff  = "handed_off" // the program handed it off
)

// Instant returns t as records keep it: in UTC, rounded up to the 100 ns that
// .NET reads, so that nothing fires early.
func Instant(t time.Time) time.Time {
	t = t.UTC().Round(0)
	if cut := t.Truncate(100 * time.Nanosecond); !cut.Equal(t) {
		t = cut.Add(100 * time.Nanosecond)
	}
	return t
}

// Arrive returns r after user input: what was to be said, asked, gone to or closed
// is dropped, unless it comes from the turn of the same activity; counts start
// anew but those of lines since Began; Asked, Resolved and what was postponed or
// vetoed are gone. If there is no session, or it has ended, a new one of the
// given id begins, and all counts start anew. With the id "" sessions are not
// recorded. OnReturn stays until it is told. An input that is older than the last
// changes nothing.
func (r Record) Arrive(now time.Time, session, activity string) Record { return r }

// Begin returns r after the program began a session, because it asks for an answer
// without having been written to. It does nothing while a session is under way.
// All counts of a new session start anew; what is to be told stays.
func (r Record) Begin(now time.Time, session string) Record { return r }

// A Question says what a turn did about the question that waits.
type Question struct {
	Waits  bool // a prompt waits at its end
	Put    bool // the turn put that prompt, or put it again
	Sent   bool // the turn sent something
	Speaks bool // the channel says when it has finished speaking
	Spoken bool // this turn is that report
}

// Ask returns r at the end of a turn. Asked is set if the turn put the waiting
// prompt, or if it sent something while Asked is not set, a prompt waits and the
// bot answers; it is removed if no prompt waits. On a channel that says when it has finished
// speaking, putting a prompt removes it, and the report, with a prompt waiting that
// it did not put itself, sets it. The first question of a conversation that never
// had a session begins one of the given id.
func (r Record) Ask(now time.Time, session string, q Question) Record { return r }

// Resolve returns r after the matter was settled. It does nothing if it is
// resolved, or without a session.
func (r Record) Resolve(now time.Time) Record { return r }

// HandOff returns r after who answers has changed: to "bot", "nobody", or who has
// taken over. Asked is removed. Handing off to who answers already, and without a
// session, does nothing.
func (r Record) HandOff(now time.Time, to string) Record { return r }

// Postpone returns r with nothing due before d from now. It does nothing if more
// is postponed already, or without a session and a question.
func (r Record) Postpone(now time.Time, d time.Duration) Record { return r }

// End returns r after the program ended the session: what was to be said, now or
// on return, asked or gone to is dropped. It does nothing if the session has
// ended, or there is none.
func (r Record) End(now time.Time) Record { return r }
