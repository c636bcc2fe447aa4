package policy

import "time"

// A Cause is why a conversation is looked at.
type Cause int

const (
	// Look is a deadline, or an activity that is no user input.
	Look Cause = iota

	// User is user input: Due judges it before it counts. Say is dropped unless
	// it is of lines since Began and no OnReturn is to be told, and so are Ask and
	// Close. OnlyOnInput lines are judged too.
	User

	// NoInput is a cause from outside: the channel says that its own clock for
	// silence has rung. It is a Look at which, besides, the first line since
	// Asked that has something left is due now, if no line since Asked has fired for
	// this value of Asked, and Asked is set. OnlyOnInput lines are not meant.
	NoInput
)

// A Verdict says what is due.
type Verdict struct {
	Cause Cause
	Place Place

	// Fired holds the steps that are due, by due instant, at one instant by the
	// page, up to the first that ends; none: nothing is due. Session, Seq and At
	// of its events are not set yet.
	Fired []Event

	// Action is what they do together. A hook may change what is said before the
	// verdict is applied. Without an End, the last Say, OnReturn and Goto win, and
	// Ask and Take hold if any has them; an End stands alone, because it drops
	// what came before. Goto and End win over Ask.
	Action Action

	// Ends is set if the session ends by it: if Action.End is set and the session
	// has not ended before.
	Ends bool

	// Covers is set if the Say of Action is of the same step as its OnReturn or of
	// a later one, or if there is only the Say.
	Covers bool

	// First is when the first of the steps fell due, before the hook held it; zero
	// if nothing is due. A hook can hold a verdict until MaxHold after it.
	First time.Time

	// Next is the earliest instant, after now, at which anything else becomes due
	// if nothing happens: the deadline to arm. Zero is never. If something is
	// due, it is that after Apply.
	Next time.Time
}

// MaxHold is how long after a rule first fell due a hook can hold it.
const MaxHold = 24 * time.Hour

// Due says what is due at the instant now. Nothing else decides. It changes nothing
// and reads no clock: the same record, place, instant and cause give the same
// verdict. At is where the stored stack stands.
func (p Policy) Due(r Record, at Place, now time.Time, why Cause) Verdict { return Verdict{} }

// Apply returns r with the verdict stored: the steps are counted, the session is
// ended if it says so, OnReturn is noted, and what is to be done is folded into
// what is Open, as at one look; what was open is dropped if the user is
// there. Its events are added. The verdict must be that of Due for r, with or without
// changes of what is said. A verdict without steps changes nothing.
func (p Policy) Apply(r Record, v Verdict, now time.Time) Record { return r }
