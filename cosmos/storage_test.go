package cosmos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

const byID = `{"id":"state","partitionKey":{"paths":["/id"],"kind":"Hash"},"defaultTtl":-1}`

// newServer returns an account with the container bot/state.
func newServer(t testing.TB, container string) *cosmostest.Server {
	server := cosmostest.New()
	if err := server.CreateContainer("bot", container); err != nil {
		t.Fatal(err)
	}
	return server
}

func newAccount(t testing.TB, server *cosmostest.Server) *cosmos.Account {
	account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	return account
}

func newStorage(t testing.TB, server *cosmostest.Server) *cosmos.Storage {
	return cosmos.New(newAccount(t, server), "bot", "state", nil)
}

// A clocked storage goes by the clock of its server.
type clocked struct {
	*cosmos.Storage
	server *cosmostest.Server
}

func (c clocked) Advance(d time.Duration) { c.server.Advance(d) }

func TestStorage(t *testing.T) {
	for _, container := range []string{byID, `{"id":"state","partitionKey":{"paths":["/_partitionKey"],"kind":"Hash","systemKey":true},"defaultTtl":-1}`} {
		statetest.Run(t, func(t *testing.T) state.Storage {
			server := newServer(t, container)
			now := time.Now().Truncate(time.Second)
			server.Now = func() time.Time { return now }
			return clocked{newStorage(t, server), server}
		})
	}
}

func write(t testing.TB, s state.Storage, key, value, etag string) string {
	t.Helper()
	etags, err := s.Write(context.Background(), map[string]state.Item{key: {Value: json.RawMessage(value), ETag: etag}})
	if err != nil {
		t.Fatal(err)
	}
	return etags[key]
}

func read(t testing.TB, s state.Storage, key string) (value, etag string) {
	t.Helper()
	items, err := s.Read(context.Background(), []string{key})
	if err != nil {
		t.Fatal(err)
	}
	return string(items[key].Value), items[key].ETag
}

// raw is what another SDK sends and gets.
func raw(t *testing.T, server *cosmostest.Server, id string) map[string]json.RawMessage {
	t.Helper()
	item := make(map[string]json.RawMessage)
	if err := json.Unmarshal(stored(t, server, id), &item); err != nil {
		t.Fatal(err)
	}
	return item
}

func TestItemsHaveTheFormOfTheOfficialSDKs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		const document = `{"$type":"T","b":1,"a":"<x>\u00e4"}`
		write(t, s, "test/conversations/a?b", document, "")
		item := raw(t, server, "test*2fconversations*2fa*3fb")
		if got := string(item["id"]) + " " + string(item["realId"]) + " " + string(item["document"]); got != `"test*2fconversations*2fa*3fb" "test/conversations/a?b" `+document {
			t.Errorf("the item is %s", got)
		}
		if got, _ := read(t, s, "test/conversations/a?b"); got != document {
			t.Errorf("read %s", got)
		}
		for name := range item {
			if !slices.Contains([]string{"id", "realId", "document", "writeIds", "_rid", "_self", "_etag", "_attachments", "_ts"}, name) {
				t.Errorf("the item has %s", name)
			}
		}
	})
}

func TestItemsOfOtherSDKsAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		for id, item := range map[string]string{
			"net":     `{"id":"net","realId":"net","document":{"$type":"D","n":1},"PartitionKey":"net"}`,
			"js":      `{"id":"js","realId":"js","document":{"n":1}}`,
			"m365":    `{"id":"m365","realId":"m365","document":{"n":1},"partitionKey":"x","eTag":""}`,
			"other":   `{"id":"other","realId":"another key","document":{"n":1}}`,
			"nothing": `{"id":"nothing","realId":"nothing"}`,
		} {
			put(t, server, id, item)
		}
		for key, want := range map[string]string{"net": `{"$type":"D","n":1}`, "js": `{"n":1}`, "m365": `{"n":1}`, "other": ""} {
			if got, _ := read(t, s, key); got != want {
				t.Errorf("%s: read %s, want %s", key, got, want)
			}
		}
		if _, err := s.Read(t.Context(), []string{"nothing"}); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("an item without a document: %v", err)
		}
	})
}

