package middleware

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/wire"
	"github.com/botlapse/botlapse/state"
)

// ExpireOptions are options of [Expire].
type ExpireOptions struct {
	// Property is the name of the conversation state property that holds the
	// time of the last user input. The default, for "", is "lastAccessed".
	// Microsoft's samples call it "LastAccessedTimeProperty" in C# and
	// "LastAccessedTime" in JavaScript and Python.
	Property string

	// Keep names conversation state properties that expiry does not clear.
	// With any, documents have no time to live: the storage would drop what is
	// to be kept.
	Keep []string

	// Notice returns what the user is told when a conversation has expired;
	// the empty activity means nothing. The default, for nil, is
	// NoticeText("Welcome back!  Let's start over from the beginning.").
	Notice func(ctx context.Context, turn *Turn, expiry Expiry) schema.Activity

	// IsUserInput reports whether a user caused the activity on purpose. It
	// is not asked in proactive turns, which never are user input. The
	// default, for nil, is [IsUserInput].
	IsUserInput func(turn *Turn) bool

	// Grace is how much longer than the timeout the storage keeps a silent
	// conversation. A user who is away for longer than both finds a new
	// conversation, without notice. The default, for 0, is 24 h; negative
	// means none.
	Grace time.Duration

	// Arm, if not nil, is called with each user input, before the handler, with
	// the time at which the conversation becomes stale unless the user writes
	// again. What it changes in the conversation state is saved with the turn.
	// Its error is reported. Package deadline has one.
	Arm func(ctx context.Context, turn *Turn, due time.Time) error

	// OnExpire, if not nil, is called once for each expiry, with the user input
	// that gets the notice: when the cleared state is stored, and before the
	// user is told.
	OnExpire func(ctx context.Context, turn *Turn, expiry Expiry)

	// Report is called with what went wrong without failing the turn: a
	// notice that could not be sent, or a last user input that is no time.
	// The default, for nil, is a warning to the adapter's Logger.
	Report func(ctx context.Context, turn *Turn, err error)
}

const (
	defaultProperty = "lastAccessed"
	defaultNotice   = "Welcome back!  Let's start over from the beginning."
	defaultGrace    = 24 * time.Hour

	// expireAttempts bounds how often somebody else's write may come between
	// judging a conversation and clearing it.
	expireAttempts = 5
)

// An Expiry tells how a conversation expired.
type Expiry struct {
	LastAccessed time.Time     // the last user input before it
	Timeout      time.Duration // the limit that was exceeded
	Idle         time.Duration // how long the user was silent
	At           time.Time     // when the limit was reached: LastAccessed plus Timeout
}

type expiryKey struct{}

// Expired reports whether the conversation was found expired in this turn, and
// how.
func Expired(ctx context.Context) (Expiry, bool) {
	e, ok := ctx.Value(expiryKey{}).(Expiry)
	return e, ok
}

// NoticeText returns a notice for [ExpireOptions] that says text. The empty
// text is no notice.
func NoticeText(text string) func(context.Context, *Turn, Expiry) schema.Activity {
	return func(context.Context, *Turn, Expiry) schema.Activity {
		if text == "" {
			return schema.Activity{}
		}
		return schema.Activity{Type: schema.Message, Text: text}
	}
}

// IsUserInput reports whether a turn's activity is a message or an invoke that
// did not come from a bot.
func IsUserInput(turn *Turn) bool {
	a := &turn.Activity
	if a.From.Role == roleBot || a.From.ID != "" && a.From.ID == a.Recipient.ID {
		return false
	}
	return a.Type == schema.Message || a.Type == schema.Invoke
}

