package deadline

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/botlapse/botlapse/internal/redact"
)

// Options are options of [Run].
type Options struct {
	// Concurrency is how many looks begin before others have ended. The default,
	// for 0, is 64. A look that takes long gives its place to others.
	Concurrency int

	// MaxAttempts is how often a deadline whose look fails is tried before it
	// is parked. The waits grow up to 10 min. The default, for 0, is 50, which
	// takes about five hours.
	MaxAttempts int

	// Logger gets a warning for each look that has failed, and an error for each
	// deadline that is parked. The default, for nil, is slog.Default().
	Logger *slog.Logger
}

const (
	defaultConcurrency = 64
	defaultMaxAttempts = 50

	// lease is how long a deadline is claimed without a sign of life. If the
	// process ends, another one takes it up after that.
	lease = 30 * time.Second

	// poll is how often the store is asked, if nothing in this process says that
	// there is something to do earlier.
	poll = 10 * time.Second

	// A look that has failed is tried again after a random wait, up to baseWait,
	// doubled each time up to maxWait.
	baseWait = 2 * time.Second
	maxWait  = 10 * time.Minute

	// storeTimeout bounds a call to the store.
	storeTimeout = 10 * time.Second

	// A look gives up its place after slow, or after busy while more than
	// manySlow others have given up theirs. Of more than maxSlow the oldest ends.
	slow     = time.Second
	busy     = 20 * time.Millisecond
	manySlow = 16
	maxSlow  = 4096

	// gathering is how long places may take to become free together while more is
	// due than can be claimed, because each call of the store has its price.
	gathering = 50 * time.Millisecond
)

var (
	errStopped = errors.New("runner closed")
	errCrowded = errors.New("the look was ended because too many others take long")
	errEnded   = errors.New("the look ended its goroutine")
)

// A LookFunc does what is to be done when a deadline is due, and says what becomes
// of it. After an error the deadline comes due again, later each time, until it is
// parked. The context ends if the claim is lost.
type LookFunc func(ctx context.Context, c Claim) (Outcome, error)

// A Runner has deadlines looked at when they come due. Its methods are safe for
// concurrent use.
type Runner struct {
	store   Store
	look    LookFunc
	options Options // with the defaults filled in

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	looks   context.Context // of looks; ends when Close gives up
	abandon context.CancelFunc
	places  chan struct{} // holds a value for each that is taken
	running sync.WaitGroup
	done    chan struct{} // closed when all is over

	planned atomic.Int64  // when the store is asked next, in Unix nanoseconds
	wake    chan struct{} // asks it now

	mu   sync.Mutex
	slow list.List // of context.CancelCauseFunc, the oldest first
}

