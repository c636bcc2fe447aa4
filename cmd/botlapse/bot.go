package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/samples/multiturn/userprofile"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

// storages are where the bot keeps its state.
type storages struct{ conversation, user state.Storage }

// openLocal opens the state file, if there is to be one. The storages must be
// closed.
func (c *config) openLocal() (storages, io.Closer, error) {
	if c.stateFile == "" {
		m := state.NewMemory()
		return storages{m, m}, io.NopCloser(nil), nil
	}
	b, err := bolt.Open(c.stateFile)
	if err != nil {
		return storages{}, nil, fmt.Errorf("STATE_FILE is %q: %w", c.stateFile, err)
	}
	return storages{b, b}, b, nil
}

// newBot returns the multi-turn bot over base: its adapter and its handler.
func newBot(base core.Adapter, s storages, c *config, logger *slog.Logger) (*middleware.Adapter, middleware.Handler) {
	conversation, user := state.NewConversation(s.conversation), state.NewUser(s.user)
	conversation.KeyForm, user.KeyForm = c.keyForm, c.keyForm
	adapter := middleware.NewAdapter(base,
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, c.expireAfter, &middleware.ExpireOptions{
			Notice: middleware.NoticeText(c.expireMessage),
			Grace:  c.grace(),
		}),
	)
	adapter.Logger = logger
	adapter.MaxTurns = c.maxTurns
	bot := userprofile.New(conversation, user)
	bot.Dialogs.Report = func(ctx context.Context, err error) {
		logger.WarnContext(ctx, "the dialog begins anew", "error", err)
	}
	return adapter, bot.Handle
}