// Expire clears the state of a conversation whose user was silent for timeout
// or longer; 0 or negative means never. A conversation without record of user
// input, such as a new one, has not expired. Silence is measured from the
// arrival of one user input to the arrival of the next activity; activities
// that are no user input do not interrupt it.
//
// The cleared state is stored at once, under the version that was judged: if
// another replica was first, its state is judged anew. Then, if the activity
// is user input, the user is told, and the turn goes on with the activity as
// it came, on fresh state; the handler finds out by [Expired]. An activity
// that is no user input finds cleared state too, but the notice waits for the
// next one that is; what is stored for a stale conversation meanwhile, such as
// a question that a proactive turn asks, is cleared with it. A handler that
// fails after the clearing does not undo it.
//
// Expire must come with [AutoSave] of the same scope, which stores the time of
// the user input after a turn that succeeded: input whose turn fails, or goes
// on elsewhere, has not counted yet. Times are kept in steps of 100 ns, rounded
// up. Expire also gives what the turn writes a time to live in the storage:
// until timeout and Grace after the last user input, however often the bot
// writes.
//
// Each Expire tells the user. To expire a private conversation too, list a
// second one with the notice NoticeText("").
func Expire(conversation *state.Scope, timeout time.Duration, opts *ExpireOptions) Middleware {
	if conversation == nil {
		panic("middleware: Expire of a nil scope")
	}
	e := &expirer{conversation: conversation, timeout: timeout}
	if opts != nil {
		e.ExpireOptions = *opts
	}
	if e.Property == "" {
		e.Property = defaultProperty
	}
	if e.Notice == nil {
		e.Notice = NoticeText(defaultNotice)
	}
	if e.ExpireOptions.IsUserInput == nil {
		e.ExpireOptions.IsUserInput = IsUserInput
	}
	switch {
	case e.Grace == 0:
		e.Grace = defaultGrace
	case e.Grace < 0:
		e.Grace = 0
	}
	if e.lifetime = timeout + e.Grace; e.lifetime < timeout { // overflow
		e.lifetime = math.MaxInt64
	}
	if e.Report == nil {
		e.Report = func(ctx context.Context, turn *Turn, err error) {
			turn.adapter.logger().WarnContext(ctx, "expire", "channel", turn.Activity.ChannelID, "error", err)
		}
	}
	e.Keep = slices.Clone(e.Keep)
	e.keepAll = append(slices.Clone(e.Keep), e.Property)
	e.last = state.NewProperty[lastAccessed](conversation, e.Property)
	e.last.Merge = latest
	return func(next Handler) Handler {
		return func(ctx context.Context, turn *Turn) error {
			ctx, err := e.before(ctx, turn)
			if err != nil {
				return err
			}
			return next(ctx, turn)
		}
	}
}

type expirer struct {
	ExpireOptions
	conversation *state.Scope
	timeout      time.Duration
	last         *state.Property[lastAccessed]
	keepAll      []string      // Keep and Property
	lifetime     time.Duration // of a silent conversation in the storage
}

type (
	staleAtKey struct{}
	decideKey  struct{}
)

// StaleAt returns when the conversation of a proactive turn becomes stale, or
// has become so. There is no such time, for false, if it has no record of user
// input, or if no [Expire] is around.
func StaleAt(ctx context.Context) (time.Time, bool) {
	at, ok := ctx.Value(staleAtKey{}).(time.Time)
	return at, ok && !at.IsZero()
}

// A Decision is what becomes of a conversation that a proactive turn finds
// stale.
type Decision int

const (
	// ExpireSilently clears the conversation state. The next user input gets
	// the notice.
	ExpireSilently Decision = iota

	// ExpireAndTell clears the conversation state, for a turn that tells the
	// user: [Expire] forgets the last user input with the rest, so that neither
	// this turn, if it is run again, nor the next user input tells it a second
	// time.
	ExpireAndTell

	// Leave leaves the conversation as it is. It has not expired in this turn.
	Leave
)

// Deciding returns a context for [Adapter.Continue] in which decide is asked
// what becomes of the conversation if it is stale. Its state is cleared then,
// but the cleared state is not stored yet: what decide changes in it is stored
// with it. If somebody else writes in between, the conversation is judged anew,
// and decide may be asked again. Its error fails the turn, and nothing is
// stored. Without decide the conversation expires silently.
func Deciding(ctx context.Context, decide func(ctx context.Context, turn *Turn, expiry Expiry) (Decision, error)) context.Context {
	return context.WithValue(ctx, decideKey{}, decide)
}

