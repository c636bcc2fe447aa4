package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

func newAccount(t testing.TB, server *cosmostest.Server) *cosmos.Account {
	account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	return account
}

func newServer(t testing.TB) *cosmostest.Server {
	server := cosmostest.New()
	for _, definition := range []string{
		`{"id":"conversations","partitionKey":{"paths":["/id"]},"defaultTtl":3630}`,
		`{"id":"users","partitionKey":{"paths":["/id"]}}`,
	} {
		if err := server.CreateContainer("bot", definition); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

// TestTheStorageExpiresWhatTheTimeoutHasNot has a user come back after the
// timeout, after the time to live, and find their profile all the same.
func TestTheStorageExpiresWhatTheTimeoutHasNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t)
		c := bottest.New(t, func(base core.Adapter) (http.Handler, func(context.Context) error) {
			adapter, handle := newBot(base, newAccount(t, server), "bot")
			return adapter.HTTPHandler(handle), adapter.Close
		}).With("emulator", "", "")
		const first, notice = "Please enter your mode of transport. [Car] [Bus] [Bicycle]", "Welcome back!  Let's start over from the beginning."
		c.Says("hi").Expects(first)
		c.Silence(timeout - time.Second)
		c.Says("bus").Expects("Please enter your name.")
		c.Silence(timeout)
		c.Says("Ada").Expects(notice, first)
		c.Silence(timeout + grace - time.Second)
		c.Says("Ada").Expects(notice, first)
		c.Silence(timeout + grace)
		c.Says("Ada").Expects(first) // nothing is left that would tell
		for _, text := range []string{"bus", "Ada", "no", "skip", "yes"} {
			c.Says(text).Sent()
		}
		c.Silence(365 * 24 * time.Hour)
		items, err := cosmos.New(newAccount(t, server), "bot", "users", nil).Read(t.Context(), []string{"emulator/users/user"})
		if err != nil || !strings.Contains(string(items["emulator/users/user"].Value), `"name":"Ada"`) {
			t.Errorf("after a year, the user is %s: %v", items["emulator/users/user"].Value, err)
		}
	})
}

func TestRun(t *testing.T) {
	server := cosmostest.New()
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error)
	go func() { done <- run(ctx, newAccount(t, server), "bot", "127.0.0.1:0", in) }()
	lines := bufio.NewScanner(out)
	lines.Scan()
	resp, err := http.Get(strings.TrimPrefix(lines.Text(), "listening on "))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET is answered with %d", resp.StatusCode)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// How many turns a second does the bot do over HTTP, with its state in Cosmos
// DB over a socket? Client, bot, channel and database share the process.
func BenchmarkHTTPTurn(b *testing.B) {
	channel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"r1"}`)
	}))
	defer channel.Close()
	database := httptest.NewServer(newServer(b))
	defer database.Close()
	account, err := cosmos.NewAccount(database.URL, &cosmos.AccountOptions{Key: cosmostest.EmulatorKey})
	if err != nil {
		b.Fatal(err)
	}
	defer account.Close()
	base, err := connector.New(&connector.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer base.Close()
	adapter, handle := newBot(base, account, "bot")
	server := httptest.NewServer(adapter.HTTPHandler(handle))
	defer server.Close()
	texts := []string{"hi", "bus", "Ada", "no", "skip", "yes"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		body := fmt.Appendf(nil, `{"type":"message","text":%q,"id":"%d","from":{"id":"u"},"serviceUrl":%q,"conversation":{"id":"c%d"},"recipient":{"id":"bot"},"channelId":"emulator"}`,
			texts[i%len(texts)], i, channel.URL, i/len(texts)%1000)
		resp, err := server.Client().Post(server.URL, "application/json", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b.Fatalf("status %d", resp.StatusCode)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "turns/s")
}
