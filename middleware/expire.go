package middleware

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/botlapse/botlapse/bot"

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
	Notice func(ctx context.Context, turn *bot.Turn, expiry Expiry) schema.Activity

	// IsUserInput reports whether a user caused the activity on purpose. It
	// is not asked in proactive turns, which never are user input. The
	// default, for nil, is [IsUserInput].
	IsUserInput func(turn *bot.Turn) bool

	// Grace is how much longer than the timeout the storage keeps a silent
	// conversation. A user who is away for longer than both finds a new
	// conversation, without notice, and is told nothing by a deadline that is
	// as late. The default, for 0, is 24 h; negative means none. With Arm it is
	// at least 1 h.
	Grace time.Duration

	// Arm, if not nil, is called with each user input, before the handler, with
	// the time at which the conversation becomes stale if this turn fails: that
	// of the input before, or of this one if it is the first or is stored
	// already. What Arm changes in the conversation state is saved with the
	// turn. Its error is reported. Package deadline has one.
	Arm func(ctx context.Context, turn *bot.Turn, due time.Time) error

	// OnExpire, if not nil, is called once for each expiry, with the user input
	// that gets the notice: when the cleared state is stored, and before the
	// user is told.
	OnExpire func(ctx context.Context, turn *bot.Turn, expiry Expiry)

	// Report is called with what went wrong without failing the turn: a
	// notice that could not be sent, or a last user input that is no time.
	// The default, for nil, is a warning to the adapter's Logger.
	Report func(ctx context.Context, turn *bot.Turn, err error)
}

// roleBot is the role of an account that is no user.
const roleBot schema.RoleTypes = "bot"

const (
	defaultProperty = "lastAccessed"
	defaultNotice   = "Welcome back!  Let's start over from the beginning."
	defaultGrace    = 24 * time.Hour
	minArmedGrace   = time.Hour

	// expireAttempts bounds how often somebody else's write may come between
	// judging a conversation and storing what follows from it.
	expireAttempts = 100

	// inputAhead is how long before a conversation becomes stale its input is
	// stored before the handler runs.
	inputAhead = 10 * time.Second
)

// An Expiry tells how a conversation expired.
type Expiry struct {
	LastAccessed time.Time     // the last user input before it
	Timeout      time.Duration // the limit that was exceeded
	Idle         time.Duration // how long the user was silent
	At           time.Time     // when the limit was reached: LastAccessed plus Timeout
}

// expiryKey is the key under which a turn holds its Expiry.
type expiryKey struct{}

// Expired reports whether the conversation was found expired in this turn, and
// how.
func Expired(turn *bot.Turn) (Expiry, bool) {
	expiry, ok := turn.Value(expiryKey{}).(Expiry)
	return expiry, ok
}

// NoticeText returns a notice for [ExpireOptions] that says text. The empty
// text is no notice.
func NoticeText(text string) func(context.Context, *bot.Turn, Expiry) schema.Activity {
	return func(context.Context, *bot.Turn, Expiry) schema.Activity {
		if text == "" {
			return schema.Activity{}
		}
		return schema.Activity{Type: schema.Message, Text: text}
	}
}

