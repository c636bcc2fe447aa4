package deadline

import (
	"context"
	"errors"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// ErrLost reports that a claim is no longer held: its lease has ended and
// somebody else has claimed the deadline, or it was armed anew.
var ErrLost = errors.New("claim lost")

// A Deadline is the instant at which a conversation is to be looked at.
type Deadline struct {
	Key       string    // of the conversation's state
	Due       time.Time // with the precision of a millisecond at least
	Reference schema.ConversationReference
}

// A Claim is a deadline that is due, held for the time of a lease.
type Claim struct {
	Deadline
	Token    string // tells this claim from others of the same deadline
	Attempts int    // how often it was put off since it was armed
}

// An Entry is a deadline as a [Store] has it.
type Entry struct {
	Deadline
	Attempts int
	Leased   time.Time // until when it is claimed; zero if it is not
	Parked   string    // why it was parked; "" if it was not
}

// A Store keeps the deadlines of conversations, one for each. Package
// deadlinetest holds this contract as a test suite.
//
// A Store is safe for concurrent use, and by several processes if it says so.
// A context that is already done gives its own error, and nothing is changed.
type Store interface {
	// Arm sets the deadline of a conversation, in place of the one that it has.
	// A claim of that one is lost, and so is that it was parked or put off.
	Arm(ctx context.Context, d Deadline) error

	// Claim claims deadlines that are due at now, those that have been due for
	// longest first, limit at most. They are not claimed again until now plus
	// lease. Parked ones are not claimed.
	Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]Claim, error)

	// Renew holds a claim until now plus lease. [ErrLost] if it is lost.
	Renew(ctx context.Context, c Claim, now time.Time, lease time.Duration) error

	// Finish removes a claimed deadline. ErrLost if the claim is lost.
	Finish(ctx context.Context, c Claim) error

	// Move gives up a claim and sets the due time; attempts is what the next
	// claim says. ErrLost if the claim is lost.
	Move(ctx context.Context, c Claim, due time.Time, attempts int) error

	// Park gives up a claim and sets the deadline aside, with a reason, until
	// it is armed anew. ErrLost if the claim is lost.
	Park(ctx context.Context, c Claim, reason string) error

	// Next returns when there is something to claim, at the earliest: the
	// first due time, or the end of a lease. It is false if there is nothing.
	Next(ctx context.Context) (time.Time, bool, error)

	// Entries calls yield with all deadlines, in no particular order, until it
	// returns false.
	Entries(ctx context.Context, yield func(Entry) bool) error
}
