//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/internal/userprofile"
	"github.com/botlapse/botlapse/internal/wire"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

const container = `{"id":"state","partitionKey":{"paths":["/id"],"kind":"Hash"},"defaultTtl":-1}`

// A line is a request to cosmos.js, or its answer.
type line map[string]any

// startStorage starts the official JavaScript storage on bot/state of an
// account.
func startStorage(t *testing.T, endpoint string) func(t *testing.T, request line) line {
	node := startNode(t, "cosmos.js")
	ask := func(t *testing.T, request line) line {
		t.Helper()
		answer := line{}
		node(t, request, &answer)
		return answer
	}
	ask(t, line{"endpoint": endpoint, "key": cosmostest.EmulatorKey, "database": "bot", "container": "state"})
	return ask
}

func goStorage(t *testing.T, endpoint string) *cosmos.Storage {
	account, err := cosmos.NewAccount(endpoint, &cosmos.AccountOptions{Key: cosmostest.EmulatorKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	return cosmos.New(account, "bot", "state", nil)
}

func serveCosmos(t *testing.T) (endpoint string) {
	account := cosmostest.New()
	if err := account.CreateContainer("bot", container); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(account)
	t.Cleanup(server.Close)
	return server.URL
}

// TestStorageIsSharedWithJavaScript has each side read, change and delete what
// the other has written, under keys with every character that is escaped.
func TestStorageIsSharedWithJavaScript(t *testing.T) {
	endpoint := serveCosmos(t)
	javaScript, storage := startStorage(t, endpoint), goStorage(t, endpoint)
	for _, key := range []string{
		"test/conversations/Convo1/", "a/b", `a\b`, "a?b", "a#b", "a*b", "a\tb", "a\nb", "a\rb", "*2a", "a b", "å|日本;:@",
		"msteams/conversations/19:meeting_MjdhNjM4@thread.tacv2;messageid=1/users/29:1abc-_/", `!@#$^&*()~/\><,.?';"` + "`~",
	} {
		t.Run(key, func(t *testing.T) {
			javaScript(t, line{"op": "write", "key": key, "document": line{"by": "JavaScript", "n": 1, "more": []any{"<é>", nil}}})
			items, err := storage.Read(t.Context(), []string{key})
			if err != nil || string(items[key].Value) != `{"by":"JavaScript","more":["<é>",null],"n":1}` {
				t.Fatalf("Go reads %s: %v", items[key].Value, err)
			}
			_, err = storage.Write(t.Context(), map[string]state.Item{key: {Value: json.RawMessage(`{"by":"Go","n":2}`), ETag: items[key].ETag}})
			if err != nil {
				t.Fatal(err)
			}
			if got := javaScript(t, line{"op": "read", "key": key})["document"]; !reflect.DeepEqual(got, map[string]any{"by": "Go", "n": 2.0}) {
				t.Fatalf("JavaScript reads %v", got)
			}
			javaScript(t, line{"op": "write", "key": key, "document": line{"by": "JavaScript again"}})
			if _, err := storage.Write(t.Context(), map[string]state.Item{key: {Value: json.RawMessage(`{}`), ETag: items[key].ETag}}); err == nil {
				t.Error("Go overwrites what it has not read")
			}
			if err := storage.Delete(t.Context(), []string{key}); err != nil {
				t.Fatal(err)
			}
			if got := javaScript(t, line{"op": "read", "key": key}); len(got) != 0 {
				t.Errorf("after Go has deleted it, JavaScript reads %v", got)
			}
		})
	}
}

// TestADialogMovesBetweenJavaScriptAndGoInACosmosContainer plays the recorded
// conversations with bots that take turns on one container.
func TestADialogMovesBetweenJavaScriptAndGoInACosmosContainer(t *testing.T) {
	files, err := filepath.Glob("js/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no recorded conversations", err)
	}
	for _, file := range files {
		for _, first := range []string{"JavaScript", "Go"} {
			t.Run(filepath.Base(file)+" "+first+" begins", func(t *testing.T) {
				endpoint := serveCosmos(t)
				javaScript, storage := startStorage(t, endpoint), goStorage(t, endpoint)
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var recorded struct {
					Turns []struct {
						Activity json.RawMessage
						Replies  []any
					}
				}
				if err := json.Unmarshal(data, &recorded); err != nil {
					t.Fatal(err)
				}
				for i, turn := range recorded.Turns {
					var replies any
					if (i%2 == 0) == (first == "Go") {
						replies = goTurnOn(t, storage, turn.Activity)
					} else {
						replies = javaScript(t, line{"op": "turn", "activity": turn.Activity})["replies"]
					}
					if !reflect.DeepEqual(replies, any(turn.Replies)) {
						t.Errorf("turn %d: the bot said\n%s, want\n%s", i, encode(replies), encode(turn.Replies))
					}
				}
			})
		}
	}
}

func goTurnOn(t *testing.T, storage state.Storage, activity json.RawMessage) []any {
	a, err := wire.Decode(activity)
	if err != nil {
		t.Fatal(err)
	}
	conversation, user := state.NewConversation(storage), state.NewUser(storage)
	conversation.KeyForm, user.KeyForm = state.JavaScript, state.JavaScript
	channel := &bottest.Channel{}
	adapter := bot.NewAdapter(channel, middleware.AutoSave(conversation, user))
	if err := adapter.Process(t.Context(), a, userprofile.New(conversation, user).Handler(userprofile.Root)); err != nil {
		t.Fatal(err)
	}
	replies := []any{}
	for _, sent := range channel.Sent() {
		data, err := wire.Encode(&sent)
		if err != nil {
			t.Fatal(err)
		}
		var reply any
		if err := json.Unmarshal(data, &reply); err != nil {
			t.Fatal(err)
		}
		replies = append(replies, reply)
	}
	return replies
}

// TestThirdPartyServers runs the storage on Cosmos DB servers that others have
// written, for what each can show.
func TestThirdPartyServers(t *testing.T) {
	t.Run("vercel", func(t *testing.T) {
		port := freePort(t)
		start(t, "js", "node", "node_modules/@vercel/cosmosdb-server/lib/cli.js", "--port", port, "--host", "localhost", "--no-ssl")
		useServer(t, "http://localhost:"+port, true)
	})
	t.Run("cosmium", func(t *testing.T) {
		port := freePort(t)
		binary := filepath.Join(t.TempDir(), "cosmium")
		build := exec.Command("go", "build", "-modfile=../tools/go.mod", "-o", binary, "github.com/pikami/cosmium/cmd/server")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		start(t, t.TempDir(), binary, "-Host", "localhost", "-Port", port, "-LogLevel", "error", "-DisableTls")
		useServer(t, "http://localhost:"+port, false) // it ignores If-Match
	})
}

// useServer creates the containers, and plays with items in them.
func useServer(t *testing.T, endpoint string, conditional bool) {
	account, err := cosmos.NewAccount(endpoint, &cosmos.AccountOptions{Key: cosmostest.EmulatorKey, Transport: &crossPartition{http.DefaultClient}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	i := &cosmos.Initializer{Account: account, Database: "bot", Conversation: "conversations", User: "users", TimeToLive: time.Hour, CreateDatabase: true}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := i.Run(ctx); err != nil {
		t.Fatal(err)
	}
	storage := cosmos.New(account, "bot", "conversations", nil)
	for n, key := range []string{"a", "test/conversations/c?1", strings.Repeat("long", 100)} {
		etags, err := storage.Write(ctx, map[string]state.Item{key: {Value: json.RawMessage(`{"n":1}`), ETag: state.ETagNone}})
		if err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		if _, err := storage.Write(ctx, map[string]state.Item{key: {Value: json.RawMessage(`{}`), ETag: state.ETagNone}}); err == nil {
			t.Errorf("%d: made twice", n)
		}
		if _, err := storage.Write(ctx, map[string]state.Item{key: {Value: json.RawMessage(`{"n":2}`), ETag: etags[key], TTL: time.Minute}}); err != nil {
			t.Errorf("%d: %v", n, err)
		}
		if conditional {
			if _, err := storage.Write(ctx, map[string]state.Item{key: {Value: json.RawMessage(`{"n":3}`), ETag: etags[key]}}); err == nil {
				t.Errorf("%d: written under an old tag", n)
			}
		}
		items, err := storage.Read(ctx, []string{key, "missing"})
		var got struct{ N int }
		if err != nil || len(items) != 1 || json.Unmarshal(items[key].Value, &got) != nil || got.N != 2 {
			t.Errorf("%d: read %s: %v", n, items[key].Value, err)
		}
		if err := storage.Delete(ctx, []string{key, "missing"}); err != nil {
			t.Errorf("%d: %v", n, err)
		}
		if items, err := storage.Read(ctx, []string{key}); err != nil || len(items) != 0 {
			t.Errorf("%d: after the delete, read %v: %v", n, items, err)
		}
	}
	conversation := state.NewConversation(storage)
	count := state.NewProperty[int](conversation, "n")
	for want := range 5 {
		turn := state.NewContext(ctx, state.IDs{Channel: "test", Conversation: "c", User: "u"})
		got, err := count.GetOr(turn, 0)
		if err != nil || got != want || count.Set(turn, got+1) != nil || conversation.Save(turn) != nil {
			t.Fatalf("turn %d: %d, %v", want, got, err)
		}
	}
}

// crossPartition adds the header without which the server of vercel answers a
// read of what is not there with status 500.
type crossPartition struct{ client *http.Client }

func (c *crossPartition) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set("x-ms-documentdb-query-enablecrosspartition", "True")
	return c.client.Do(r)
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// start starts a server, which need not be ready yet.
func start(t testing.TB, dir, name string, args ...string) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// TestContractOnVercel runs the storage contract on the server of vercel, in a
// container of its own for each case. It never lets an item expire; check.sh
// names the cases that it cannot show.
func TestContractOnVercel(t *testing.T) {
	port := freePort(t)
	start(t, "js", "node", "node_modules/@vercel/cosmosdb-server/lib/cli.js", "--port", port, "--host", "localhost", "--no-ssl")
	account, err := cosmos.NewAccount("http://localhost:"+port, &cosmos.AccountOptions{Key: cosmostest.EmulatorKey, Transport: &crossPartition{http.DefaultClient}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	var containers atomic.Int64
	statetest.Run(t, func(t *testing.T) state.Storage {
		n := containers.Add(1)
		i := &cosmos.Initializer{Account: account, Database: "bot", Conversation: fmt.Sprint("c", n), User: fmt.Sprint("u", n), TimeToLive: -1, CreateDatabase: true}
		if err := i.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		return realTime{cosmos.New(account, "bot", i.Conversation, nil)}
	})
}

// realTime is a storage whose clock cannot be moved but by waiting.
type realTime struct{ *cosmos.Storage }

func (realTime) Advance(d time.Duration) { time.Sleep(d) }
