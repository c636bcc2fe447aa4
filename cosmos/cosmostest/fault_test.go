package cosmostest_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

// spoil returns a hook that spoils the first n requests of op by f.
func spoil(op cosmostest.Op, n int, f cosmostest.Fault) func(cosmostest.Request) cosmostest.Fault {
	return func(r cosmostest.Request) cosmostest.Fault {
		if r.Op == op && r.N <= n {
			return f
		}
		return cosmostest.Fault{}
	}
}

// TestRetriesOfTheClient holds what azcosmos 1.5.0 was seen to retry, which is
// what a storage on it has to know.
func TestRetriesOfTheClient(t *testing.T) {
	status := func(n int) cosmostest.Fault { return cosmostest.Fault{Status: n} }
	reset := cosmostest.Fault{Reset: true}
	for _, test := range []struct {
		name          string
		fault         cosmostest.Fault
		reads, writes int
	}{
		{"429 is tried four times", cosmostest.Fault{Status: 429, RetryAfter: time.Second}, 4, 4},
		{"449 is not tried again", status(449), 1, 1},
		{"503 is not tried again", status(503), 1, 1},
		{"500 is tried again on reads", status(500), 2, 1},
		{"502 is tried again on reads", status(502), 2, 1},
		{"504 is tried again on reads", status(504), 2, 1},
		{"408 is tried again on reads", status(408), 2, 1},
		{"a reset is tried again on reads", reset, 5, 1}, // 6 where net/http adds one
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, byID)
				s.Fault = func(r cosmostest.Request) cosmostest.Fault {
					if r.Op == cosmostest.ReadAccount {
						return cosmostest.Fault{}
					}
					return test.fault
				}
				c := items(t, connect(t, s))
				if _, err := c.ReadItem(t.Context(), pk("a"), "a", nil); err == nil {
					t.Error("the read did not fail")
				}
				if _, err := c.UpsertItem(t.Context(), pk("a"), []byte(`{"id":"a"}`), nil); err == nil {
					t.Error("the upsert did not fail")
				}
				if reads, writes := s.Count(cosmostest.ReadItem), s.Count(cosmostest.UpsertItem); reads != test.reads || writes != test.writes {
					t.Errorf("%d reads and %d upserts, want %d and %d", reads, writes, test.reads, test.writes)
				}
			})
		})
	}
}

func TestFaultsInProcess(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault cosmostest.Fault
		check func(t *testing.T, err error)
		found bool // whether the upsert took effect
	}{
		{"a status is answered with its substatus",
			cosmostest.Fault{Status: 403, Substatus: 5301},
			func(t *testing.T, err error) {
				if status(err) != 403 || substatus(err) != "5301" {
					t.Error(err)
				}
			}, false},
		{"a status after the request took effect",
			cosmostest.Fault{Status: 408, Committed: true},
			func(t *testing.T, err error) { wantStatus(t, err, 408) }, true},
		{"a reset before the request takes effect",
			cosmostest.Fault{Reset: true},
			func(t *testing.T, err error) { wantReset(t, err) }, false},
		{"a reset after the request took effect",
			cosmostest.Fault{Reset: true, Committed: true},
			func(t *testing.T, err error) { wantReset(t, err) }, true},
		{"a hang ends with the client's context",
			cosmostest.Fault{Hang: true},
			func(t *testing.T, err error) { wantDeadline(t, err) }, false},
		{"a hang after the request took effect",
			cosmostest.Fault{Hang: true, Committed: true},
			func(t *testing.T, err error) { wantDeadline(t, err) }, true},
		{"a delay within the client's deadline",
			cosmostest.Fault{Delay: 2*time.Second - 1},
			func(t *testing.T, err error) {
				if err != nil {
					t.Error(err)
				}
			}, true},
		{"a delay beyond the client's deadline",
			cosmostest.Fault{Delay: 2*time.Second + 1},
			func(t *testing.T, err error) { wantDeadline(t, err) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, byID)
				s.Fault = spoil(cosmostest.UpsertItem, 1, test.fault)
				c := items(t, connect(t, s))
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				_, err := c.UpsertItem(ctx, pk("a"), []byte(`{"id":"a"}`), nil)
				test.check(t, err)
				_, err = c.ReadItem(t.Context(), pk("a"), "a", nil)
				if found := err == nil; found != test.found {
					t.Errorf("the upsert took effect: %v, want %v", found, test.found)
				}
				if n := s.Count(cosmostest.UpsertItem); n != 1 {
					t.Errorf("%d upserts, want 1", n)
				}
			})
		})
	}
}

