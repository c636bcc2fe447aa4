package main

import (
	"context"
	"log/slog"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/samples/multiturn/userprofile"
	"github.com/botlapse/botlapse/state"
)

// newBot returns the multi-turn bot over base, with its state in storage: its
// adapter and its handler.
func newBot(base core.Adapter, storage state.Storage, c *config, logger *slog.Logger) (*middleware.Adapter, middleware.Handler) {
	conversation, user := state.NewConversation(storage), state.NewUser(storage)
	adapter := middleware.NewAdapter(base,
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, c.expireAfter, &middleware.ExpireOptions{
			Notice: middleware.NoticeText(c.expireMessage),
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
