package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// SessionsOptions are options of [NewSessions] and [Expire].
type SessionsOptions struct {
	// Property is the name of the conversation state property that holds the
	// time of the last user input. The default, for "", is "lastAccessed".
	// Microsoft's samples call it "LastAccessedTimeProperty" in C# and
	// "LastAccessedTime" in JavaScript and Python.
	Property string

	// Keep names conversation state properties that the end of a session does
	// not clear. With any, documents have no time to live, because the storage
	// would drop what is to be kept.
	Keep []string

	// IsUserInput reports whether a user caused the activity on purpose. It
	// is not asked in proactive turns, which never are user input. The
	// default, for nil, is [IsUserInput].
	IsUserInput func(turn *bot.Turn) bool

	// Grace is how much longer than the policy needs it the storage keeps a
	// silent conversation. A user who is away for longer finds a new
	// conversation, and is told nothing on return. The default, for 0, is 24 h;
	// negative means none. With Deadlines it is at least 1 h.
	Grace time.Duration

	// Deadlines is where the instants are kept at which silent conversations are
	// looked at. Nil means that the rules are looked at only when somebody
	// writes. Each Sessions needs a queue of its own.
	Deadlines deadline.Store

	// Dialogs are those of the bot: *dialog.Set is one. A policy that asks, goes
	// elsewhere or counts since policy.Asked needs them.
	Dialogs Dialogs

	// Before, if not nil, is asked before a rule does anything. It may change what
	// is said, and postpone or veto the firing. It sees the state that is about to
	// be cleared. If it panics or takes longer than 5 s, it has no objection.
	Before func(ctx context.Context, turn *bot.Turn, firing *Firing)

	// CompletedResolves has a handoff.status that says "completed" resolve the
	// conversation. By default the bot just answers again.
	CompletedResolves bool

	// AtMostOnce has nothing told twice. By default, what a process was telling
	// when it ended, or what the channel has not confirmed, is told again.
	// With AtMostOnce it is not, and what is to be told on return takes its
	// place.
	AtMostOnce bool

	// MaxLateness is how long after a rule was due the user is still told, if the
	// channel was away or nothing ran. What is later is told on return only. The
	// default, for 0, is 24 h.
	MaxLateness time.Duration

	// MessagesPerSecond is how many conversations of one channel are told in a
	// second, by this process, but for a tenth more that may come at once.
	// Those that are late by more than a minute get half of it at most. The
	// default, for 0, is 50, what Teams takes from a bot for one tenant;
	// negative means any number.
	MessagesPerSecond float64

	// Render returns what the user is told for a text of the policy, such as a
	// card or a translation. The empty activity means nothing. The default, for
	// nil, is a message of the text.
	Render func(ctx context.Context, turn *bot.Turn, text string) schema.Activity

	// OnEnd, if not nil, is called once for each session that a rule ends, in the
	// turn that has ended it, when the cleared state is stored. It is for what the
	// bot keeps in variables of its own.
	OnEnd func(ctx context.Context, turn *bot.Turn, expiry Expiry)
}

const (
	defaultProperty    = "lastAccessed"
	recordProperty     = "botlapse.session"
	defaultGrace       = 24 * time.Hour
	minArmedGrace      = time.Hour
	defaultMaxLateness = 24 * time.Hour
	defaultPerSecond   = 50
)

// Sessions carries out a policy over the conversations of a bot: in a turn, when
// somebody writes, and with Deadlines also when nobody does. It owns the record
// of each conversation.
//
// Its methods are safe for concurrent use.
type Sessions struct {
	conversation *state.Scope
	books        *state.Bookkeeping
	rules        atomic.Pointer[policy.Policy]
	private      bool            // each user of a conversation has a record
	options      SessionsOptions // with the defaults filled in

	armer *armer // nil without Deadlines, and so is
	pace  *pace

	wrapped atomic.Bool // Middleware was put around something
	checked sync.Once   // what is looked at in the first turn

	mu      sync.Mutex
	adapter *bot.Adapter // of the turns
	started bool
	closed  bool
	runner  *deadline.Runner
}