func wantReset(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset connection", err)
	}
}

func wantDeadline(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the deadline is exceeded", err)
	}
}

func TestFaultsOverASocket(t *testing.T) {
	for name, start := range map[string]func(http.Handler) *httptest.Server{
		"HTTP/1": httptest.NewServer,
		"HTTP/2": func(h http.Handler) *httptest.Server {
			socket := httptest.NewUnstartedServer(h)
			socket.EnableHTTP2 = true
			socket.StartTLS()
			return socket
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, byID)
			arrived := make(chan struct{})
			s.Fault = func(r cosmostest.Request) cosmostest.Fault {
				if r.Item == "hang" {
					close(arrived)
				}
				return map[string]cosmostest.Fault{
					"reset": {Reset: true},
					"late":  {Reset: true, Committed: true},
					"hang":  {Hang: true},
				}[r.Item]
			}
			socket := start(s)
			defer socket.Close()
			// azcore tries writes again when HTTP/2 streams are reset.
			once := policy.ClientOptions{Transport: socket.Client(), Retry: policy.RetryOptions{MaxRetries: -1}}
			c := items(t, connectTo(t, socket.URL, s.Key, once))
			upsert := func(ctx context.Context, id string) error {
				_, err := c.UpsertItem(ctx, pk(id), []byte(`{"id":"`+id+`"}`), nil)
				return err
			}

			for _, id := range []string{"reset", "late"} {
				if err := upsert(t.Context(), id); err == nil || status(err) != 0 {
					t.Errorf("%s: got %v, want an error of the connection", id, err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			hung := make(chan error)
			go func() { hung <- upsert(ctx, "hang") }()
			<-arrived
			cancel()
			if err := <-hung; !errors.Is(err, context.Canceled) {
				t.Errorf("hang: got %v, want that the context is cancelled", err)
			}

			s.ForgetRequests()
			pager := c.NewQueryItemsPager("SELECT VALUE c.id FROM c", azcosmos.NewPartitionKey(), nil)
			page, err := pager.NextPage(t.Context())
			if err != nil || len(page.Items) != 1 || string(page.Items[0]) != `"late"` {
				t.Errorf("found %s, %v, want only the item whose answer was lost", page.Items, err)
			}
		})
	}
}

// TestColdStart shows the trap for which account discovery can be spoiled: the
// client remembers the failure, and a new client does not.
func TestColdStart(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault cosmostest.Fault
	}{
		{"the account is unavailable", cosmostest.Fault{Status: 503}},
		{"the account refuses", cosmostest.Fault{Status: 403, Substatus: 5301}},
		{"the account cannot be reached", cosmostest.Fault{Reset: true}},
		{"the account does not answer", cosmostest.Fault{Hang: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, byID)
				s.Fault = func(r cosmostest.Request) cosmostest.Fault {
					if r.Op == cosmostest.ReadAccount && time.Now().Before(start.Add(2*time.Minute)) {
						return test.fault
					}
					return cosmostest.Fault{}
				}
				read := func(client *azcosmos.Client) error {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, err := items(t, client).ReadItem(ctx, pk("a"), "a", nil)
					return err
				}
				client := connect(t, s)
				if err := read(client); err == nil || status(err) == 404 {
					t.Errorf("got %v, want a failure to read the account", err)
				}
				time.Sleep(time.Until(start.Add(2 * time.Minute)))
				if err := read(client); status(err) == 404 {
					t.Error("the client has forgotten the failure; the comment is out of date")
				}
				wantStatus(t, read(connect(t, s)), 404)
			})
		})
	}
}

// start is when time begins in a bubble.
var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
