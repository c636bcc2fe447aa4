//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/internal/userprofile"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// How many turns a second does the multi-turn bot do over HTTP, with its state
// on the Cosmos DB server of vercel, which has a process of its own?
func BenchmarkHTTPTurnOnVercel(b *testing.B) {
	channel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"r1"}`)
	}))
	defer channel.Close()
	port := freePort(b)
	start(b, "js", "node", "node_modules/@vercel/cosmosdb-server/lib/cli.js", "--port", port, "--host", "localhost", "--no-ssl")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	account, err := cosmos.NewAccount("http://localhost:"+port, &cosmos.AccountOptions{Key: cosmostest.EmulatorKey, Transport: &crossPartition{client}})
	if err != nil {
		b.Fatal(err)
	}
	defer account.Close()
	i := &cosmos.Initializer{Account: account, Database: "bot", Conversation: "conversations", User: "users", TimeToLive: -1, CreateDatabase: true}
	if err := i.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	base, err := connector.New(&connector.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer base.Close()
	conversation := state.NewConversation(cosmos.New(account, "bot", "conversations", nil))
	user := state.NewUser(cosmos.New(account, "bot", "users", nil))
	adapter := bot.NewAdapter(base, middleware.AutoSave(conversation, user), middleware.Expire(conversation, time.Hour, nil))
	server := httptest.NewServer(adapter.HTTPHandler(userprofile.New(conversation, user).Handler(userprofile.Root)))
	defer server.Close()

	texts := []string{"hi", "bus", "Ada", "no", "skip", "yes"}
	var users atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		id := users.Add(1)
		for i := 0; pb.Next(); i++ {
			body := fmt.Appendf(nil, `{"type":"message","text":%q,"id":"%d","from":{"id":"u%d"},"serviceUrl":%q,"conversation":{"id":"c%d"},"recipient":{"id":"bot"},"channelId":"emulator"}`,
				texts[i%len(texts)], i, id, channel.URL, id)
			resp, err := server.Client().Post(server.URL, "application/json", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				b.Errorf("status %d", resp.StatusCode)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "turns/s")
}