// Run starts to look at what is due in store, until Close. It panics if store or
// look is nil. In one process there is one Runner of a queue.
func Run(store Store, look LookFunc, opts *Options) *Runner {
	if store == nil || look == nil {
		panic("deadline: nil Store or LookFunc")
	}
	r := &Runner{store: meteredStore{store}, look: look, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	if opts != nil {
		r.options = *opts
	}
	o := &r.options
	o.Concurrency = cmp.Or(max(o.Concurrency, 0), defaultConcurrency)
	o.MaxAttempts = cmp.Or(max(o.MaxAttempts, 0), defaultMaxAttempts)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.looks, r.abandon = context.WithCancel(context.Background())
	r.places = make(chan struct{}, o.Concurrency)
	go r.run()
	return r
}

// Close stops the runner: it claims nothing more, and waits for looks that run.
// If ctx is done first, their contexts end, and Close returns the error of ctx
// without waiting any longer. Close can be called again to go on waiting. A look
// that ends so leaves its deadline as it was.
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

// Arm arms a deadline in the store. It is looked at when it is due, where one that
// is armed in the store itself may be found up to 10 s later.
func (r *Runner) Arm(ctx context.Context, d Deadline) error {
	if err := r.store.Arm(ctx, d); err != nil {
		return err
	}
	armed.Add(ctx, 1)
	r.expect(d.Due)
	return nil
}

// expect has the store asked at a time at the latest.
func (r *Runner) expect(due time.Time) {
	if nanoseconds(due) >= r.planned.Load() {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run claims deadlines and has them looked at until the runner is closed.
func (r *Runner) run() {
	defer close(r.done)
	defer r.abandon()
	defer r.running.Wait()
	failures, least := 0, 1
	for {
		// Only as many are claimed as have a place, because the lease of those
		// that wait would go by.
		free := r.acquire(least)
		if free == 0 {
			return
		}
		r.planned.Store(math.MaxInt64) // what is armed from now on may be missed
		claims, next, err := r.claim(free)
		for range free - len(claims) {
			<-r.places
		}
		for _, c := range claims {
			r.running.Go(func() { r.serve(c) })
		}
		least = 1
		if len(claims) == free && err == nil {
			least = max(1, cap(r.places)/4)
			continue
		}
		wait := poll
		if err != nil {
			failures++
			wait = min(wait, backoff(failures))
			if r.ctx.Err() == nil {
				r.options.Logger.Warn("deadlines cannot be claimed", "error", err)
			}
		} else {
			failures = 0
			if !next.IsZero() {
				wait = min(wait, time.Until(next))
			}
		}
		r.planned.Store(time.Now().Add(wait).UnixNano())
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-timer.C:
		case <-r.wake:
			timer.Stop()
		case <-r.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// acquire waits for a free place, and takes all that are free. It waits a little
// longer for a number of them. It returns 0 if the runner is closed.
func (r *Runner) acquire(least int) (n int) {
	select {
	case r.places <- struct{}{}:
		n++
	case <-r.ctx.Done():
		return 0
	}
	enough := time.NewTimer(gathering)
	defer enough.Stop()
gather:
	for n < cap(r.places) {
		select {
		case r.places <- struct{}{}:
			n++
			continue
		default:
		}
		if n >= least {
			break
		}
		select {
		case r.places <- struct{}{}:
			n++
		case <-enough.C:
			break gather
		case <-r.ctx.Done():
			break gather
		}
	}
	if r.ctx.Err() != nil {
		for range n {
			<-r.places
		}
		return 0
	}
	return n
}

func (r *Runner) claim(limit int) ([]Claim, time.Time, error) {
	// What is being claimed when the runner is closed is given back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), storeTimeout)
	defer cancel()
	return r.store.Claim(ctx, time.Now(), lease, limit)
}

// serve has a claim looked at, in a place that it gives back, and settles it.
func (r *Runner) serve(c Claim) {
	if r.ctx.Err() != nil {
		<-r.places
		r.settle(c, Outcome{}, errStopped, nil)
		return
	}
	ctx, cancel := context.WithCancelCause(r.looks)
	defer cancel(nil)
	p := r.takePlace(cancel)
	stop := r.hold(ctx, cancel, c)
	outcome, err := Outcome{}, errEnded
	var stack []byte
	defer func() { // also if the look ends its goroutine
		if v := recover(); v != nil {
			err, stack = fmt.Errorf("panic: %v", v), debug.Stack()
		}
		stop()
		if cause := context.Cause(ctx); err != nil && errors.Is(cause, errCrowded) {
			err = cause
		}
		r.settle(c, outcome, err, stack)
		p.leave()
	}()
	outcome, err = r.look(ctx, c)
}

// A place is what a look holds until it ends, or has taken long.
type place struct {
	r     *Runner
	timer *time.Timer

	mu   sync.Mutex
	slow *list.Element // in r.slow, once the place was given up
	over bool
}

// takePlace returns the place of a look, which cancel ends.
func (r *Runner) takePlace(cancel context.CancelCauseFunc) *place {
	p := &place{r: r}
	after := slow
	r.mu.Lock()
	if r.slow.Len() >= manySlow {
		after = busy
	}
	r.mu.Unlock()
	p.timer = time.AfterFunc(after, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.over {
			return
		}
		r.mu.Lock()
		p.slow = r.slow.PushBack(cancel)
		var oldest context.CancelCauseFunc
		if r.slow.Len() > maxSlow {
			oldest = r.slow.Front().Value.(context.CancelCauseFunc)
		}
		r.mu.Unlock()
		if oldest != nil {
			oldest(errCrowded)
		}
		<-r.places
	})
	return p
}

// leave gives the place back.
func (p *place) leave() {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.slow == nil {
		<-p.r.places
		return
	}
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.r.slow.Remove(p.slow)
}

// hold holds a claim while its look runs, and cancels the look if the claim is
// lost. The returned function ends that.
func (r *Runner) hold(ctx context.Context, cancel context.CancelCauseFunc, c Claim) (stop func()) {
	ended := make(chan struct{})
	var holding sync.WaitGroup
	holding.Go(func() {
		ticker := time.NewTicker(lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
			}
			ctx, done := context.WithTimeout(ctx, lease/3)
			err := r.store.Settle(ctx, c, Outcome{Held: time.Now().Add(lease)})
			done()
			if errors.Is(err, ErrLost) {
				cancel(ErrLost)
				return
			}
		}
	})
	return func() {
		close(ended)
		holding.Wait()
	}
}

// settle ends a claim as its look says, or after the look has failed.
func (r *Runner) settle(c Claim, o Outcome, failed error, stack []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	switch {
	case failed == nil:
	case r.looks.Err() != nil, errors.Is(failed, errStopped): // given up by Close
		o = Outcome{Due: c.Due, Attempts: c.Attempts}
	case c.Attempts+1 >= r.options.MaxAttempts:
		o = Outcome{Parked: failed.Error(), Attempts: c.Attempts}
	default:
		r.warn(c, "a look has failed", failed, stack)
		o = Outcome{Due: time.Now().Add(backoff(c.Attempts + 1)), Attempts: c.Attempts + 1}
	}
	var count metric.Int64Counter
	switch {
	case o.Parked != "":
		count = parked
		r.options.Logger.Error("a deadline is parked", r.about(c, errors.New(o.Parked), stack)...)
	case !o.Due.IsZero():
		count = moved
	}
	err := r.store.Settle(ctx, c, o)
	switch {
	case errors.Is(err, ErrLost):
		claimsLost.Add(ctx, 1)
	case err != nil:
		r.warn(c, "a claim could not be settled", err, nil)
	default:
		if count != nil {
			count.Add(ctx, 1)
		}
		if !o.Due.IsZero() {
			r.expect(o.Due)
		}
	}
}

func (r *Runner) warn(c Claim, message string, err error, stack []byte) {
	r.options.Logger.Warn(message, r.about(c, err, stack)...)
}

// about returns what is logged of a claim. Logs are not to say who talks.
func (r *Runner) about(c Claim, err error, stack []byte) []any {
	attributes := []any{"conversation", redact.Hash(c.Key), "late", time.Since(c.Due), "attempts", c.Attempts + 1, "error", redact.Text(err.Error(), c.Key)}
	if stack != nil {
		attributes = append(attributes, "stack", string(stack))
	}
	return attributes
}

// backoff returns how long to wait after a number of failures.
func backoff(failures int) time.Duration {
	limit := min(baseWait<<min(failures-1, 20), maxWait)
	return limit/2 + rand.N(limit/2)
}
