package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/state"
)

// ErrClosed reports a turn that was not begun because the adapter is closed.
var ErrClosed = errors.New("adapter closed")

// Defaults of the fields of [Adapter].
const (
	defaultMaxBodyBytes = 256 << 10
	defaultReadTimeout  = 10 * time.Second
	defaultMaxTurns     = 10000
	defaultAckAfter     = 10 * time.Second
	defaultTurnTimeout  = 2 * time.Minute
	defaultMaxWaiting   = 64
	defaultRemember     = 4096
)

// An Adapter runs turns: it surrounds a handler with middleware and sends what
// the handler says through a base adapter. It is itself a core.Adapter, so it
// can take the place of the base in a bot that exists.
//
// Around all middleware it does three things of its own:
//
//   - A panic in a turn is an error of that turn, a [*PanicError].
//   - The turns of one conversation run one after the other, in the order in
//     which they arrive, and those of different conversations in parallel. A
//     turn that waits obeys its context. This covers one process; what several
//     do to one conversation is settled by the state's eTags.
//   - An activity that was handled is not handled again if the channel delivers
//     it a second time; the second delivery gets the answer of the first. An
//     answer of more than 16 KiB, which only invokes and activities that expect
//     replies have, is not kept: such a delivery is answered without content.
//     An activity whose turn failed is handled again.
//
// The fields must be set before the first turn. The methods are safe for
// concurrent use.
type Adapter struct {
	// MaxBodyBytes is the size of the largest request body that is read.
	// The default, for 0, is 256 KiB.
	MaxBodyBytes int64

	// ReadTimeout is how long a request body may take to arrive, where the
	// server can set deadlines. The default, for 0, is 10 s; negative means as
	// long as the server lets it.
	ReadTimeout time.Duration

	// MaxTurns is how many HTTP requests may have their turns at once, running
	// or waiting. One more is answered with 503 without being read. The
	// default, for 0, is 10000; negative means any number.
	MaxTurns int

	// AckAfter is how long an HTTP request waits for its turn before it is
	// answered with 200 while the turn goes on: channels give up after 15 s
	// and deliver the activity again. The default, for 0, is 10 s; negative
	// means to wait always.
	//
	// A turn is not answered so while it waits for a storage, for a send to
	// end, or for the turns before it: an outage or the end of the process would
	// lose it. It goes on, and the channel may deliver the activity again, which
	// then waits for the turn. Only if it still waits for a storage 3 s after
	// AckAfter, and has stored nothing and sent nothing but traces and typing, is
	// it given up: its context is done, its sends fail, its state is not saved,
	// and the answer is 500. Storages are those of package state.
	//
	// Invokes, and activities that expect their replies in the response, wait
	// for their answer as long as it takes, and are given up likewise.
	AckAfter time.Duration

	// TurnTimeout bounds a turn, the time it waits for its predecessors
	// included: its context is done after that. The default, for 0, is 2 min;
	// negative means no bound.
	TurnTimeout time.Duration

	// MaxWaiting is how many turns of one conversation may wait while another
	// one is running. One more fails with [ErrBusy]. The default, for 0, is 64.
	MaxWaiting int

	// Remember is how many activities, of all conversations together, are
	// remembered so that they are not handled again: each takes some 200
	// bytes, and at most 18 KiB. The default, for 0, is 4096; negative means
	// none.
	Remember int

	// Logger gets one line for each HTTP request whose turn failed, and at
	// debug level for each that did not. It gets nothing of what users or bots
	// say but what is in the errors of handlers and of the base adapter. The
	// default, for nil, is slog.Default().
	Logger *slog.Logger

	base     core.Adapter
	chain    Handler
	lanes    lanes
	handled  handled
	requests atomic.Int64 // that have a turn or are about to

	mu      sync.Mutex
	running map[*Turn]context.CancelFunc
	closed  bool
	idle    chan struct{} // made by Close, closed when no turn is running
}

// NewAdapter returns an adapter that runs turns through the middleware, the
// first listed outermost, and sends through base. It panics if base or one of
// the middleware is nil.
func NewAdapter(base core.Adapter, mw ...Middleware) *Adapter {
	if base == nil || slices.ContainsFunc(mw, func(m Middleware) bool { return m == nil }) {
		panic("bot: nil base adapter or middleware")
	}
	a := &Adapter{base: base}
	a.chain = func(ctx context.Context, turn *Turn) error {
		if err := turn.handler(ctx, turn); err != nil {
			return err
		}
		return turn.failure() // before anything is saved
	}
	for _, m := range slices.Backward(append([]Middleware{recovering, a.serialize, a.once, decode}, mw...)) {
		a.chain = m(a.chain)
	}
	return a
}

