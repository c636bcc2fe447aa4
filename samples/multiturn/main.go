// Command multiturn is Microsoft's multi-turn prompt sample: it asks for a
// user's profile, keeps it in user state, and starts over after 30 seconds of
// silence.
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

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/internal/userprofile"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, "127.0.0.1:3978", os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "multiturn:", err)
		os.Exit(1)
	}
}

// newBot returns the bot over base: its adapter and its handler.
func newBot(base core.Adapter) (*bot.Adapter, bot.Handler) {
	storage := state.NewMemory()
	conversation, user := state.NewConversation(storage), state.NewUser(storage)
	adapter := bot.NewAdapter(base,
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, 30*time.Second, nil),
	)
	return adapter, userprofile.New(conversation, user).Handler(userprofile.Root)
}

// run serves the bot on address until ctx is done.
func run(ctx context.Context, address string, out io.Writer) error {
	base, err := connector.New(nil)
	if err != nil {
		return err
	}
	defer base.Close()
	adapter, handle := newBot(base)
	mux := http.NewServeMux()
	mux.Handle("/api/messages", adapter.HTTPHandler(handle))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}

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
