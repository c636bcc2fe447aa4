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

// program returns the bot, with the runner that expire returns.
func program(open opener, expire func(*adapter) *deadline.Runner) bottest.Program {
	return func(base core.Adapter) (http.Handler, func(context.Context) error) {
		storage, store, closer := open()
		p := base.(*bottest.Process)
		b := newBot(base, p.Storage(storage), p.Deadlines(store))
		runner := expire(b)
		return b.adapter.HTTPHandler(b.handle), func(ctx context.Context) error {
			return errors.Join(runner.Close(ctx), b.adapter.Close(ctx), closer.Close())
		}
	}
}

func silently(b *adapter) *deadline.Runner { return deadline.NewRunner(b.deadlines, b.adapter, nil) }

// TestTheStoryOfDeadlines plays the transcripts, each with new stores.
func TestTheStoryOfDeadlines(t *testing.T) {
	for name, in := range openers {
		t.Run(name, func(t *testing.T) {
			for transcript, expire := range map[string]func(*adapter) *deadline.Runner{
				"goodbye.txt": (*adapter).expire,
				"intime.txt":  (*adapter).expire,
				"refuses.txt": (*adapter).expire,
				"restart.txt": (*adapter).expire,
				"silent.txt":  silently,
			} {
				bottest.Play(t, filepath.Join("testdata", transcript), program(in(t), expire))
			}
		})
	}
}

const (
	goodbye = `I have to go. Say "resume" to go on with your order, or anything else to begin a new one.`
	ordered = `Your order: tea. What else? Say "done" when that is all.`
)

func TestTheBotSaysGoodbyeWhenTheMinuteIsOverAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bottest.New(t, program(inMemory(t), (*adapter).expire))
		c.Says("tea").Expects(ordered)
		c.Silence(timeout - time.Nanosecond).Expects()
		c.Silence(time.Nanosecond).Expects(goodbye)
	})
}

// TestOfTwoProcessesOneSaysGoodbye.
func TestOfTwoProcessesOneSaysGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := bottest.New(t, program(inMemory(t), (*adapter).expire))
		one.Replica()
		one.Says("tea").Expects(ordered)
		one.Silence(time.Hour).Expects(goodbye)
	})
}

// TestAProcessMayEndAtAnyStep: the order is forgotten, and the user has heard
// goodbye once at most, and once if the process did not end.
func TestAProcessMayEndAtAnyStep(t *testing.T) {
	for name, in := range openers {
		t.Run(name, func(t *testing.T) {
			n := 0
			for alive := false; !alive; n++ {
				open := in(t)
				alive = true
				synctest.Test(t, func(t *testing.T) {
					c := bottest.New(t, program(open, (*adapter).expire))
					c.Kill(n).Says("tea").Sent()
					c.Silence(time.Hour)
					alive = c.Alive()
					c.Restart()
					told := c.Silence(time.Hour).Sent()
					if len(told) > 1 || alive && len(told) == 0 {
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
