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
	App       string // for which the reference was authenticated, "" for none
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
	// longest first, limit at most; of those only the ones that came due later
	// than after, if that is not zero. They are not claimed again until now plus
	// lease; then they come due anew. Parked ones are not claimed.
	//
	// Next is when there may be something more to claim with the same after, and
	// not later than that unless something is armed or moved meanwhile: in the
	// past if there is now. It is zero if the store knows of nothing.
	Claim(ctx context.Context, after, now time.Time, lease time.Duration, limit int) (claims []Claim, next time.Time, err error)

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

	// Entries calls yield with all deadlines, in no particular order, until it
	// returns false. What cannot be read counts as parked. Yield must not call
	// the Store.
	Entries(ctx context.Context, yield func(Entry) bool) error
}