func TestATurnCostsOnePointReadAndOneConditionalWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		conversation := state.NewConversation(newStorage(t, server))
		n := state.NewProperty[int](conversation, "n")
		turn := func() {
			ctx := state.NewContext(t.Context(), state.IDs{Channel: "test", Conversation: "c1", User: "u1"})
			v, err := n.GetOr(ctx, 0)
			if err := errors.Join(err, n.Set(ctx, v+1), conversation.Save(ctx)); err != nil {
				t.Fatal(err)
			}
		}
		turn()
		server.ForgetRequests()
		turn()
		requests := server.Requests()
		if len(requests) != 2 || requests[0].Op != cosmostest.ReadItem || requests[1].Op != cosmostest.ReplaceItem || requests[1].Header.Get("If-Match") == "" {
			t.Errorf("requests are %+v", requests)
		}
	})
}

func TestDocumentsThatAreTooLargeSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorage(t, newServer(t, byID))
		_, err := s.Write(t.Context(), map[string]state.Item{"k": {Value: json.RawMessage(`"` + strings.Repeat("a", 3<<20) + `"`)}})
		if !errors.Is(err, cosmos.ErrTooLarge) || !strings.Contains(err.Error(), "31457") || cosmos.Retryable(err) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestABatchThatFailsInPartSaysWhatWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorage(t, newServer(t, byID))
		write(t, s, "b", "1", "")
		write(t, s, "d", "1", "")
		etags, err := s.Write(t.Context(), map[string]state.Item{
			"a": {Value: json.RawMessage("2")},
			"b": {Value: json.RawMessage("2"), ETag: state.ETagNone},
			"c": {Value: json.RawMessage("2")},
			"d": {Value: json.RawMessage("2"), ETag: `"stale"`},
		})
		if !errors.Is(err, state.ErrConflict) || !strings.Contains(err.Error(), `write "b"`) || !strings.Contains(err.Error(), `write "d"`) || !strings.Contains(err.Error(), `written were ["a" "c"]`) {
			t.Errorf("error is %v", err)
		}
		if len(etags) != 2 || etags["a"] == "" || etags["c"] == "" {
			t.Errorf("tags are %v", etags)
		}
	})
}

// TestNoFaultLosesOrDoublesAWrite saves a document with a fault at each request
// of the save in turn, and of each kind. Whatever the save returns must be so.
func TestNoFaultLosesOrDoublesAWrite(t *testing.T) {
	kinds := map[string]cosmostest.Fault{
		"429":                       {Status: 429, RetryAfter: 100 * time.Millisecond},
		"449":                       {Status: 449},
		"503":                       {Status: 503},
		"503 after it was done":     {Status: 503, Committed: true},
		"500":                       {Status: 500},
		"500 after it was done":     {Status: 500, Committed: true},
		"502":                       {Status: 502},
		"504 after it was done":     {Status: 504, Committed: true},
		"408":                       {Status: 408},
		"408 after it was done":     {Status: 408, Committed: true},
		"a reset":                   {Reset: true},
		"a reset after it was done": {Reset: true, Committed: true},
	}
	ops := []struct {
		name  string
		begin string // what is stored; "" for nothing
		save  func(ctx context.Context, s *cosmos.Storage, etag string) error
	}{
		{"a first write", "", func(ctx context.Context, s *cosmos.Storage, _ string) error {
			_, err := s.Write(ctx, map[string]state.Item{"k": {Value: json.RawMessage(`"new"`), ETag: state.ETagNone}})
			return err
		}},
		{"a conditional write", `"old"`, func(ctx context.Context, s *cosmos.Storage, etag string) error {
			_, err := s.Write(ctx, map[string]state.Item{"k": {Value: json.RawMessage(`"new"`), ETag: etag}})
			return err
		}},
		{"an unconditional write", `"old"`, func(ctx context.Context, s *cosmos.Storage, _ string) error {
			_, err := s.Write(ctx, map[string]state.Item{"k": {Value: json.RawMessage(`"new"`)}})
			return err
		}},
		{"a delete", `"old"`, func(ctx context.Context, s *cosmos.Storage, _ string) error { return s.Delete(ctx, []string{"k"}) }},
		{"a read", `"old"`, func(ctx context.Context, s *cosmos.Storage, _ string) error {
			_, err := s.Read(ctx, []string{"k"})
			return err
		}},
	}
	for _, op := range ops {
		for kind, fault := range kinds {
			for _, times := range []int{1, 3, 1000} {
				t.Run(fmt.Sprintf("%s, %s, %d times", op.name, kind, times), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						server := newServer(t, byID)
						s := newStorage(t, server)
						etag := ""
						if op.begin != "" {
							etag = write(t, s, "k", op.begin, "")
						}
						read(t, s, "k") // so that it is connected
						var mu sync.Mutex
						left := times
						server.Fault = func(cosmostest.Request) cosmostest.Fault {
							mu.Lock()
							defer mu.Unlock()
							if left--; left < 0 {
								return cosmostest.Fault{}
							}
							return fault
						}
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						defer cancel()
						err := op.save(ctx, s, etag)
						mu.Lock()
						left = 0
						mu.Unlock()
						got, _ := read(t, s, "k")
						after := map[string]string{"a delete": "", "a read": op.begin}
						want, ok := after[op.name]
						if !ok {
							want = `"new"`
						}
						switch {
						case err == nil && got != want:
							t.Errorf("it succeeded, and %s is stored", got)
						case err != nil && times < 5:
							t.Errorf("it was given up: %v", err)
						case err != nil && got != want && got != op.begin:
							t.Errorf("%s is stored", got)
						case errors.Is(err, state.ErrConflict):
							t.Errorf("its own write is a conflict: %v", err)
						case err != nil && got == want && op.begin != want && op.name != "a delete" && !strings.Contains(err.Error(), "may have been written"):
							t.Errorf("it was written, and the error does not say that it may have been: %v", err)
						case err != nil && !cosmos.Retryable(err):
							t.Errorf("the error is not said to be retryable: %v", err)
						}
					})
				})
			}
		}
	}
}

