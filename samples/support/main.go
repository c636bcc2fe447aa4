// Command support is a help desk: it reminds a user who falls silent twice before it
// says goodbye, hands the conversation to a person when the user says "agent", and
// keeps a conversation that is "solved" open for five minutes.
//
// It keeps state and deadlines in the file support.db. A hub answers the event
// handoff.initiate by events called handoff.status, as Bot Framework has it.
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

// rules are what happens when the user is silent, and who answers meanwhile.
var rules = []policy.Rule{
	{Name: "idle", When: policy.When{By: "bot"}, After: 10 * time.Minute, Do: policy.Action{Say: "Are you still there?"}, Then: []policy.Step{
		{After: 5 * time.Minute, Do: policy.Action{Say: "I will close this conversation in five minutes."}},
		{After: 5 * time.Minute, Do: policy.Action{End: true, Say: "Goodbye.", OnReturn: "Welcome back. Your last conversation was closed."}},
	}},
	{Name: "waiting", When: policy.When{By: "nobody"}, After: 2 * time.Minute, Times: 3, Do: policy.Action{Say: "Somebody will be with you soon."}},
	{Name: "with an agent", When: policy.When{By: "agent"}, After: 24 * time.Hour, Do: policy.Action{End: true, Say: "Your conversation with our agent was closed."}},
	{Name: "kept", Since: policy.Resolved, After: 5 * time.Minute, Do: policy.Action{End: true, Say: "Thank you. The case is closed."}},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, "support.db", "127.0.0.1:3978", os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A helpDesk takes down what is wrong.
type helpDesk struct {
	adapter  *bot.Adapter
	sessions *middleware.Sessions
	problem  *state.Property[string] // of the conversation
}

func newBot(base core.Adapter, storage state.Storage, deadlines deadline.Store) (*helpDesk, error) {
	p, err := policy.New(rules...)
	if err != nil {
		return nil, err
	}
	conversation := state.NewConversation(storage)
	d := &helpDesk{
		sessions: middleware.NewSessions(conversation, p, &middleware.SessionsOptions{Deadlines: deadlines}),
		problem:  state.NewProperty[string](conversation, "problem"),
	}
	d.adapter = bot.NewAdapter(base, middleware.AutoSave(conversation), d.sessions.Middleware)
	return d, nil
}

// handle is the bot's handler. While a person answers, the bot says nothing.
func (d *helpDesk) handle(ctx context.Context, turn *bot.Turn) error {
	if turn.Activity.Type != schema.Message {
		return nil
	}
	if by, err := d.sessions.By(ctx); err != nil || by != "bot" {
		return err
	}
	text := strings.TrimSpace(turn.Activity.Text)
	problem, known, err := d.problem.Get(ctx)
	if err != nil {
		return err
	}
	switch {
	case strings.EqualFold(text, "agent"):
		_, err := turn.Send(ctx, schema.Activity{Text: "I will get somebody."}, schema.Activity{
			Type: schema.Event, Name: "handoff.initiate", Value: map[string]any{"problem": problem},
		})
		return err
	case strings.EqualFold(text, "solved"):
		if _, err := turn.SendText(ctx, "Glad to hear it. Write within five minutes if there is more."); err != nil {
			return err
		}
		return d.sessions.Resolve(ctx)
	case !known:
		if err := d.problem.Set(ctx, text); err != nil {
			return err
		}
		_, err := turn.SendText(ctx, `I have written that down. Say "agent" for a person, or "solved".`)
		return err
	}
	_, err = turn.SendText(ctx, fmt.Sprintf("About %q: say \"agent\" for a person, or \"solved\".", problem))
	return err
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
	b, err := newBot(base, storage, storage.Deadlines("bot"))
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
