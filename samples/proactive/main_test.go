package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

// An opener opens what processes leave to each other.
type opener func() (state.Storage, deadline.Store, io.Closer)

var openers = map[string]func(*testing.T) opener{"memory": inMemory, "bolt": inFile}

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

// program returns the bot, which does what idle says after a minute of silence.
func program(open opener, idle policy.Action) bottest.Program {
	return func(base core.Adapter) (http.Handler, func(context.Context) error) {
		storage, store, closer := open()
		p := base.(*bottest.Process)
		b, err := newBot(base, p.Storage(storage), p.Deadlines(store), idle)
		if err != nil {
			panic(err)
		}
		b.sessions.Start(b.adapter)
		return b.adapter.HTTPHandler(b.handle), func(ctx context.Context) error {
			return errors.Join(b.sessions.Close(ctx), b.adapter.Close(ctx), closer.Close())
		}
	}
}

var (
	aloud    = policy.Action{End: true, Say: goodbye, OnReturn: welcome}
	silently = policy.Action{End: true, OnReturn: "Welcome back!  Let's start over from the beginning."}
)

// TestTheStoryOfDeadlines plays the transcripts, each with new stores.
func TestTheStoryOfDeadlines(t *testing.T) {
	for name, in := range openers {
		t.Run(name, func(t *testing.T) {
			for transcript, idle := range map[string]policy.Action{
				"goodbye.txt": aloud,
				"intime.txt":  aloud,
				"refuses.txt": aloud,
				"restart.txt": aloud,
				"silent.txt":  silently,
			} {
				bottest.Play(t, filepath.Join("testdata", transcript), program(in(t), idle))
			}
		})
	}
}

const (
	ordered = `Your order: tea. What else? Say "done" when that is all.`
)

func TestTheBotSaysGoodbyeWhenTheMinuteIsOverAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bottest.New(t, program(inMemory(t), aloud))
		c.Says("tea").Expects(ordered)
		c.Silence(timeout - time.Nanosecond).Expects()
		c.Silence(time.Nanosecond).Expects(goodbye)
	})
}

// TestOfTwoProcessesOneSaysGoodbye.
func TestOfTwoProcessesOneSaysGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := bottest.New(t, program(inMemory(t), aloud))
		one.Replica()
		one.Says("tea").Expects(ordered)
		one.Silence(time.Hour).Expects(goodbye)
	})
}

// TestAProcessMayEndAtAnyStep: the order is forgotten, and the user has heard
// goodbye at least once if they were answered, and twice at most.
func TestAProcessMayEndAtAnyStep(t *testing.T) {
	for name, in := range openers {
		t.Run(name, func(t *testing.T) {
			n := 0
			for alive := false; !alive; n++ {
				open := in(t)
				alive = true
				synctest.Test(t, func(t *testing.T) {
					c := bottest.New(t, program(open, aloud))
					c.Kill(n).Says("tea").Sent()
					c.Silence(time.Hour)
					alive = c.Alive()
					c.Restart()
					told := c.Silence(time.Hour).Sent()
					if len(told) > 2 || alive && len(told) != 1 {
						t.Errorf("of a process that ended after %d steps, the user was told %d times", n, len(told))
					}
					for _, a := range told {
						if a.Text != goodbye {
							t.Errorf("the bot said %s", a.Text)
						}
					}
					c.Says("cake").Expects(strings.Replace(ordered, "tea", "cake", 1))
					c.Says("done").Expects("Ordered: cake.")
				})
			}
			if n < 10 {
				t.Errorf("there were only %d steps", n-1)
			}
		})
	}
}

func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error)
	go func() { done <- run(ctx, filepath.Join(t.TempDir(), "state.db"), "127.0.0.1:0", in) }()
	lines := bufio.NewScanner(out)
	lines.Scan()
	resp, err := http.Post(strings.TrimPrefix(lines.Text(), "listening on "), "application/json", strings.NewReader(`{"type":"typing","channelId":"test","conversation":{"id":"c"},"from":{"id":"u"}}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("answer is %d", resp.StatusCode)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
