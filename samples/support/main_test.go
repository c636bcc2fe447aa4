package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/deadline"
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

func program(open opener) bottest.Program {
	return func(base core.Adapter) (http.Handler, func(context.Context) error) {
		storage, store, opened := open()
		p := base.(*bottest.Process)
		d, err := newBot(base, p.Storage(storage), p.Deadlines(store))
		if err != nil {
			panic(err)
		}
		d.sessions.Start(d.adapter)
		return d.adapter.HTTPHandler(d.handle), func(ctx context.Context) error {
			return errors.Join(d.sessions.Close(ctx), d.adapter.Close(ctx), opened.Close())
		}
	}
}

// TestTheStoryOfTheHelpDesk plays the transcripts, each with new stores.
func TestTheStoryOfTheHelpDesk(t *testing.T) {
	transcripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(transcripts) == 0 {
		t.Fatal(transcripts, err)
	}
	for name, in := range map[string]func(*testing.T) opener{"memory": inMemory, "bolt": inFile, "cosmos": inCosmos} {
		t.Run(name, func(t *testing.T) {
			for _, transcript := range transcripts {
				bottest.Play(t, transcript, program(in(t)))
			}
		})
	}
}
