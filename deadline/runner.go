package deadline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/wire"
	"github.com/botlapse/botlapse/middleware"
)

// Options are options of [NewRunner].
type Options struct {
	// Message returns what the user is told when a conversation has expired;
	// the empty activity means nothing. Without it, for nil, conversations
	// expire silently, and the next user input gets the notice of
	// middleware.Expire.
	Message func(ctx context.Context, turn *middleware.Turn, expiry middleware.Expiry) schema.Activity

	// Handler, if not nil, runs in the turn in which a conversation has
	// expired, on cleared state and after the message, once. With it, as with
	// a message, the next user input gets no notice.
	Handler func(ctx context.Context, turn *middleware.Turn, expiry middleware.Expiry) error

	// Concurrency is how many turns run at once. The default, for 0, is 64.
	Concurrency int

	// Lease is how long a deadline is held without a sign of life; if the
	// process ends, another one takes it up after that. The default, for 0, is
	// 30 s.
	Lease time.Duration

	// Poll is how often the store is looked at, if nothing in this process says
	// that there is something to do earlier. The default, for 0, is 10 s.
	Poll time.Duration

	// MaxAttempts is how often a deadline whose turn fails is tried before it
	// is parked. The default, for 0, is 10.
	MaxAttempts int

	// MaxLateness, if not 0, is how late a deadline may be, after a time in
	// which nothing ran, for the user to be told. Later ones expire silently.
	MaxLateness time.Duration

	// Logger gets a warning for each turn that has failed, and an error for
	// each deadline that is parked. The default, for nil, is slog.Default().
	Logger *slog.Logger
}

const (
	defaultConcurrency = 64
	defaultLease       = 30 * time.Second
	defaultPoll        = 10 * time.Second
	defaultMaxAttempts = 10

	// Failed turns are tried again after a random wait, up to baseWait, doubled
	// each time up to maxWait.
	baseWait = 2 * time.Second
	maxWait  = 10 * time.Minute

	// storeTimeout bounds a call to the store.
	storeTimeout = 10 * time.Second
)

// Text returns a Message for [Options] that says text. The empty text is no
// message.
func Text(text string) func(context.Context, *middleware.Turn, middleware.Expiry) schema.Activity {
	if text == "" {
		return nil
	}
	return func(context.Context, *middleware.Turn, middleware.Expiry) schema.Activity {
		return schema.Activity{Type: schema.Message, Text: text}
	}
}

// A Runner looks at the conversations whose deadlines come due. Its methods are
// safe for concurrent use.
type Runner struct {
	deadlines *Deadlines
	bot       *middleware.Adapter
	options   Options // with the defaults filled in

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	turns   context.Context // of running turns; ends when Close gives up
	abandon context.CancelFunc
	slots   chan struct{} // holds a value for each running turn
	running sync.WaitGroup
	done    chan struct{} // closed when all is over
}

// NewRunner starts a runner, which runs until Close. The bot must have
// middleware.Expire of the same conversation state, with Arm of the deadlines.
func NewRunner(deadlines *Deadlines, bot *middleware.Adapter, opts *Options) *Runner {
	if deadlines == nil || bot == nil {
		panic("deadline: nil Deadlines or Adapter")
	}
	r := &Runner{deadlines: deadlines, bot: bot, done: make(chan struct{})}
	if opts != nil {
		r.options = *opts
	}
	o := &r.options
	o.Concurrency = cmp.Or(max(o.Concurrency, 0), defaultConcurrency)
	o.Lease = cmp.Or(max(o.Lease, 0), defaultLease)
	o.Poll = cmp.Or(max(o.Poll, 0), defaultPoll)
	o.MaxAttempts = cmp.Or(max(o.MaxAttempts, 0), defaultMaxAttempts)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.turns, r.abandon = context.WithCancel(context.Background())
	r.slots = make(chan struct{}, o.Concurrency)
	go r.run()
	return r
}

// Close stops the runner: it claims nothing more, and waits for running turns.
// If ctx is done first, their contexts end, and Close returns the error of ctx
// without waiting any longer. Close can be called again to go on waiting.
func (r *Runner) Close(ctx context.Context) error {
	r.cancel()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-r.done:
		return nil
	default:
	}
	r.abandon()
	return ctx.Err()
}

