package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

// An opener opens what processes leave to each other.
type opener func() (state.Storage, deadline.Store, io.Closer)

func inMemory(*testing.T) opener {
	storage, store := state.NewMemory(), deadline.NewMemory()
	return func() (state.Storage, deadline.Store, io.Closer) { return storage, store, io.NopCloser(nil) }
}

func inFile(t *testing.T) opener {
	path := filepath.Join(t.TempDir(), "state.db")
	return func() (state.Storage, deadline.Store, io.Closer) {
		storage, err := bolt.Open(path)
		if err != nil {
			panic(err)
		}
		return storage, storage.Deadlines("bot"), storage
	}
}

type closer func()

func (c closer) Close() error { c(); return nil }

func inCosmos(*testing.T) opener {
	server := cosmostest.New()
	return func() (state.Storage, deadline.Store, io.Closer) {
		account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: server})
		if err != nil {
			panic(err)
		}
		containers := &cosmos.Initializer{Account: account, Database: "bot", Conversation: "conversations", User: "users", Deadlines: "deadlines", TimeToLive: -1, CreateDatabase: true}
		if err := containers.Run(context.Background()); err != nil {
			panic(err)
		}
		return cosmos.New(account, "bot", "conversations", nil), cosmos.NewDeadlines(account, "bot", "deadlines", nil), closer(account.Close)
	}
}

// call is a bot that asks for an account number and a name, with patience.
func call(open opener, rules ...policy.Rule) bottest.Program {
	return func(base core.Adapter) (http.Handler, func(context.Context) error) {
		storage, store, opened := open()
		p := base.(*bottest.Process)
		conversation := state.NewConversation(p.Storage(storage))
		dialogs := dialog.NewSet(conversation,
			dialog.NewWaterfall("order",
				func(ctx context.Context, step *dialog.Step) error {
					return step.Prompt(ctx, "number", dialog.PromptOptions{
						Prompt:      dialog.Text("What is your account number?"),
						RetryPrompt: dialog.Text("A number, please."),
						OnSilence:   []*schema.Activity{dialog.Text("Please say your account number."), dialog.Text("I still need your account number.")},
						Patience:    []time.Duration{5 * time.Second, 8 * time.Second},
					})
				},
				dialog.Then(func(ctx context.Context, step *dialog.Step, number float64) error {
					return step.Prompt(ctx, "name", dialog.PromptOptions{Prompt: dialog.Text("And your name?"), OnTimeout: "no name"})
				}),
				dialog.Then(func(ctx context.Context, step *dialog.Step, name string) error {
					step.Say(ctx, "Thank you, "+name+".")
					return step.End(ctx, nil)
				}),
			),
			dialog.NewWaterfall("timeout",
				func(ctx context.Context, step *dialog.Step) error {
					var told dialog.Timeout
					if err := step.Options(&told); err != nil {
						return err
					}
					step.Say(ctx, "Nobody answered "+strings.Join(told.Path, " / ")+".")
					return step.Prompt(ctx, "later", dialog.PromptOptions{Prompt: dialog.Text("Shall somebody call you?")})
				},
				dialog.Then(func(ctx context.Context, step *dialog.Step, yes bool) error {
					step.Say(ctx, map[bool]string{true: "We will.", false: "As you like."}[yes])
					return step.End(ctx, nil)
				}),
			),
			dialog.NewWaterfall("no name",
				func(ctx context.Context, step *dialog.Step) error {
					step.Say(ctx, "We go on without a name.")
					return step.End(ctx, nil)
				},
			),
			dialog.NewNumberPrompt("number", nil),
			dialog.NewTextPrompt("name", nil),
			dialog.NewConfirmPrompt("later", nil),
		)
		checked, err := policy.New(rules...)
		if err != nil {
			panic(err)
		}
		sessions := middleware.NewSessions(conversation, checked, &middleware.SessionsOptions{Deadlines: p.Deadlines(store), Dialogs: dialogs})
		adapter := bot.NewAdapter(base, middleware.AutoSave(conversation), sessions.Middleware)
		sessions.Start(adapter)
		return adapter.HTTPHandler(dialogs.Handler("order")), func(ctx context.Context) error {
			return errors.Join(sessions.Close(ctx), adapter.Close(ctx), opened.Close())
		}
	}
}

// TestTheStoriesOfQuestionsThatNobodyAnswers plays the transcripts, each under its
// policy and with new stores.
func TestTheStoriesOfQuestionsThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	ask := policy.Rule{Name: "no-input", Since: policy.Asked, After: 20 * time.Second, Times: 2, Do: policy.Action{Ask: true}}
	then := func(do policy.Action) policy.Rule {
		rule := ask
		rule.Then = []policy.Step{{Do: do}}
		return rule
	}
	stories := map[string][]policy.Rule{
		"hangup.txt":   {then(policy.Action{End: true, Close: true, Say: "I did not hear you. Goodbye."})},
		"escalate.txt": {then(policy.Action{Goto: policy.Target})},
		"killed.txt":   {then(policy.Action{End: true, Close: true, Say: "I did not hear you. Goodbye."})},
		// Botpress has two clocks: a soft one that goes to the target, and a hard one
		// that clears.
		"botpress.txt": {
			{Name: "context", Since: policy.Asked, After: 25 * time.Minute, Do: policy.Action{Goto: policy.Target}},
			{Name: "session", After: 30 * time.Minute, Do: policy.Action{End: true}},
		},
	}
	for name, in := range map[string]func(*testing.T) opener{"memory": inMemory, "bolt": inFile, "cosmos": inCosmos} {
		t.Run(name, func(t *testing.T) {
			for transcript, rules := range stories {
				bottest.Play(t, filepath.Join("testdata", transcript), call(in(t), rules...))
			}
		})
	}
}

// counting is a bot that counts messages, under the policy of a document.
func counting(t *testing.T, open opener, document string) bottest.Program {
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return func(base core.Adapter) (http.Handler, func(context.Context) error) {
		storage, store, opened := open()
		p := base.(*bottest.Process)
		conversation := state.NewConversation(p.Storage(storage))
		count := state.NewProperty[int](conversation, "count")
		sessions := middleware.NewSessions(conversation, rules, &middleware.SessionsOptions{Deadlines: p.Deadlines(store)})
		adapter := bot.NewAdapter(base, middleware.AutoSave(conversation), sessions.Middleware)
		sessions.Start(adapter)
		handler := func(ctx context.Context, turn *bot.Turn) error {
			n, err := count.GetOr(ctx, 0)
			if err != nil {
				return err
			}
			if _, err := turn.SendText(ctx, fmt.Sprint("message ", n+1)); err != nil {
				return err
			}
			return count.Set(ctx, n+1)
		}
		return adapter.HTTPHandler(handler), func(ctx context.Context) error {
			return errors.Join(sessions.Close(ctx), adapter.Close(ctx), opened.Close())
		}
	}
}

// TestTheStoriesOfPolicies plays a transcript for each document.
func TestTheStoriesOfPolicies(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob("testdata/policies/*.json")
	if err != nil || len(documents) == 0 {
		t.Fatal(documents, err)
	}
	for name, in := range map[string]func(*testing.T) opener{"memory": inMemory, "bolt": inFile, "cosmos": inCosmos} {
		t.Run(name, func(t *testing.T) {
			for _, document := range documents {
				bottest.Play(t, strings.TrimSuffix(document, ".json")+".txt", counting(t, in(t), document))
			}
		})
	}
}