// Process runs one turn for an incoming activity and waits for its end. Its
// error is that of the handler or of a middleware; [ErrClosed] after Close, [ErrBusy],
// and [ErrCircle].
func (a *Adapter) Process(ctx context.Context, act schema.Activity, h Handler) error {
	return a.run(ctx, &Turn{Activity: act, handler: h, arrived: time.Now()})
}

// Continue runs a proactive turn in the conversation of ref: one that no
// incoming activity caused. It passes through the middleware like any other,
// is no user input, and replies to nothing. The ActivityID of ref is ignored.
//
// Within a turn of the same conversation, as its ctx tells, there is no other
// turn to wait for: h runs at once, as a part of that turn. Within a turn of another
// conversation it waits for that of ref, and fails with [ErrCircle] if that waits for
// this one.
func (a *Adapter) Continue(ctx context.Context, ref schema.ConversationReference, h Handler) error {
	turn := proactiveTurn(ref, h)
	if outer, ok := ctx.Value(turnKey{}).(*Turn); ok && outer.adapter == a && conversationOf(outer) == conversationOf(turn) && !outer.hasEnded() {
		turn.adapter, turn.outer = a, outer
		defer turn.end()
		return h(ctx, turn)
	}
	return a.run(ctx, turn)
}

// AppID returns the id of the app for which the base adapter authenticates
// requests, "" if it does not, or is no [Authenticator]. An activity that the
// program passes to [Adapter.Process] counts as one that the base has let in.
func (a *Adapter) AppID() string {
	if base, ok := a.base.(Authenticator); ok {
		return base.AppID()
	}
	return ""
}

// turnKey is the key of the *Turn in a context.
type turnKey struct{}

func proactiveTurn(ref schema.ConversationReference, h Handler) *Turn {
	ref.ActivityID = ""
	return &Turn{
		Activity: schema.Activity{
			Type:         schema.Event,
			Name:         "ContinueConversation",
			ChannelID:    ref.ChannelID,
			ServiceURL:   ref.ServiceURL,
			Conversation: ref.Conversation,
			From:         ref.User,
			Recipient:    ref.Bot,
			RelatesTo:    ref,
		},
		handler:   h,
		arrived:   time.Now(),
		proactive: true,
	}
}

func (a *Adapter) run(ctx context.Context, turn *Turn) (err error) {
	var cancel context.CancelFunc
	if limit := cmp.Or(a.TurnTimeout, defaultTurnTimeout); limit > 0 {
		ctx, cancel = context.WithDeadline(ctx, turn.arrived.Add(limit))
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	defer cancel()
	if !a.begin(turn, cancel) {
		return ErrClosed
	}
	defer a.end(turn)
	defer func() {
		if err != nil && context.Cause(ctx) == ErrGivenUp && !errors.Is(err, ErrGivenUp) {
			err = fmt.Errorf("bot: %w: %w", ErrGivenUp, err)
		}
		measure(ctx, turn, err)
	}()
	turn.adapter = a
	turn.outer, _ = ctx.Value(turnKey{}).(*Turn)
	ctx = context.WithValue(ctx, turnKey{}, turn)
	return a.chain(state.NewContext(ctx, state.IDs{
		Channel:      turn.Activity.ChannelID,
		Conversation: turn.Activity.Conversation.ID,
		User:         turn.Activity.From.ID,
	}), turn)
}

// begin counts a turn in, unless the adapter is closed.
func (a *Adapter) begin(turn *Turn, cancel context.CancelFunc) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	if a.running == nil {
		a.running = make(map[*Turn]context.CancelFunc)
	}
	a.running[turn] = cancel
	return true
}

func (a *Adapter) end(turn *Turn) {
	turn.end()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.running, turn)
	if a.closed && len(a.running) == 0 {
		close(a.idle)
	}
}

// Close makes later turns fail with [ErrClosed] and waits for those that are
// running, also for those whose HTTP request was answered before their end. If
// ctx is done first, it cancels their contexts and returns the error of ctx
// without waiting any longer. Close can be called again to go on waiting.
func (a *Adapter) Close(ctx context.Context) error {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		a.idle = make(chan struct{})
		if len(a.running) == 0 {
			close(a.idle)
		}
	}
	idle := a.idle
	a.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.running) == 0 {
		return nil
	}
	for _, cancel := range a.running {
		cancel()
	}
	return ctx.Err()
}

func (a *Adapter) logger() *slog.Logger {
	if a.Logger != nil {
		return a.Logger
	}
	return slog.Default()
}
