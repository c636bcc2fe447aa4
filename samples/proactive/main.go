// Command proactive is a bot that takes an order, says goodbye after a minute of silence, and offers to resume.
//
// It keeps state and deadlines in the file proactive.db: stop it and start it
// again, and who has fallen silent meanwhile hears from it at once.
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
	"strings"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

const timeout = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, "proactive.db", "127.0.0.1:3978", os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// What the bot says after a minute of silence, and to who comes back and could not
// be told that.
const (
	goodbye = `I have to go. Say "resume" to go on with your order, or anything else to begin a new one.`
	welcome = `Welcome back! Say "resume" to go on with your order.`
)

// An orderBot takes orders: each message is an item.
type orderBot struct {
	adapter  *bot.Adapter
	sessions *middleware.Sessions
	order    *state.Property[[]string] // of the conversation
	saved    *state.Property[[]string] // of the user: the order that was given up last
}

func newBot(base core.Adapter, storage state.Storage, deadlines deadline.Store, idle policy.Action) (*orderBot, error) {
	rules, err := policy.New(policy.Rule{Name: "idle", After: timeout, Do: idle})
	if err != nil {
		return nil, err
	}
	conversation, user := state.NewConversation(storage), state.NewUser(storage)
	b := &orderBot{
		sessions: middleware.NewSessions(conversation, rules, &middleware.SessionsOptions{Deadlines: deadlines}),
		order:    state.NewProperty[[]string](conversation, "order"),
		saved:    state.NewProperty[[]string](user, "saved"),
	}
	b.adapter = bot.NewAdapter(base, middleware.AutoSave(conversation, user), b.sessions.Middleware)
	return b, nil
}

// handle is the bot's handler. What is ordered is kept in the user state too,
// which does not expire.
func (b *orderBot) handle(ctx context.Context, turn *bot.Turn) error {
	if turn.Activity.Type != schema.Message {
		return nil
	}
	text := strings.TrimSpace(turn.Activity.Text)
	order, err := b.order.GetOr(ctx, nil)
	if err != nil {
		return err
	}
	switch {
	case strings.EqualFold(text, "resume") && len(order) == 0:
		if order, err = b.saved.GetOr(ctx, nil); err != nil {
			return err
		}
	case strings.EqualFold(text, "done"):
		if _, err := turn.SendText(ctx, "Ordered: "+strings.Join(order, ", ")+"."); err != nil {
			return err
		}
		return errors.Join(b.order.Delete(ctx), b.saved.Delete(ctx))
	default:
		order = append(order, text)
	}
	if _, err := turn.SendText(ctx, fmt.Sprintf(`Your order: %s. What else? Say "done" when that is all.`, strings.Join(order, ", "))); err != nil {
		return err
	}
	return errors.Join(b.order.Set(ctx, order), b.saved.Set(ctx, order))
}

// run serves the bot on address until ctx is done.
func run(ctx context.Context, file, address string, out io.Writer) error {
	storage, err := bolt.Open(file)
	if err != nil {
		return err
	}
	defer storage.Close()
	base, err := connector.New(nil)
	if err != nil {
		return err
	}
	defer base.Close()
	b, err := newBot(base, storage, storage.Deadlines("bot"), policy.Action{End: true, Say: goodbye, OnReturn: welcome})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/messages", b.adapter.HTTPHandler(b.handle))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "listening on http://%s/api/messages\n", listener.Addr())
	b.sessions.Start(b.adapter)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return errors.Join(err, b.sessions.Close(context.WithoutCancel(ctx)))
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	err = errors.Join(server.Shutdown(stop), b.sessions.Close(stop), b.adapter.Close(stop))
	<-failed
	return err
}