// run claims deadlines and runs their turns until the runner is closed.
func (r *Runner) run() {
	defer close(r.done)
	defer r.abandon()
	defer r.running.Wait()
	failures := 0
	for {
		// Only as many are claimed as can be run at once: the lease of those
		// that wait would go by.
		n := r.acquire()
		if n == 0 {
			return
		}
		claims, err := r.claim(n)
		for range n - len(claims) {
			<-r.slots
		}
		for _, c := range claims {
			r.running.Go(func() {
				defer func() { <-r.slots }()
				r.serve(c)
			})
		}
		if len(claims) > 0 {
			failures = 0
			continue
		}
		wait := r.options.Poll
		if err != nil {
			failures++
			wait = min(wait, backoff(failures))
			if r.ctx.Err() == nil {
				r.options.Logger.Warn("deadlines cannot be claimed", "error", err)
			}
		} else if next, ok := r.next(); ok {
			wait = min(wait, time.Until(next))
		}
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-timer.C:
		case <-r.deadlines.wake:
			timer.Stop()
		case <-r.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// acquire waits for a free slot, and takes all that are free. It returns 0 if
// the runner is closed.
func (r *Runner) acquire() (n int) {
	select {
	case r.slots <- struct{}{}:
	case <-r.ctx.Done():
		return 0
	}
	for n = 1; n < cap(r.slots); n++ {
		select {
		case r.slots <- struct{}{}:
			continue
		default:
		}
		break
	}
	if r.ctx.Err() != nil {
		for range n {
			<-r.slots
		}
		return 0
	}
	return n
}

func (r *Runner) claim(n int) ([]Claim, error) {
	ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
	defer cancel()
	return r.deadlines.store.Claim(ctx, time.Now(), r.options.Lease, n)
}

func (r *Runner) next() (time.Time, bool) {
	ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
	defer cancel()
	next, ok, err := r.deadlines.store.Next(ctx)
	return next, ok && err == nil
}

// serve runs the turn of a claim, and settles the claim.
func (r *Runner) serve(c Claim) {
	ctx, cancel := context.WithCancel(r.turns)
	defer cancel()
	stop := r.renew(ctx, cancel, c)
	again, err := r.look(ctx, c)
	stop()
	r.settle(c, again, err)
}

// renew holds a claim while its turn runs. If it is lost, the turn is
// cancelled. The returned function ends that.
func (r *Runner) renew(ctx context.Context, cancel context.CancelFunc, c Claim) (stop func()) {
	ended := make(chan struct{})
	var renewing sync.WaitGroup
	renewing.Go(func() {
		ticker := time.NewTicker(r.options.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
			}
			ctx, done := context.WithTimeout(ctx, r.options.Lease/3)
			err := r.deadlines.store.Renew(ctx, c, time.Now(), r.options.Lease)
			done()
			if errors.Is(err, ErrLost) {
				cancel()
				return
			}
		}
	})
	return func() {
		close(ended)
		renewing.Wait()
	}
}

// look runs the proactive turn in which the conversation is judged. It returns
// when the conversation is to be looked at again, the zero time for never.
func (r *Runner) look(ctx context.Context, c Claim) (again time.Time, err error) {
	defer func() {
		if v := recover(); v != nil { // where the adapter was told not to
			err = &middleware.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	tell := r.options.Message != nil && (r.options.MaxLateness == 0 || time.Since(c.Due) <= r.options.MaxLateness)
	if tell || r.options.Handler != nil {
		ctx = middleware.Telling(ctx)
	}
	expired := false
	err = r.bot.Continue(ctx, c.Reference, func(ctx context.Context, turn *middleware.Turn) error {
		expiry, ok := middleware.Expired(ctx)
		if !ok {
			if at, ok := middleware.StaleAt(ctx); ok {
				again = at
			}
			return nil
		}
		expired = true
		return r.expire(ctx, turn, expiry, tell)
	})
	if expired {
		// The cleared state is stored, so there is nothing to repeat: whatever
		// has failed is reported and over.
		if err != nil {
			r.warn(c, "an expiry was not told, or its handler failed", err)
		}
		return time.Time{}, nil
	}
	return again, err
}

// expire does what follows the clearing.
func (r *Runner) expire(ctx context.Context, turn *middleware.Turn, expiry middleware.Expiry, tell bool) error {
	var told error
	if tell {
		if message := r.options.Message(ctx, turn, expiry); !wire.IsZero(&message) {
			_, told = turn.Send(ctx, message)
		}
	}
	if r.options.Handler != nil {
		return errors.Join(told, r.options.Handler(ctx, turn, expiry))
	}
	return told
}

// settle finishes a claim, moves its deadline, puts it off or parks it.
func (r *Runner) settle(c Claim, again time.Time, failed error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	store := r.deadlines.store
	var err error
	switch {
	case failed != nil && r.turns.Err() != nil: // given up by Close
		err = store.Move(ctx, c, c.Due, c.Attempts)
	case failed != nil && c.Attempts+1 >= r.options.MaxAttempts:
		r.options.Logger.Error("a deadline is parked", "conversation", hash(c.Key), "attempts", c.Attempts+1, "error", failed)
		err = store.Park(ctx, c, failed.Error())
	case failed != nil:
		r.warn(c, "a conversation could not be looked at", failed)
		err = store.Move(ctx, c, time.Now().Add(backoff(c.Attempts+1)), c.Attempts+1)
	case again.IsZero():
		err = store.Finish(ctx, c)
	default:
		err = store.Move(ctx, c, again, 0)
	}
	if err != nil && !errors.Is(err, ErrLost) {
		r.warn(c, "a claim could not be settled", err)
	}
	r.deadlines.wakeRunner()
}

func (r *Runner) warn(c Claim, message string, err error) {
	r.options.Logger.Warn(message, "conversation", hash(c.Key), "late", time.Since(c.Due), "error", err)
}

// hash stands for a key in logs, which are not to say who talks.
func hash(key string) string {
	var h uint64 = 14695981039346656037 // FNV-1a
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return fmt.Sprintf("%016x", h)
}

// backoff returns how long to wait after a number of failures.
func backoff(failures int) time.Duration {
	limit := baseWait
	for range min(failures, 20) - 1 {
		limit = min(2*limit, maxWait)
	}
	return limit/2 + rand.N(limit/2)
}