// NewSessions returns a Sessions for conversations whose state is in the scope.
// It panics if the scope is nil or has bookkeeping already, and if the rules cannot
// work: they need dialogs that there are not, or, over private conversations, what
// is known of whole conversations only.
func NewSessions(conversation *state.Scope, rules policy.Policy, opts *SessionsOptions) *Sessions {
	if conversation == nil {
		panic("middleware: Sessions of a nil scope")
	}
	s := &Sessions{conversation: conversation, private: conversation.PerUser()}
	if opts != nil {
		s.options = *opts
	}
	o := &s.options
	if o.Deadlines == nil && (o.AtMostOnce || o.MaxLateness != 0 || o.MessagesPerSecond != 0) {
		panic("middleware: Sessions with options for deadlines, but without Deadlines")
	}
	if o.Property == "" {
		o.Property = defaultProperty
	}
	if slices.Contains(o.Keep, o.Property) || slices.Contains(o.Keep, recordProperty) {
		panic("middleware: Keep names bookkeeping, which is never cleared")
	}
	o.Keep = slices.Clone(o.Keep)
	if o.IsUserInput == nil {
		o.IsUserInput = IsUserInput
	}
	if o.Render == nil {
		o.Render = message
	}
	switch {
	case o.Grace == 0:
		o.Grace = defaultGrace
	case o.Grace < 0:
		o.Grace = 0
	}
	if o.MaxLateness <= 0 {
		o.MaxLateness = defaultMaxLateness
	}
	if o.MessagesPerSecond == 0 {
		o.MessagesPerSecond = defaultPerSecond
	}
	if o.Deadlines != nil {
		o.Grace = max(o.Grace, minArmedGrace) // there must be something left to look at
		s.armer = newArmer(o.Deadlines)
		s.pace = newPace(o.MessagesPerSecond)
	}
	if err := s.check(rules); err != nil {
		panic("middleware: the policy cannot work: " + err.Error())
	}
	s.rules.Store(&rules)
	s.books = state.NewBookkeeping(conversation, o.Property, recordProperty)
	return s
}

