package deadline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
	"go.opentelemetry.io/otel/metric"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/internal/redact"
	"github.com/botlapse/botlapse/middleware"
)

// Options are options of [NewRunner].
type Options struct {
	// Message returns what the user is told when a conversation has expired;
	// the empty activity means nothing, now and with the next user input.
	// Without it, for nil, and without Handler, conversations expire silently,
	// and the next user input gets the notice of middleware.Expire. It is called
	// on cleared state.
	Message func(ctx context.Context, turn *bot.Turn, expiry middleware.Expiry) schema.Activity

	// Handler, if not nil, runs in the turn in which a conversation has
	// expired, on cleared state and after the message, once. With it, as with
	// a message, the next user input gets no notice.
	Handler func(ctx context.Context, turn *bot.Turn, expiry middleware.Expiry) error

	// Redeliver has a message that was perhaps not sent, since the process
	// ended or the channel failed, sent again, and a Handler that failed run
	// again: at least once, where by default it is at most once. It stops when
	// the user writes, and after MaxAttempts.
	Redeliver bool

	// MessagesPerSecond is how many conversations of one channel are told or
	// handled in a second, by this runner, but for a tenth more that may come at
	// once. Those that are late by more than a minute get what the others leave.
	// The default, for 0, is 50, what Teams takes from a bot for one tenant;
	// negative means any number.
	MessagesPerSecond float64

	// Concurrency is how many turns run at once, those included that wait for
	// their place. It is not more than nine times MessagesPerSecond. The
	// default, for 0, is 64.
	Concurrency int

	// Lease is how long a deadline is held without a sign of life; if the
	// process ends, another one takes it up after that. The default, for 0, is
	// 30 s.
	Lease time.Duration

	// Poll is how often the store is looked at, if nothing in this process says
	// that there is something to do earlier. The default, for 0, is 10 s.
	Poll time.Duration

	// MaxAttempts is how often a deadline whose turn fails is tried before it
	// is parked. The waits grow up to 10 min. The default, for 0, is 50, which
	// takes about five hours.
	MaxAttempts int

	// MaxLateness, if not 0, is how late a conversation may expire, after a
	// time in which nothing ran, for the user to be told. Later ones expire
	// silently. Nobody is told who is later than the Grace of
	// middleware.ExpireOptions: the storage has forgotten them.
	MaxLateness time.Duration

	// LeaveLate leaves conversations that are later than MaxLateness as they
	// are, until the user writes.
	LeaveLate bool

	// Logger gets a warning for each turn that has failed, and an error for
	// each deadline that is parked. The default, for nil, is slog.Default().
	Logger *slog.Logger
}

const (
	defaultConcurrency       = 64
	defaultMessagesPerSecond = 50
	defaultLease             = 30 * time.Second
	defaultPoll              = 10 * time.Second
	defaultMaxAttempts       = 50

	// Failed turns are tried again after a random wait, up to baseWait, doubled
	// each time up to maxWait.
	baseWait = 2 * time.Second
	maxWait  = 10 * time.Minute

	// storeTimeout bounds a call to the store.
	storeTimeout = 10 * time.Second

	// gathering is how long slots may take to become free together, while more
	// is due than can be claimed: a call of the store for each of them were dear.
	gathering = 250 * time.Millisecond
)

// errForeign reports a deadline that no turn was run for.
var errForeign = errors.New("the conversation reference did not come with a token of this app: nothing is sent to it")

// errStopped reports a turn that was not begun since the runner is closed.
var errStopped = errors.New("runner closed")

// Text returns a Message for [Options] that says text. The empty text is no
// message.
func Text(text string) func(context.Context, *bot.Turn, middleware.Expiry) schema.Activity {
	if text == "" {
		return nil
	}
	return func(context.Context, *bot.Turn, middleware.Expiry) schema.Activity {
		return schema.Activity{Type: schema.Message, Text: text}
	}
}