// TestALostAnswerIsNoExcuseForALostUpdate: between an attempt whose answer was
// lost before it was done and the next, somebody else writes the same.
func TestALostAnswerIsNoExcuseForALostUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		a, b := newStorage(t, server), newStorage(t, server)
		etag := write(t, a, "k", "1", "")
		read(t, b, "k")
		var once sync.Once
		server.Fault = func(r cosmostest.Request) (f cosmostest.Fault) {
			if r.Op == cosmostest.ReplaceItem {
				once.Do(func() {
					f = cosmostest.Fault{Reset: true}
					time.AfterFunc(time.Millisecond, func() { write(t, b, "k", "2", etag) })
					f.Delay = 2 * time.Millisecond
				})
			}
			return f
		}
		if _, err := a.Write(t.Context(), map[string]state.Item{"k": {Value: json.RawMessage("2"), ETag: etag}}); !errors.Is(err, state.ErrConflict) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestAnItemThatHasGoneIsAConflictAndNotMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		etag := write(t, s, "k", "1", "")
		if err := s.Delete(t.Context(), []string{"k"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(t.Context(), map[string]state.Item{"k": {Value: json.RawMessage("2"), ETag: etag}}); !errors.Is(err, state.ErrConflict) {
			t.Errorf("error is %v", err)
		}
		if got, _ := read(t, s, "k"); got != "" {
			t.Errorf("stored %s", got)
		}
	})
}

// TestAColdStart has the account come up 3 s after the first request.
func TestAColdStart(t *testing.T) {
	for name, fault := range map[string]cosmostest.Fault{
		"refused": {Reset: true}, "404": {Status: 404}, "503": {Status: 503}, "hanging": {Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newServer(t, byID)
				begin := time.Now()
				server.Fault = func(cosmostest.Request) cosmostest.Fault {
					if time.Since(begin) < 3*time.Second {
						return fault
					}
					return cosmostest.Fault{}
				}
				s := newStorage(t, server)
				write(t, s, "k", "1", "")
				if took := time.Since(begin); took > 5*time.Second+100*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				if n := server.Count(cosmostest.ReadAccount); n > 40 {
					t.Errorf("%d attempts", n)
				}
			})
		})
	}
}

// TestAnAccountThatStaysAwayIsAnErrorInTime, and is back as soon as it is back.
func TestAnAccountThatStaysAwayIsAnErrorInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		away := true
		var mu sync.Mutex
		server.Fault = func(cosmostest.Request) cosmostest.Fault {
			mu.Lock()
			defer mu.Unlock()
			return cosmostest.Fault{Hang: away}
		}
		s := newStorage(t, server)
		begin := time.Now()
		_, err := s.Read(t.Context(), []string{"k"})
		if took := time.Since(begin); err == nil || !cosmos.Retryable(err) || took > 11*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		time.Sleep(250 * time.Millisecond)
		begin = time.Now()
		if _, err := s.Read(ctx, []string{"k"}); err == nil || time.Since(begin) > 50*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		mu.Lock()
		away = false
		mu.Unlock()
		time.Sleep(time.Second)
		write(t, s, "k", "1", "")
	})
}

func TestEveryCallObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		etag := write(t, s, "k", "1", "")
		for name, fault := range map[string]cosmostest.Fault{"hanging": {Hang: true}, "throttled": {Status: 429, RetryAfter: time.Second}, "down": {Reset: true}} {
			server.Fault = func(cosmostest.Request) cosmostest.Fault { return fault }
			for call, do := range map[string]func(context.Context) error{
				"read": func(ctx context.Context) error { _, err := s.Read(ctx, []string{"k", "l"}); return err },
				"write": func(ctx context.Context) error {
					_, err := s.Write(ctx, map[string]state.Item{"k": {Value: json.RawMessage("2"), ETag: etag}})
					return err
				},
				"delete": func(ctx context.Context) error { return s.Delete(ctx, []string{"k"}) },
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
				begin := time.Now()
				err := do(ctx)
				cancel()
				if took := time.Since(begin); err == nil || took > 700*time.Millisecond {
					t.Errorf("%s, %s: after %v: %v", name, call, took, err)
				}
			}
		}
	})
}

func TestThrottledRequestsWaitAsLongAsTheyAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		read(t, s, "k")
		begin := time.Now()
		server.Fault = func(r cosmostest.Request) cosmostest.Fault {
			if time.Since(begin) < 20*time.Second {
				return cosmostest.Fault{Status: 429, RetryAfter: 3 * time.Second}
			}
			return cosmostest.Fault{}
		}
		server.ForgetRequests()
		write(t, s, "k", "1", "")
		if took, n := time.Since(begin), len(server.Requests()); took < 20*time.Second || took > 25*time.Second || n > 9 {
			t.Errorf("%d requests in %v", n, took)
		}
	})
}

// TestAStorageReadsItsOwnWrites where reads come from a replica that lags.
func TestAStorageReadsItsOwnWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		server.Lag = time.Minute
		a, b := newStorage(t, server), newStorage(t, server)
		for i := range 5 {
			_, etag := read(t, a, "k")
			if etag == "" {
				etag = state.ETagNone
			}
			write(t, a, "k", fmt.Sprint(i), etag)
			if got, _ := read(t, a, "k"); got != fmt.Sprint(i) {
				t.Errorf("after writing %d, read %q", i, got)
			}
		}
		// Another process may not see it yet. Its write tells it.
		conversation := state.NewConversation(b)
		n := state.NewProperty[int](conversation, "n")
		write(t, a, "test/conversations/c", `{"m":1}`, "")
		ctx := state.NewContext(t.Context(), state.IDs{Channel: "test", Conversation: "c", User: "u"})
		if err := errors.Join(n.Set(ctx, 1), conversation.Save(ctx)); err != nil {
			t.Fatal(err)
		}
		if got, _ := read(t, b, "test/conversations/c"); got != `{"m":1,"n":1}` {
			t.Errorf("stored %s", got)
		}
	})
}

func TestContainersThatDoNotFitAreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, `{"id":"state","partitionKey":{"paths":["/userId"],"kind":"Hash"}}`)
		if _, err := newStorage(t, server).Read(t.Context(), []string{"k"}); err == nil || !strings.Contains(err.Error(), "/userId: it must be /id") {
			t.Errorf("error is %v", err)
		}
		missing := cosmos.New(newAccount(t, server), "bot", "missing", nil)
		if _, err := missing.Read(t.Context(), []string{"k"}); !errors.Is(err, cosmos.ErrNoContainer) {
			t.Errorf("error is %v", err)
		}
		wrong, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: "d3Jvbmc=", Transport: server})
		if err != nil {
			t.Fatal(err)
		}
		defer wrong.Close()
		var refused *cosmos.StatusError
		if _, err := cosmos.New(wrong, "bot", "state", nil).Read(t.Context(), []string{"k"}); !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || strings.Contains(err.Error(), "d3Jvbmc=") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestAClosedAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		account := newAccount(t, server)
		s := cosmos.New(account, "bot", "state", nil)
		write(t, s, "k", "1", "")
		account.Close()
		account.Close()
		if _, err := s.Read(t.Context(), []string{"k"}); !errors.Is(err, cosmos.ErrClosed) {
			t.Errorf("error is %v", err)
		}

		hanging := newServer(t, byID)
		hanging.Fault = func(cosmostest.Request) cosmostest.Fault { return cosmostest.Fault{Hang: true} }
		account = newAccount(t, hanging)
		done := make(chan error)
		go func() {
			_, err := cosmos.New(account, "bot", "state", nil).Read(context.Background(), []string{"k"})
			done <- err
		}()
		synctest.Wait()
		begin := time.Now()
		account.Close()
		if err := <-done; !errors.Is(err, cosmos.ErrClosed) || time.Since(begin) != 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestAccountsThatCannotBeAreReportedAtOnce(t *testing.T) {
	for _, test := range []struct {
		endpoint string
		options  cosmos.AccountOptions
		want     []string
	}{
		{"bot.documents.azure.com", cosmos.AccountOptions{Key: "not base64!"}, []string{"must be an https URL", "must be base64"}},
		{"http://localhost:8081", cosmos.AccountOptions{}, []string{"would be sent in clear"}},
		{"https://x.test/dbs", cosmos.AccountOptions{Key: cosmostest.EmulatorKey}, []string{"must be an https URL without path"}},
		{"ftp://x", cosmos.AccountOptions{Key: cosmostest.EmulatorKey, Credential: nil}, []string{"must be an https URL"}},
	} {
		_, err := cosmos.NewAccount(test.endpoint, &test.options)
		if err == nil || len(strings.Split(err.Error(), "\n")) != len(test.want) {
			t.Errorf("%s: %v", test.endpoint, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) || test.options.Key != "" && strings.Contains(err.Error(), test.options.Key) {
				t.Errorf("%s: %v, want %s", test.endpoint, err, want)
			}
		}
	}
}