// check returns what is wrong with a policy that this Sessions is to carry out.
func (s *Sessions) check(rules policy.Policy) error {
	var problems policy.Problems
	for _, p := range rules.Lint(policy.Env{NoDeadlines: s.options.Deadlines == nil, NoDialogs: s.options.Dialogs == nil, Private: s.private}) {
		if !p.Warning {
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// Dialogs are what Sessions wants to know of a bot's dialogs, and does with them.
// *dialog.Set implements it.
type Dialogs interface {
	// Place returns where the conversation stands, without the channel.
	Place(ctx context.Context) (policy.Place, error)

	// Question returns, at the end of a turn, what the turn did about the question
	// that waits.
	Question(ctx context.Context, turn *bot.Turn) (policy.Question, error)

	// Ask asks the open question again, for the n-th time.
	Ask(ctx context.Context, turn *bot.Turn, n int) error

	// Target returns the dialog that policy.Target stands for, "" for none.
	Target(ctx context.Context) (string, error)

	// Goto cancels all dialogs and begins the one that open.Action.Goto names. It
	// reports whether there is one.
	Goto(ctx context.Context, turn *bot.Turn, open policy.Open, data json.RawMessage) (found bool, err error)
}

// message returns a message that says text.
func message(_ context.Context, _ *bot.Turn, text string) schema.Activity {
	return schema.Activity{Type: schema.Message, Text: text}
}

// Expire clears the state of a conversation whose user was silent for timeout
// or longer, and welcomes the user back; 0 or negative means never. It is a
// Sessions with the policy [policy.Idle] and no deadlines; see
// [Sessions.Middleware]. For another text, or none, use NewSessions with a rule
// of your own. Expire panics if opts has Deadlines, because nothing would start
// them.
func Expire(conversation *state.Scope, timeout time.Duration, opts *SessionsOptions) bot.Middleware {
	if opts != nil && opts.Deadlines != nil {
		panic("middleware: Expire with Deadlines; use NewSessions, which can be started")
	}
	return NewSessions(conversation, policy.Idle(timeout), opts).Middleware
}

// Middleware surrounds a handler. It must come with [AutoSave] of the same scope
// around it, which stores what Middleware records after a turn that succeeded.
//
// Silence is measured from the arrival of one user input to the arrival of the
// next activity; activities that are no user input do not interrupt it. What is
// due is stored at once, under the version that was judged: if another replica
// was first, its state is judged anew. Then it is done. In a turn of the user's the
// turn goes on with the activity as it came, on fresh state if the session has
// ended; the handler finds out by [Expired]. A handler that fails afterwards does
// not undo it.
//
// Times are kept in steps of 100 ns, rounded up.
func (s *Sessions) Middleware(next bot.Handler) bot.Handler {
	s.wrapped.Store(true)
	return func(ctx context.Context, turn *bot.Turn) error {
		if err := s.checkWiring(ctx, turn); err != nil {
			return err
		}
		v, err := s.visit(ctx, turn)
		if err != nil || v == nil {
			return err
		}
		ctx = context.WithValue(ctx, visitKey{s}, v)
		err = v.before(ctx)
		if err == nil && v.look == nil && !v.taken {
			err = v.handle(ctx, next)
		}
		if err != nil {
			v.keepSent(ctx)
			return err
		}
		return v.after(context.WithoutCancel(ctx))
	}
}

var (
	errUnsaved      = errors.New("middleware: Sessions without AutoSave of its scope around it: list AutoSave before it, with the same *state.Scope")
	errOtherAdapter = errors.New("middleware: Sessions in a turn of another adapter than the one it was started with: make one for each adapter")
)

// checkWiring returns what is wrong with the way in which the Sessions is wired up.
func (s *Sessions) checkWiring(ctx context.Context, turn *bot.Turn) error {
	if !isSaved(ctx, s.conversation) {
		return errUnsaved
	}
	if s.options.Deadlines != nil && !s.isOf(turn.Adapter()) {
		return errOtherAdapter
	}
	s.checked.Do(func() {
		for _, name := range s.options.Keep {
			if !s.conversation.HasProperty(name) {
				turn.Logger().WarnContext(ctx, "Keep has a name that no property of the scope has", "name", name)
			}
		}
		if s.options.Deadlines != nil && !s.isStarted() {
			turn.Logger().WarnContext(ctx, "the Sessions was not started: until it is, nobody looks at silent conversations")
		}
	})
	return nil
}

// isOf reports whether the turns of the adapter are those of the Sessions.
func (s *Sessions) isOf(adapter *bot.Adapter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.adapter == nil {
		s.adapter = adapter
	}
	return s.adapter == adapter
}

func (s *Sessions) isStarted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// An Expiry tells how a session ended by silence.
type Expiry struct {
	Rule         string        // the line of the policy that ended it
	LastAccessed time.Time     // the last user input before it; zero if there was none
	Timeout      time.Duration // the limit that was reached
	Idle         time.Duration // how long the user was silent when this turn arrived
	At           time.Time     // when the limit was reached
}

// expiryKey is the key under which a turn holds its Expiry.
type expiryKey struct{}

// Expired reports whether a rule has ended the session, in this turn or since the
// last user input, and how.
func Expired(turn *bot.Turn) (Expiry, bool) {
	expiry, ok := turn.Value(expiryKey{}).(Expiry)
	return expiry, ok
}

// roleBot is the role of an account that is no user.
const roleBot schema.RoleTypes = "bot"

// IsUserInput reports whether a turn's activity is a message or an invoke that
// did not come from a bot.
func IsUserInput(turn *bot.Turn) bool {
	a := &turn.Activity
	if a.From.Role == roleBot || a.From.ID != "" && a.From.ID == a.Recipient.ID {
		return false
	}
	return a.Type == schema.Message || a.Type == schema.Invoke
}

// Start starts to look at conversations whose deadlines come due, in proactive
// turns of the adapter, until Close; without Deadlines there is nothing to start. It
// panics if Middleware is around no handler yet, or around those of another
// adapter, after Close, and if it is called again.
func (s *Sessions) Start(adapter *bot.Adapter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case adapter == nil:
		panic("middleware: Sessions started with a nil adapter")
	case s.closed:
		panic("middleware: Sessions started after Close")
	case s.started:
		panic("middleware: Sessions started twice: make one for each adapter")
	case !s.wrapped.Load():
		panic("middleware: Sessions started before its Middleware was given to an adapter")
	case s.adapter != nil && s.adapter != adapter:
		panic("middleware: Sessions started with another adapter than the one whose turns it is in")
	}
	s.started, s.adapter = true, adapter
	if s.options.Deadlines != nil {
		s.runner = deadline.Run(s.options.Deadlines, s.lookAt, &deadline.Options{Logger: adapter.Logger})
		s.armer.runner.Store(s.runner)
	}
}

// Close stops looking, and waits for the turns that run. If ctx is done first,
// their contexts end, and Close returns the error of ctx without waiting any longer.
// Close can be called again to go on waiting. It does nothing before Start.
func (s *Sessions) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	runner := s.runner
	s.mu.Unlock()
	var errs []error
	if runner != nil {
		errs = append(errs, runner.Close(ctx))
	}
	if s.armer != nil {
		errs = append(errs, s.armer.close(ctx))
	}
	return errors.Join(errs...)
}
