package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

// ready is the base of a probe of which nothing but the stores matters.
func ready(context.Context) error { return nil }

// ask has n ask at the same time.
func (p *probe) ask(t *testing.T, n, want int) {
	t.Helper()
	codes := make(chan int)
	for range n {
		go func() {
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
			codes <- w.Code
		}()
	}
	for range n {
		if code := <-codes; code != want {
			t.Errorf("answer is %d, want %d", code, want)
		}
	}
}

func TestD10TheProbeLooksOnceASecondHoweverManyAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		var err error
		p := newProbe(slog.New(slog.DiscardHandler), ready, func(context.Context) error {
			looks++
			time.Sleep(100 * time.Millisecond)
			return err
		})
		p.ask(t, 100, 200)
		err = errors.New("away")
		time.Sleep(time.Second - time.Nanosecond)
		p.ask(t, 100, 200)
		time.Sleep(time.Nanosecond)
		p.ask(t, 100, 503)
		if looks != 2 {
			t.Errorf("%d looks", looks)
		}
	})
}

// TestD10ALookIsOnePointRead: of Cosmos DB, nothing is asked but an item that is
// not there, once a second.
func TestD10ALookIsOnePointRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := cosmostest.New()
		c, err := loadConfig(environment(map[string]string{"CosmosDbEndpoint": server.Endpoint(), "CosmosDbAuthKey": server.Key, "CosmosDbDatabaseId": "bot", "CosmosDbCreateDatabase": "true"}), "no such file")
		if err != nil {
			t.Fatal(err)
		}
		account, err := c.cosmos.account(server)
		if err != nil {
			t.Fatal(err)
		}
		defer account.Close()
		if err := c.initializer(account).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		kept := c.cosmosStorages(account)
		p := newProbe(slog.New(slog.DiscardHandler), ready, kept.reads()...)
		p.ask(t, 1, 200) // which connects, and reads from all three
		server.ForgetRequests()
		asked := make(map[string]int)
		for range 30 {
			time.Sleep(time.Second)
			p.ask(t, 100, 200)
		}
		for _, r := range server.Requests() {
			if asked[r.Container]++; r.Op != cosmostest.ReadItem || r.Status != http.StatusNotFound {
				t.Errorf("asked was %+v", r)
			}
		}
		if asked["conversations"] != 10 || asked["users"] != 10 || asked["deadlines"] != 10 || len(asked) != 3 {
			t.Errorf("in 30 s, asked were %v", asked)
		}

		// A container that is gone is noticed when its turn comes, and asked once a
		// second until it is back.
		away := `deadlines`
		server.Fault = func(r cosmostest.Request) (f cosmostest.Fault) {
			if r.Container == away {
				f.Status = http.StatusForbidden
			}
			return f
		}
		time.Sleep(time.Second)
		p.ask(t, 1, 200)
		time.Sleep(time.Second)
		p.ask(t, 1, 200)
		server.ForgetRequests()
		for range 10 {
			time.Sleep(time.Second)
			p.ask(t, 100, 503)
		}
		if n := len(server.Requests()); n != 10 {
			t.Errorf("while it is gone, %d requests in 10 s", n)
		}
		away = ""
		time.Sleep(time.Second)
		p.ask(t, 1, 200)
	})
}