// TestAReplicaThatHasNotCaughtUpIsNotAnAbsence: 404 with substatus 1002 says
// nothing of the item.
func TestAReplicaThatHasNotCaughtUpIsNotAnAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		etag := write(t, s, "k", "1", "")
		for _, times := range []int{2, 1000} {
			left := times
			var mu sync.Mutex
			server.Fault = func(r cosmostest.Request) cosmostest.Fault {
				mu.Lock()
				defer mu.Unlock()
				if left--; left < 0 {
					return cosmostest.Fault{}
				}
				return cosmostest.Fault{Status: 404, Substatus: 1002}
			}
			items, err := s.Read(t.Context(), []string{"k"})
			if times == 2 && (err != nil || string(items["k"].Value) != "1") {
				t.Errorf("read %s: %v", items["k"].Value, err)
			} else if times > 2 && (err == nil || !cosmos.Retryable(err)) {
				t.Errorf("read %v: %v", items, err)
			}
			if _, err := s.Write(t.Context(), map[string]state.Item{"k": {Value: json.RawMessage("1"), ETag: etag}}); times > 2 && (err == nil || errors.Is(err, state.ErrConflict)) {
				t.Errorf("the write is a conflict: %v", err)
			} else if times == 2 {
				_, etag = read(t, s, "k")
			}
		}
	})
}

// TestAContainerThatIsGoneIsNotAnAbsence of its items.
func TestAContainerThatIsGoneIsNotAnAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		etag := write(t, s, "k", "1", "")
		server.Fault = func(cosmostest.Request) cosmostest.Fault { return cosmostest.Fault{Status: 404, Substatus: 1003} }
		_, readErr := s.Read(t.Context(), []string{"k"})
		_, writeErr := s.Write(t.Context(), map[string]state.Item{"k": {Value: json.RawMessage("2"), ETag: etag}})
		for i, err := range []error{readErr, writeErr, s.Delete(t.Context(), []string{"k"})} {
			if !errors.Is(err, cosmos.ErrNoContainer) || errors.Is(err, state.ErrConflict) || cosmos.Retryable(err) {
				t.Errorf("call %d: %v", i, err)
			}
		}
		server.Fault = nil
		if got, _ := read(t, s, "k"); got != "1" {
			t.Errorf("when it is back, read %s", got)
		}
	})
}

// TestAnAttemptThatHangsIsMadeAgain with the rest of the caller's time, and its
// error names no address.
func TestAnAttemptThatHangsIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		write(t, s, "secret-id", "1", "")
		var once sync.Once
		server.Fault = func(cosmostest.Request) (f cosmostest.Fault) {
			once.Do(func() { f.Hang = true })
			return f
		}
		begin := time.Now()
		if got, _ := read(t, s, "secret-id"); got != "1" || time.Since(begin) > 12*time.Second {
			t.Errorf("after %v, read %s", time.Since(begin), got)
		}
		server.Fault = func(cosmostest.Request) cosmostest.Fault { return cosmostest.Fault{Hang: true} }
		_, err := s.Read(t.Context(), []string{"secret-id"})
		if err == nil || errors.Is(err, context.DeadlineExceeded) || !cosmos.Retryable(err) || strings.Contains(err.Error(), "docs/") {
			t.Errorf("error is %v", err)
		}
	})
}

