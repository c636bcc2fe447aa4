// Command cosmos is the multi-turn bot with its state in Azure Cosmos DB: the conversation state in a container with a time to live, the user state in one without.
//
// It takes CosmosDbEndpoint, CosmosDbAuthKey and CosmosDbDatabaseId from the
// environment or from .env. "botlapse cosmos emulate" prints some to try it
// with.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/joho/godotenv"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/internal/userprofile"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// timeout is how long a user may be silent, and grace how much longer the
// conversation is stored.
const (
	timeout = 30 * time.Second
	grace   = time.Hour
)

func main() {
	godotenv.Load() // there need not be a file
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	account, err := cosmos.NewAccount(os.Getenv("CosmosDbEndpoint"), &cosmos.AccountOptions{Key: os.Getenv("CosmosDbAuthKey")})
	if err == nil {
		err = run(ctx, account, os.Getenv("CosmosDbDatabaseId"), "127.0.0.1:3978", os.Stdout)
		account.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// newBot returns the bot over base: its adapter and its handler.
func newBot(base core.Adapter, account *cosmos.Account, database string) (*bot.Adapter, bot.Handler) {
	conversation := state.NewConversation(cosmos.New(account, database, "conversations", nil))
	user := state.NewUser(cosmos.New(account, database, "users", nil))
	adapter := bot.NewAdapter(base,
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, timeout, &middleware.SessionsOptions{Grace: grace}),
	)
	return adapter, userprofile.New(conversation, user).Handler(userprofile.Root)
}

// run creates the containers, and serves the bot on address until ctx is done.
func run(ctx context.Context, account *cosmos.Account, database, address string, out io.Writer) error {
	containers := &cosmos.Initializer{
		Account:        account,
		Database:       database,
		Conversation:   "conversations",
		User:           "users",
		TimeToLive:     timeout + grace,
		CreateDatabase: true,
	}
	if err := containers.Run(ctx); err != nil {
		return err
	}
	base, err := connector.New(nil)
	if err != nil {
		return err
	}
	defer base.Close()
	adapter, handle := newBot(base, account, database)
	mux := http.NewServeMux()
	mux.Handle("/api/messages", adapter.HTTPHandler(handle))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "listening on http://%s/api/messages\n", listener.Addr())
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	err = errors.Join(server.Shutdown(stop), adapter.Close(stop))
	<-failed
	return err
}
