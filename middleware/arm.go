package middleware

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/policy"
)

const (
	// A turn waits armWait for its deadline, because a user who is answered is
	// worth more than one who is told of an end. For armPause after a turn has
	// waited in vain, turns wait no longer than shortArmWait.
	armWait      = 2 * time.Second
	shortArmWait = 50 * time.Millisecond
	armPause     = 5 * time.Second

	// Arming takes armTimeout at most. If it fails, it is tried again after
	// minArmPause, doubled each time up to maxArmPause.
	armTimeout  = 10 * time.Second
	minArmPause = time.Second
	maxArmPause = 30 * time.Second

	// maxArming bounds how many deadlines are on their way to the store. Those
	// that are too many are armed by the next turn of their conversation.
	maxArming = 10000
)

var (
	errArming  = errors.New("too many deadlines are on their way to the store")
	errSlowArm = errors.New("the store takes long")
)

// data is what a deadline holds besides its instant.
type data struct {
	// App is the id of the app for which the reference was authenticated, "" for
	// none. The token of another app is not sent to it.
	App       string                       `json:"app,omitempty"`
	Reference schema.ConversationReference `json:"reference"`

	// Armed is the instant for which it was armed, whatever it was moved to since. It
	// was not armed later.
	Armed time.Time `json:"armed,omitzero"`
}

// arm sees to it that the conversation is looked at in time, by the record as it is
// with the changes. It does nothing if a deadline is armed that is early enough
// and from which the conversation can be written to as it can from this turn.
func (v *visit) arm(ctx context.Context, at policy.Place, now time.Time) {
	if v.armer == nil || v.look != nil {
		return
	}
	next := v.nextLook(at, now)
	if next.IsZero() {
		return
	}
	r := v.current()
	var d data
	if v.input || json.Unmarshal(r.Reference, &d) != nil { // what is no user input does not say who the user is
		d = data{App: v.turn.Adapter().AppID(), Reference: v.reference()}
	}
	reference, err := json.Marshal(d)
	if err != nil {
		v.warn(ctx, "a deadline could not be armed", err)
		return
	}
	// What comes due so soon may have come due on the clock of another.
	if !r.NeedsArming(next, time.Now().Add(maxSkew)) {
		if isAs(r.Reference, d, reference) {
			return
		}
		next = r.Armed // others may count on it
	}
	if now := time.Now(); next.Before(now) {
		next = now // a look takes it for the latest instant at which it was armed
	}
	d.Armed = policy.Instant(next)
	encoded, err := json.Marshal(d)
	if err == nil {
		err = v.armer.arm(ctx, deadline.Deadline{Key: v.key, Due: d.Armed, Data: encoded})
	}
	armed := d.Armed
	if err != nil {
		armed = time.Time{}
		v.warn(ctx, "a deadline is not armed yet", err)
	}
	v.change(func(r policy.Record) policy.Record {
		r.Armed, r.Reference = armed, reference
		return r
	})
}

// isAs reports whether what is stored is as good as d, which is encoded as wanted.
// Who of a conversation wrote last makes no difference where they share its key.
func isAs(stored json.RawMessage, d data, wanted []byte) bool {
	if bytes.Equal(stored, wanted) {
		return true
	}
	var other data
	if json.Unmarshal(stored, &other) != nil {
		return false
	}
	other.Reference.User = d.Reference.User
	encoded, err := json.Marshal(other)
	return err == nil && bytes.Equal(encoded, wanted)
}

// reference returns what is needed to write to the conversation later.
func (v *visit) reference() schema.ConversationReference {
	ref := v.turn.Reference()
	ref.ActivityID = ""
	ref.User = schema.ChannelAccount{ID: ref.User.ID, AadObjectID: ref.User.AadObjectID}
	return ref
}

// An armer brings deadlines to their store. What the store has not taken in time
// goes on without the turn, until it is there.
type armer struct {
	store  deadline.Store
	runner atomic.Pointer[deadline.Runner] // nil before Start
	ctx    context.Context                 // ends with close
	cancel context.CancelFunc
	under  sync.WaitGroup

	mu      sync.Mutex
	arming  map[string]*arming // by key
	closing bool
	slow    time.Time // when a turn has waited in vain last
}

// An arming is a deadline on its way.
type arming struct {
	due   deadline.Deadline
	newer bool          // than what the store is being given
	tried chan struct{} // closed when the store has taken or refused it; then there is another
	err   error         // of the last try
}

func newArmer(store deadline.Store) *armer {
	a := &armer{store: store, arming: make(map[string]*arming)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// arm brings d to the store, and waits for it a little. If its error is not nil, d
// may get there later.
func (a *armer) arm(ctx context.Context, d deadline.Deadline) error {
	a.mu.Lock()
	on := a.arming[d.Key]
	switch {
	case a.closing: // a turn that ends after Close is armed too
		a.mu.Unlock()
		ctx, cancel := context.WithTimeout(ctx, armWait)
		defer cancel()
		return a.give(ctx, d)
	case on != nil:
		on.due, on.newer = d, true
	case len(a.arming) >= maxArming:
		a.mu.Unlock()
		return errArming
	default:
		on = &arming{due: d, tried: make(chan struct{})}
		a.arming[d.Key] = on
		a.under.Go(func() { a.bring(on) })
	}
	tried, limit := on.tried, armWait
	if time.Since(a.slow) < armPause {
		limit = shortArmWait
	}
	a.mu.Unlock()
	wait := time.NewTimer(limit)
	defer wait.Stop()
	select {
	case <-tried:
		a.mu.Lock()
		defer a.mu.Unlock()
		return on.err
	case <-wait.C:
		a.mu.Lock()
		if limit == armWait {
			a.slow = time.Now()
		}
		a.mu.Unlock()
		return errSlowArm
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bring gives the store a deadline until it has the newest one of its key.
func (a *armer) bring(on *arming) {
	for pause := minArmPause; ; pause = min(2*pause, maxArmPause) {
		a.mu.Lock()
		d := on.due
		on.newer = false
		a.mu.Unlock()
		ctx, cancel := context.WithTimeout(a.ctx, armTimeout)
		err := a.give(ctx, d)
		cancel()
		a.mu.Lock()
		if on.newer && a.ctx.Err() == nil {
			a.mu.Unlock()
			continue
		}
		on.err = err
		close(on.tried)
		on.tried = make(chan struct{})
		over := err == nil || a.ctx.Err() != nil
		if over {
			delete(a.arming, d.Key)
		}
		a.mu.Unlock()
		if over {
			return
		}
		timer := time.NewTimer(jitter(pause))
		select {
		case <-timer.C:
		case <-a.ctx.Done():
			timer.Stop()
		}
	}
}

// give gives the store a deadline.
func (a *armer) give(ctx context.Context, d deadline.Deadline) error {
	if r := a.runner.Load(); r != nil {
		return r.Arm(ctx, d)
	}
	return a.store.Arm(ctx, d)
}

// close gives up what is on its way, and waits until ctx is done.
func (a *armer) close(ctx context.Context) error {
	a.mu.Lock()
	a.closing = true
	a.mu.Unlock()
	a.cancel()
	over := make(chan struct{})
	go func() {
		a.under.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