// TestThrottlingDoesNotUseUpTheAttempts, and is not waited for without end.
func TestThrottlingDoesNotUseUpTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		write(t, s, "k", "1", "")
		n := 0
		server.Fault = func(cosmostest.Request) cosmostest.Fault {
			if n++; n <= 10 {
				return cosmostest.Fault{Status: 429, RetryAfter: time.Millisecond}
			} else if n == 11 {
				return cosmostest.Fault{Status: 503}
			}
			return cosmostest.Fault{}
		}
		if got, _ := read(t, s, "k"); got != "1" {
			t.Errorf("read %s", got)
		}
		server.Fault = func(cosmostest.Request) cosmostest.Fault { return cosmostest.Fault{Status: 429, RetryAfter: time.Hour} }
		begin := time.Now()
		if _, err := s.Read(t.Context(), []string{"k"}); err == nil || time.Since(begin) > 30*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestOddFieldsOfOthersAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		put(t, server, "k", `{"id":"k","realId":"k","document":{"n":1},"writeIds":7,"Document":{"n":2},"REALID":"other","TTL":"none"}`)
		if got, _ := read(t, s, "k"); got != `{"n":1}` {
			t.Errorf("read %s", got)
		}
	})
}

// TestSessionTokensOfManyKeys: a key that is used stays known.
func TestSessionTokensOfManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		server.Lag = time.Hour
		s := newStorage(t, server)
		write(t, s, "hot", "1", "")
		for i := range 12000 {
			if i%1000 == 0 {
				if got, _ := read(t, s, "hot"); got != "1" {
					t.Fatalf("after %d others, read %q", i, got)
				}
			}
			write(t, s, fmt.Sprint(i), "1", "")
		}
	})
}

// TestATokenThatCannotBeSatisfiedIsGivenUp: of a container that was made anew.
func TestATokenThatCannotBeSatisfiedIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		s := newStorage(t, server)
		write(t, s, "k", "1", "")
		server.Fault = func(r cosmostest.Request) cosmostest.Fault {
			if r.Header.Get("x-ms-session-token") != "" {
				return cosmostest.Fault{Status: 404, Substatus: 1002}
			}
			return cosmostest.Fault{}
		}
		if got, _ := read(t, s, "k"); got != "1" {
			t.Errorf("read %s", got)
		}
	})
}

// TestAFaultAtAnyPosition fails one request of a save, whichever it is: the
// discovery of the account, the look at the container, the read, the write, or
// the read back after it.
func TestAFaultAtAnyPosition(t *testing.T) {
	kinds := map[string]cosmostest.Fault{
		"503": {Status: 503}, "503 after it was done": {Status: 503, Committed: true}, "429": {Status: 429}, "a reset": {Reset: true},
		"a reset after it was done": {Reset: true, Committed: true}, "hanging": {Hang: true}, "hanging after it was done": {Hang: true, Committed: true},
	}
	for kind, fault := range kinds {
		for at := 1; at <= 6; at++ {
			for _, also := range []bool{false, true} { // the answer of the write is lost besides
				t.Run(fmt.Sprintf("%s at request %d, write lost too %v", kind, at, also), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						server := newServer(t, byID)
						write(t, newStorage(t, server), "test/conversations/c", `{"n":1}`, "")
						var mu sync.Mutex
						n, writes := 0, 0
						server.Fault = func(r cosmostest.Request) cosmostest.Fault {
							mu.Lock()
							defer mu.Unlock()
							if n++; n == at {
								return fault
							}
							if r.Op == cosmostest.ReplaceItem {
								if writes++; also && writes == 1 {
									return cosmostest.Fault{Reset: true, Committed: true}
								}
							}
							return cosmostest.Fault{}
						}
						conversation := state.NewConversation(newStorage(t, server))
						counter := state.NewProperty[int](conversation, "n")
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						defer cancel()
						ctx = state.NewContext(ctx, state.IDs{Channel: "test", Conversation: "c", User: "u"})
						got, err := counter.GetOr(ctx, 0)
						if err := errors.Join(err, counter.Set(ctx, got+1), conversation.Save(ctx)); err != nil {
							t.Fatal(err)
						}
						server.Fault = nil
						if got, _ := read(t, newStorage(t, server), "test/conversations/c"); got != `{"n":2}` {
							t.Errorf("stored %s", got)
						}
					})
				})
			}
		}
	}
}
