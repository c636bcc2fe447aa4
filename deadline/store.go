package deadline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"
)

// ErrLost reports a claim that is no longer held: its lease has ended and
// somebody else has claimed the deadline, or the deadline was armed anew.
var ErrLost = errors.New("claim lost")

// A Deadline is an instant, and what is to be known then.
type Deadline struct {
	Key  string    // one deadline has it in the queue
	Due  time.Time // with the precision of a millisecond at least
	Data []byte    // what its owner wants to find then
}

// A Claim is a deadline that is due, held for the time of a lease.
type Claim struct {
	Deadline
	Token    string // tells this claim from others of the same deadline
	Attempts int    // how often it was put off since it was armed
}

// An Outcome is what becomes of a claimed deadline. Of Due, Held and Parked, one
// is set; without any, the deadline is removed.
type Outcome struct {
	Due    time.Time // the claim is given up, and the deadline comes due at Due
	Held   time.Time // the claim is held until Held, instead of the end of its lease
	Parked string    // the claim is given up, and for this reason the deadline is set aside until it is armed anew

	// Attempts is what the next claim says. With Held it has no meaning.
	Attempts int
}

// An Entry is a deadline as a [Store] has it.
type Entry struct {
	Deadline
	Attempts int
	Leased   time.Time // until when it is claimed; zero if it is not
	Parked   string    // why it was parked; "" if it was not
}

// A Store keeps a queue of deadlines, one for each key. Package deadlinetest holds
// this contract as a test suite.
//
// A Store is safe for concurrent use, and by several processes if it says so.
// A context that is already done gives its own error, and nothing is changed.
// The Data of a deadline is the caller's again when a call returns, and so is the
// Data that a call has returned.
type Store interface {
	// Arm sets the deadline of a key, in place of the one that it has. It cancels
	// a claim that somebody holds, and resets Parked and Attempts.
	Arm(ctx context.Context, d Deadline) error

	// Claim claims deadlines that are due at now, those that have been due for
	// longest first, limit at most. They are not claimed again until now plus
	// lease; then they come due anew. Parked ones are not claimed.
	//
	// Next is the earliest time at which another Claim could return something,
	// unless something is armed or settled meanwhile. A time in the past means:
	// call again now. Zero means: nothing is stored that could be claimed.
	Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) (claims []Claim, next time.Time, err error)

	// Settle ends or prolongs a claim, as the outcome says. If the claim is lost,
	// nothing is changed, and the error wraps [ErrLost].
	Settle(ctx context.Context, c Claim, o Outcome) error

	// All yields all deadlines, in no particular order. What cannot be read counts
	// as parked. An error is the last that is yielded. The body of the loop may
	// call the Store; whether All sees what is changed meanwhile is open.
	All(ctx context.Context) iter.Seq2[Entry, error]
}

// nanoseconds returns t as Unix nanoseconds, or what is closest to it: they end
// in 2262.
func nanoseconds(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < 0:
		return 0
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNanoseconds(ns int64) time.Time { return time.Unix(0, ns) }

func lost(c Claim) error { return fmt.Errorf("%w: %q", ErrLost, c.Key) }
