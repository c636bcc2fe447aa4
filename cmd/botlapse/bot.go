package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/internal/userprofile"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
	"github.com/botlapse/botlapse/state/metered"
)

// queue is the name of the bot's queue in STATE_FILE.
const queue = "bot"

// storages are where the bot keeps its state, and its deadlines if it has any.
type storages struct {
	conversation, user state.Storage
	deadlines          deadline.Store
}

// reads returns one point read of each store: what costs least, and shows that the
// store answers.
func (s *storages) reads() []func(context.Context) error {
	of := func(storage state.Storage) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := storage.Read(ctx, []string{"readyz"})
			return err
		}
	}
	reads := []func(context.Context) error{of(s.conversation), of(s.user)}
	if d, ok := s.deadlines.(*cosmos.Deadlines); ok { // others are in this process
		reads = append(reads, d.Ready)
	}
	return reads
}

// openLocal opens the state file, if there is to be one. The storages must be
// closed.
func (c *config) openLocal() (storages, io.Closer, error) {
	if c.stateFile == "" {
		m := state.NewMemory()
		s := storages{conversation: m, user: m}
		if c.proactive() {
			s.deadlines = deadline.NewMemory()
		}
		return s, io.NopCloser(nil), nil
	}
	b, err := bolt.Open(c.stateFile)
	if err != nil {
		return storages{}, nil, fmt.Errorf("STATE_FILE is %q: %w", c.stateFile, err)
	}
	s := storages{conversation: b, user: b}
	if c.proactive() {
		s.deadlines = b.Deadlines(queue)
	}
	return s, b, nil
}

// rules returns the policy that the variables stand for.
func (c *config) rules() (policy.Policy, error) {
	idle := policy.Rule{Name: "idle", After: c.expireAfter, Do: policy.Action{End: true, OnReturn: c.expireMessage}}
	if c.proactive() {
		idle.Do.Say = c.expireProactiveMessage
	}
	return policy.New(idle)
}

// newBot returns the multi-turn bot over base: its adapter and its handler. The
// function that it returns starts to look at silent conversations, if the bot
// is to do that, and returns what ends it.
func newBot(base core.Adapter, s storages, c *config, logger *slog.Logger) (*bot.Adapter, bot.Handler, func() (stop func(context.Context) error), error) {
	rules, err := c.rules()
	if err != nil {
		return nil, nil, nil, err
	}
	conversation := state.NewConversation(metered.New(s.conversation, "conversation"))
	user := state.NewUser(metered.New(s.user, "user"))
	conversation.KeyForm, user.KeyForm = c.keyForm, c.keyForm
	dialogs := userprofile.New(conversation, user)
	dialogs.Report = func(ctx context.Context, err error) {
		logger.WarnContext(ctx, "the dialog begins anew", "error", err)
	}
	options := &middleware.SessionsOptions{Grace: c.grace(), Dialogs: dialogs}
	if s.deadlines != nil {
		options.Deadlines, options.AtMostOnce, options.MaxLateness = s.deadlines, c.atMostOnce, time.Hour
	}
	sessions := middleware.NewSessions(conversation, rules, options)
	adapter := bot.NewAdapter(base, middleware.AutoSave(conversation, user), sessions.Middleware)
	adapter.Logger = logger
	adapter.MaxTurns = c.maxTurns
	return adapter, dialogs.Handler(userprofile.Root), func() func(context.Context) error {
		if s.deadlines == nil {
			return func(context.Context) error { return nil }
		}
		sessions.Start(adapter)
		stopCounting := warnOfForeign(sessions, adapter, logger)
		return func(ctx context.Context) error {
			stopCounting()
			return sessions.Close(ctx)
		}
	}, nil
}

// warnOfForeign says how many conversations will not be told anything by
// themselves, because others than channels may have made them up.
func warnOfForeign(sessions *middleware.Sessions, adapter *bot.Adapter, logger *slog.Logger) (stop func()) {
	if adapter.AppID() == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var counting sync.WaitGroup
	counting.Go(func() {
		switch n, err := sessions.Foreign(ctx); {
		case ctx.Err() != nil:
		case err != nil:
			logger.Warn("deadlines cannot be counted", "error", err)
		case n > 0:
			logger.Warn("there are deadlines whose conversation reference did not come with a token of MicrosoftAppId: nothing will be sent to them", "deadlines", n)
		}
	})
	return func() {
		cancel()
		counting.Wait()
	}
}
