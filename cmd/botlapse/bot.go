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

// newBot returns the multi-turn bot over base: its adapter and its handler. The
// function that it returns starts to expire silent conversations, if the bot
// is to do that, and returns what ends it.
func newBot(base core.Adapter, s storages, c *config, logger *slog.Logger) (*bot.Adapter, bot.Handler, func() (stop func(context.Context) error)) {
	conversation := state.NewConversation(metered.New(s.conversation, "conversation"))
	user := state.NewUser(metered.New(s.user, "user"))
	conversation.KeyForm, user.KeyForm = c.keyForm, c.keyForm
	var deadlines *deadline.Deadlines
	var arm func(context.Context, *bot.Turn, time.Time) error
	if s.deadlines != nil {
		deadlines = deadline.New(s.deadlines, conversation)
		arm = deadlines.Arm
	}
	adapter := bot.NewAdapter(base,
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, c.expireAfter, &middleware.ExpireOptions{
			Notice: middleware.NoticeText(c.expireMessage),
			Grace:  c.grace(),
			Arm:    arm,
		}),
	)
	adapter.Logger = logger
	adapter.MaxTurns = c.maxTurns
	dialogs := userprofile.New(conversation, user)
	dialogs.Report = func(ctx context.Context, err error) {
		logger.WarnContext(ctx, "the dialog begins anew", "error", err)
	}
	return adapter, dialogs.Handler(userprofile.Root), func() func(context.Context) error {
		if deadlines == nil {
			return func(context.Context) error { return nil }
		}
		runner := deadline.NewRunner(deadlines, adapter, &deadline.Options{
			Message:     deadline.Text(c.expireProactiveMessage),
			MaxLateness: time.Hour,
			Redeliver:   c.expireProactiveRedeliver,
			Logger:      logger,
		})
		stopCounting := warnOfForeign(runner, adapter, logger)
		return func(ctx context.Context) error {
			stopCounting()
			return runner.Close(ctx)
		}
	}
}

// warnOfForeign says how many conversations will not be told of their expiry,
// because others than channels may have made them up.
func warnOfForeign(runner *deadline.Runner, adapter *bot.Adapter, logger *slog.Logger) (stop func()) {
	if adapter.AppID() == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var counting sync.WaitGroup
	counting.Go(func() {
		switch n, err := runner.Foreign(ctx); {
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
