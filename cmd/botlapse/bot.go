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

// A runningBot is the multi-turn bot over a base.
type runningBot struct {
	adapter  *bot.Adapter
	handle   bot.Handler
	sessions *middleware.Sessions
	config   *config
	logger   *slog.Logger
}

func newBot(base core.Adapter, s storages, c *config, logger *slog.Logger) (*runningBot, error) {
	rules, err := c.rules()
	if err != nil {
		return nil, err
	}
	c.nameInLogs()
	c.warnOfRedeliver(logger)
	c.warnOfPolicy(logger)
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
	return &runningBot{adapter, dialogs.Handler(userprofile.Root), sessions, c, logger}, nil
}

// start starts to look at silent conversations, if the bot is to do that, and returns
// what ends it.
func (b *runningBot) start() (stop func(context.Context) error) {
	b.sessions.Start(b.adapter)
	ctx, cancel := context.WithCancel(context.Background())
	var beside sync.WaitGroup
	if b.config.policyFile != "" {
		beside.Go(func() { b.config.reloadPolicy(ctx, b.sessions, b.logger) })
	}
	if b.adapter.AppID() != "" && b.config.proactive() {
		beside.Go(func() { b.warnOfForeign(ctx) })
	}
	return func(stopping context.Context) error {
		cancel()
		beside.Wait()
		return b.sessions.Close(stopping)
	}
}

// warnOfForeign says how many conversations will not be told anything by
// themselves, because others than channels may have made them up.
func (b *runningBot) warnOfForeign(ctx context.Context) {
	switch n, err := b.sessions.Foreign(ctx); {
	case ctx.Err() != nil:
	case err != nil:
		b.logger.Warn("deadlines cannot be counted", "error", err)
	case n > 0:
		b.logger.Warn("there are deadlines whose conversation reference did not come with a token of MicrosoftAppId: nothing will be sent to them", "deadlines", n)
	}
}