// decide clears a conversation for a proactive turn, as far as it is to be.
func (e *expirer) decide(ctx context.Context, turn *Turn, expiry Expiry) (expired bool, err error) {
	if err := e.conversation.Clear(ctx, e.keepAll...); err != nil { // the next user input is to find it stale again
		return false, err
	}
	decide, ok := ctx.Value(decideKey{}).(func(context.Context, *Turn, Expiry) (Decision, error))
	if !ok || !turn.Proactive() {
		return true, nil
	}
	decision, err := decide(ctx, turn, expiry)
	switch {
	case err != nil:
		return false, err
	case decision == Leave:
		return false, e.conversation.Load(ctx)
	case decision == ExpireAndTell && !slices.Contains(e.Keep, e.Property):
		return true, e.last.Delete(ctx)
	}
	return true, nil
}

// before does what comes before the handler.
func (e *expirer) before(ctx context.Context, turn *Turn) (context.Context, error) {
	input := !turn.Proactive() && e.ExpireOptions.IsUserInput(turn)
	ctx, expiry, expired, err := e.check(ctx, turn, input)
	if err != nil {
		return ctx, err
	}
	if input && e.Arm != nil && e.timeout > 0 {
		if err := e.Arm(ctx, turn, judge(turn.Arrived(), e.timeout, turn.Arrived()).at); err != nil {
			e.Report(ctx, turn, fmt.Errorf("deadline: %w", err))
		}
	}
	if !expired {
		return ctx, nil
	}
	if input {
		if e.OnExpire != nil {
			e.OnExpire(ctx, turn, expiry)
		}
		if notice := e.Notice(ctx, turn, expiry); !wire.IsZero(&notice) {
			if _, err := turn.Send(ctx, notice); err != nil {
				e.Report(ctx, turn, fmt.Errorf("expiry notice: %w", err))
			}
		}
	}
	return context.WithValue(ctx, expiryKey{}, expiry), nil
}

// check judges the conversation, clears it if it is stale, and records user
// input.
func (e *expirer) check(ctx context.Context, turn *Turn, input bool) (context.Context, Expiry, bool, error) {
	now := turn.Arrived()
	judged := ctx
	for attempt := 1; ; attempt++ {
		last, _, err := e.last.Get(ctx)
		if errors.Is(err, state.ErrCorrupt) {
			e.Report(ctx, turn, err)
		} else if err != nil {
			return ctx, Expiry{}, false, err
		}
		v := judge(last.Time, e.timeout, now)
		if turn.Proactive() && !last.IsZero() {
			judged = context.WithValue(ctx, staleAtKey{}, v.at)
		}
		expiry := Expiry{LastAccessed: last.Time, Timeout: e.timeout, Idle: v.idle, At: v.at}
		expired, err := v.stale, error(nil)
		if v.stale && input {
			err = e.conversation.Clear(ctx, e.Keep...)
		} else if v.stale {
			expired, err = e.decide(ctx, turn, expiry)
		}
		if err != nil || v.stale && !expired {
			return judged, Expiry{}, false, err
		}
		from := last.Time
		if input && last.After(now) && !last.After(time.Now()) {
			// A later input was served while this one waited: it counts.
		} else if input {
			from = now
			if err := e.last.Set(ctx, at(now)); err != nil {
				return ctx, Expiry{}, false, err
			}
		} else if from.IsZero() {
			from = now
		}
		if e.timeout > 0 && len(e.Keep) == 0 {
			if err := e.conversation.ExpireAt(ctx, from.Add(e.lifetime)); err != nil {
				return ctx, Expiry{}, false, err
			}
		}
		if !expired {
			return judged, Expiry{}, false, nil
		}
		err = e.conversation.Save(ctx)
		if err == nil {
			countExpiry(ctx, turn, input)
			return judged, expiry, true, nil
		}
		if !errors.Is(err, state.ErrConflict) || attempt == expireAttempts {
			return ctx, Expiry{}, false, err
		}
		if err := e.conversation.Load(ctx); err != nil {
			return ctx, Expiry{}, false, err
		}
	}
}