// IsUserInput reports whether a turn's activity is a message or an invoke that
// did not come from a bot.
func IsUserInput(turn *bot.Turn) bool {
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
// User input that is handled in the last 10 s before the timeout is stored at
// once too, before the handler runs. So no other replica expires the
// conversation under the running turn; and if one has just done so, the turn goes
// on with fresh state. A handler that began earlier and runs beyond the timeout
// may still find at its end that the conversation has expired: its turn fails.
//
// Expire must come with [AutoSave] of the same scope, which stores the time of
// all other user input after a turn that succeeded: input whose turn fails, or
// goes on elsewhere, has not counted yet. Times are kept in steps of 100 ns,
// rounded up. Expire also gives what the turn writes a time to live in the
// storage: until timeout and Grace after the last user input, however often the
// bot writes.
//
// Each Expire tells the user. To expire a private conversation too, list a
// second one with the notice NoticeText("").
func Expire(conversation *state.Scope, timeout time.Duration, opts *ExpireOptions) bot.Middleware {
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
	if e.Arm != nil { // there must be something left to look at
		e.Grace = max(e.Grace, minArmedGrace)
	}
	if e.lifetime = timeout + e.Grace; e.lifetime < timeout { // overflow
		e.lifetime = math.MaxInt64
	}
	if e.Report == nil {
		e.Report = func(ctx context.Context, turn *bot.Turn, err error) {
			turn.Logger().WarnContext(ctx, "expire", "error", turn.Redact(err))
		}
	}
	e.Keep = slices.Clone(e.Keep)
	e.keepAll = append(slices.Clone(e.Keep), e.Property)
	e.last = state.NewProperty[lastAccessed](conversation, e.Property)
	e.last.Merge = latest
	return func(next bot.Handler) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			if err := e.before(ctx, turn); err != nil {
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

// A Decision is what becomes of a conversation that a proactive turn finds
// stale.
type Decision int

const (
	// ExpireSilently clears the conversation state. The next user input gets
	// the notice.
	ExpireSilently Decision = iota

	// ExpireAndTell clears the conversation state, for a turn that tells the
	// user: the last user input is forgotten with the rest, so that neither
	// this turn, if it is run again, nor the next user input tells it a second
	// time.
	ExpireAndTell

	// Leave leaves the conversation as it is. It has not expired in this turn.
	Leave
)

// An Inspection is what a proactive turn wants to know of a conversation, and do
// with it. It is good for one turn.
type Inspection struct {
	// Conversation is the scope that is asked about.
	Conversation *state.Scope

	// Decide, if not nil, is asked what becomes of the conversation if it is
	// stale, before anything is cleared. If somebody else writes before the
	// cleared state is stored, the conversation is judged anew, and Decide may
	// be asked again. Its error fails the turn, and nothing is stored. The
	// default, for nil, is ExpireSilently.
	Decide func(ctx context.Context, turn *bot.Turn, expiry Expiry) (Decision, error)

	// Keep names properties that are not cleared, besides those of
	// [ExpireOptions]: Decide may set them, and they are stored with the cleared
	// state.
	Keep []string

	// Expiry is how the conversation has expired, nil if it has not. It and
	// StaleAt are set by Expire.
	Expiry *Expiry

	// StaleAt is when the conversation becomes stale, or has become so: zero if
	// it has no record of user input.
	StaleAt time.Time

	turn *bot.Turn
}

type inspectionKey struct{}

// Inspect returns a context for [Adapter.Continue], in whose turn [Expire] of
// the same scope goes by the inspection.
func Inspect(ctx context.Context, in *Inspection) context.Context {
	return context.WithValue(ctx, inspectionKey{}, in)
}

// inspection returns the one that is made in this turn of this conversation.
func (e *expirer) inspection(ctx context.Context, turn *bot.Turn) *Inspection {
	if !turn.Proactive() {
		return &Inspection{}
	}
	in, ok := ctx.Value(inspectionKey{}).(*Inspection)
	if !ok || in.Conversation != e.conversation || in.turn != nil && in.turn != turn {
		return &Inspection{}
	}
	in.turn = turn
	return in
}

// before does what comes before the handler.
func (e *expirer) before(ctx context.Context, turn *bot.Turn) error {
	input := !turn.Proactive() && e.ExpireOptions.IsUserInput(turn)
	expiry, staleAt, err := e.check(ctx, turn, input)
	if err != nil {
		return err
	}
	if input && e.Arm != nil && e.timeout > 0 {
		if err := e.Arm(ctx, turn, staleAt); err != nil {
			e.Report(ctx, turn, err)
		}
	}
	if expiry == nil {
		return nil
	}
	turn.SetValue(expiryKey{}, *expiry)
	if input {
		if e.OnExpire != nil {
			e.OnExpire(ctx, turn, *expiry)
		}
		if notice := e.Notice(ctx, turn, *expiry); !wire.IsZero(&notice) {
			if _, err := turn.Send(ctx, notice); err != nil {
				e.Report(ctx, turn, fmt.Errorf("expiry notice: %w", err))
			}
		}
	}
	return nil
}

// check judges the conversation, clears it if it is stale, and records user
// input. What others must know at once, that it was cleared, or that there is
// input shortly before they would clear it, it stores. It returns how the
// conversation has expired, if it has, and when it becomes stale if this turn
// comes to nothing.
func (e *expirer) check(ctx context.Context, turn *bot.Turn, input bool) (*Expiry, time.Time, error) {
	now := turn.Arrived()
	in := e.inspection(ctx, turn)
	var before lastAccessed
	for attempt := 1; ; attempt++ {
		last, _, err := e.last.Get(ctx)
		if errors.Is(err, state.ErrCorrupt) {
			e.Report(ctx, turn, err)
		} else if err != nil {
			return nil, time.Time{}, err
		}
		judged := now
		if attempt > 1 && last.Equal(before.Time) { // cleared, and left to the next input to be told of
			judged = time.Now()
		}
		before = last
		v := judge(last.Time, e.timeout, judged)
		soon := input && e.timeout > 0 && !last.IsZero() && time.Until(v.at) <= inputAhead
		in.Expiry, in.StaleAt = nil, time.Time{}
		if !last.IsZero() {
			in.StaleAt = v.at
		}
		var expiry *Expiry
		if v.stale {
			expiry = &Expiry{LastAccessed: last.Time, Timeout: e.timeout, Idle: v.idle, At: v.at}
			left, err := e.clear(ctx, turn, in, *expiry, input)
			if err != nil || left {
				return nil, v.at, err
			}
		}
		from := last.Time
		if input && last.After(now) && !last.After(time.Now()) {
			// A later input was served while this one waited: it counts.
		} else if input {
			from = now
			if err := e.last.Set(ctx, at(now)); err != nil {
				return nil, time.Time{}, err
			}
		} else if from.IsZero() {
			from = now
		}
		if e.timeout > 0 && len(e.Keep) == 0 {
			if err := e.conversation.ExpireAt(ctx, from.Add(e.lifetime)); err != nil {
				return nil, time.Time{}, err
			}
		}
		if expiry == nil && !soon {
			return nil, v.at, nil
		}
		err = e.conversation.Save(ctx)
		if err == nil {
			if in.Expiry = expiry; expiry != nil {
				countExpiry(ctx, turn, input)
			}
			return expiry, judge(now, e.timeout, now).at, nil
		}
		if !errors.Is(err, state.ErrConflict) || attempt == expireAttempts {
			return nil, time.Time{}, err
		}
		if err := e.conversation.Load(ctx); err != nil {
			return nil, time.Time{}, err
		}
	}
}

// clear clears a stale conversation, unless it is to be left.
func (e *expirer) clear(ctx context.Context, turn *bot.Turn, in *Inspection, expiry Expiry, input bool) (left bool, err error) {
	if input {
		return false, e.conversation.Clear(ctx, e.Keep...)
	}
	decision := ExpireSilently
	if in.Decide != nil {
		if decision, err = in.Decide(ctx, turn, expiry); err != nil {
			return false, err
		}
	}
	switch decision {
	case Leave:
		return true, nil
	case ExpireAndTell:
		without := slices.DeleteFunc(slices.Clone(e.Keep), func(name string) bool { return name == e.Property })
		return false, e.conversation.Clear(ctx, append(without, in.Keep...)...)
	}
	return false, e.conversation.Clear(ctx, slices.Concat(e.keepAll, in.Keep)...) // the next user input is to find it stale again
}