// A Runner looks at the conversations whose deadlines come due. Its methods are
// safe for concurrent use.
type Runner struct {
	deadlines *Deadlines
	adapter   *bot.Adapter
	options   Options // with the defaults filled in

	pace *pace

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
// In one process there is one runner of the same Deadlines.
func NewRunner(deadlines *Deadlines, adapter *bot.Adapter, opts *Options) *Runner {
	if deadlines == nil || adapter == nil {
		panic("deadline: nil Deadlines or Adapter")
	}
	r := &Runner{deadlines: deadlines, adapter: adapter, done: make(chan struct{})}
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
	r.pace = newPace(cmp.Or(o.MessagesPerSecond, defaultMessagesPerSecond))
	o.Concurrency = r.pace.bound(o.Concurrency)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.turns, r.abandon = context.WithCancel(context.Background())
	r.slots = make(chan struct{}, o.Concurrency)
	go r.run()
	return r
}

// Foreign returns how many deadlines there are whose conversation reference did not
// come with a token of the adapter's app, because it was stored without
// credentials or with those of another app. Nothing is sent to those: when they
// come due, they are parked. It looks at all deadlines.
func (r *Runner) Foreign(ctx context.Context) (n int, err error) {
	for e, err := range r.deadlines.store.All(ctx) {
		if err != nil {
			return n, err
		}
		var a address
		if json.Unmarshal(e.Data, &a) == nil && r.isForeign(a) {
			n++
		}
	}
	return n, nil
}

// isForeign reports whether the token of the adapter's app must not be sent to the
// conversation: whoever has made its serviceUrl up would get it.
func (r *Runner) isForeign(a address) bool {
	app := r.adapter.AppID()
	return app != "" && a.App != app
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
	failures, least := 0, 1
	for {
		// Only as many are claimed as can be run at once: the lease of those
		// that wait would go by.
		free := r.acquire(least)
		if free == 0 {
			return
		}
		r.deadlines.planned.Store(math.MaxInt64) // what is armed from now on may be missed
		claims, next, err := r.claim(free)
		for _, c := range claims {
			r.running.Go(func() {
				defer func() { <-r.slots }()
				r.serve(c)
			})
		}
		for range free - len(claims) {
			<-r.slots
		}
		least = 1
		if len(claims) == free && err == nil {
			least = max(1, cap(r.slots)/4) // not one call for each turn that ends
			continue
		}
		wait := r.options.Poll
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
		r.deadlines.planned.Store(time.Now().Add(wait).UnixNano())
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

// acquire waits for a free slot, and takes all that are free. It waits a little
// longer for a number of them. It returns 0 if the runner is closed.
func (r *Runner) acquire(least int) (n int) {
	select {
	case r.slots <- struct{}{}:
		n++
	case <-r.ctx.Done():
		return 0
	}
	enough := time.NewTimer(gathering)
	defer enough.Stop()
gather:
	for n < cap(r.slots) {
		select {
		case r.slots <- struct{}{}:
			n++
			continue
		default:
		}
		if n >= least {
			break
		}
		select {
		case r.slots <- struct{}{}:
			n++
		case <-enough.C:
			break gather
		case <-r.ctx.Done():
			break gather
		}
	}
	if r.ctx.Err() != nil {
		for range n {
			<-r.slots
		}
		return 0
	}
	return n
}

func (r *Runner) claim(limit int) ([]Claim, time.Time, error) {
	// What is being claimed when the runner is closed is given back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), storeTimeout)
	defer cancel()
	return r.deadlines.store.Claim(ctx, time.Now(), r.options.Lease, limit)
}

// serve runs the turn of a claim, and settles the claim.
func (r *Runner) serve(c Claim) {
	if r.ctx.Err() != nil {
		r.settle(c, time.Time{}, 0, errStopped)
		return
	}
	ctx, cancel := context.WithCancel(r.turns)
	defer cancel()
	stop := r.renew(ctx, cancel, c)
	again, attempts, err := r.look(ctx, c)
	stop()
	r.settle(c, again, attempts, err)
}

// renew holds a claim while its turn runs. If it is lost, a turn that another
// process may repeat is cancelled; by default none is, for whoever has stored
// the cleared state is to tell the user. The returned function ends that.
func (r *Runner) renew(ctx context.Context, cancel context.CancelFunc, c Claim) (stop func()) {
	ended := make(chan struct{})
	var renewing sync.WaitGroup
	renewing.Go(func() {
		ticker := time.NewTicker(max(r.options.Lease/3, 1))
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
			}
			ctx, done := context.WithTimeout(ctx, r.options.Lease/3)
			err := r.deadlines.store.Settle(ctx, c, Outcome{Held: time.Now().Add(r.options.Lease)})
			done()
			if errors.Is(err, ErrLost) {
				if r.options.Redeliver {
					cancel()
				}
				return
			}
		}
	})
	return func() {
		close(ended)
		renewing.Wait()
	}
}

// settle finishes a claim, moves its deadline, puts it off or parks it.
func (r *Runner) settle(c Claim, again time.Time, attempts int, failed error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	o := Outcome{Due: again, Attempts: attempts}
	var paused *pausedError
	var count metric.Int64Counter // of what is done
	switch {
	case errors.As(failed, &paused):
		o = Outcome{Due: paused.until, Attempts: c.Attempts}
	case failed != nil && (r.turns.Err() != nil || errors.Is(failed, errStopped)): // given up by Close
		o = Outcome{Due: c.Due, Attempts: c.Attempts}
	case errors.Is(failed, errForeign), failed != nil && c.Attempts+1 >= r.options.MaxAttempts:
		count, o = parked, Outcome{Parked: failed.Error(), Attempts: c.Attempts}
	case failed != nil:
		r.warn(c, "a conversation could not be looked at", failed)
		o = Outcome{Due: time.Now().Add(backoff(c.Attempts + 1)), Attempts: c.Attempts + 1}
	case !again.IsZero():
		count = moved
	}
	err := r.deadlines.store.Settle(ctx, c, o)
	if !o.Due.IsZero() {
		r.deadlines.wakeRunner(o.Due)
	}
	if err == nil && o.Parked != "" {
		r.options.Logger.Error("a deadline is parked", r.about(c, failed)...)
	}
	switch {
	case errors.Is(err, ErrLost):
		claimsLost.Add(ctx, 1)
	case err != nil:
		r.warn(c, "a claim could not be settled", err)
	case count != nil:
		count.Add(ctx, 1)
	}
}

func (r *Runner) warn(c Claim, message string, err error) {
	r.options.Logger.Warn(message, r.about(c, err)...)
}

// about returns what is logged of a claim. Logs are not to say who talks.
func (r *Runner) about(c Claim, err error) []any {
	attributes := []any{"conversation", redact.Hash(c.Key), "late", time.Since(c.Due), "attempts", c.Attempts + 1, "error", redact.Text(err.Error(), c.Key)}
	var panicked *bot.PanicError
	if errors.As(err, &panicked) {
		attributes = append(attributes, "stack", string(panicked.Stack))
	}
	return attributes
}

// backoff returns how long to wait after a number of failures.
func backoff(failures int) time.Duration {
	limit := baseWait
	for range min(failures, 20) - 1 {
		limit = min(2*limit, maxWait)
	}
	return limit/2 + rand.N(limit/2)
}
