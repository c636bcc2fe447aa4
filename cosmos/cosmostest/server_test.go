package cosmostest_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

// byID is the definition of a container as the bot SDKs make it, byKind that
// of one with several items in a partition.
const (
	byID   = `{"id":"items","partitionKey":{"paths":["/id"],"kind":"Hash"},"defaultTtl":-1}`
	byKind = `{"id":"items","partitionKey":{"paths":["/kind"],"kind":"Hash"},"defaultTtl":-1}`
)

// newServer returns a server with one container, "items" in database "db".
func newServer(t *testing.T, definition string) *cosmostest.Server {
	t.Helper()
	s := cosmostest.New()
	if err := s.CreateContainer("db", definition); err != nil {
		t.Fatal(err)
	}
	return s
}

// connect returns a client that reaches s in process.
func connect(t *testing.T, s *cosmostest.Server) *azcosmos.Client {
	t.Helper()
	return connectTo(t, s.Endpoint(), s.Key, policy.ClientOptions{Transport: s})
}

func connectTo(t *testing.T, endpoint, key string, options policy.ClientOptions) *azcosmos.Client {
	t.Helper()
	credential, err := azcosmos.NewKeyCredential(key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := azcosmos.NewClientWithKey(endpoint, credential, &azcosmos.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// items returns the container of newServer.
func items(t *testing.T, client *azcosmos.Client) *azcosmos.ContainerClient {
	t.Helper()
	container, err := client.NewContainer("db", "items")
	if err != nil {
		t.Fatal(err)
	}
	return container
}

func pk(value string) azcosmos.PartitionKey { return azcosmos.NewPartitionKeyString(value) }

// status returns that of the answer that err is about, 0 if it is about none.
func status(err error) int {
	var response *azcore.ResponseError
	if errors.As(err, &response) {
		return response.StatusCode
	}
	return 0
}

func substatus(err error) string {
	var response *azcore.ResponseError
	if errors.As(err, &response) {
		return response.RawResponse.Header.Get("x-ms-substatus")
	}
	return ""
}

// wantStatus wants an error of this status, or none if that is 0.
func wantStatus(t *testing.T, err error, want int) {
	t.Helper()
	if got := status(err); got != want || want == 0 && err != nil {
		t.Fatalf("status %d, want %d: %v", got, want, err)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// member returns one member of a JSON object, nil if it has none.
func member(t *testing.T, data []byte, name string) any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return m[name]
}

// overBoth runs test with a client in process and with one over a socket.
func overBoth(t *testing.T, definition string, test func(t *testing.T, s *cosmostest.Server, client *azcosmos.Client)) {
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, definition)
		test(t, s, connect(t, s))
	})
	t.Run("over a socket", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, definition)
		socket := httptest.NewServer(s)
		t.Cleanup(socket.Close)
		test(t, s, connectTo(t, socket.URL, s.Key, policy.ClientOptions{Transport: socket.Client()}))
	})
}

func TestItemsLiveAndDie(t *testing.T) {
	overBoth(t, byID, func(t *testing.T, s *cosmostest.Server, client *azcosmos.Client) {
		ctx, c := t.Context(), items(t, client)
		ok := must[azcosmos.ItemResponse](t)
		withBody := &azcosmos.ItemOptions{EnableContentResponseOnWrite: true}

		_, err := c.ReadItem(ctx, pk("a"), "a", nil)
		wantStatus(t, err, 404)
		_, err = c.ReplaceItem(ctx, pk("a"), "a", []byte(`{"id":"a"}`), nil)
		wantStatus(t, err, 404)
		_, err = c.DeleteItem(ctx, pk("a"), "a", nil)
		wantStatus(t, err, 404)

		created := ok(c.CreateItem(ctx, pk("a"), []byte(`{"id":"a","n":1}`), nil))
		if created.RawResponse.StatusCode != 201 || len(created.Value) != 0 || created.ETag == "" || created.SessionToken == nil || created.RequestCharge < 5 {
			t.Errorf("create: status %d, body %q, etag %q, charge %v", created.RawResponse.StatusCode, created.Value, created.ETag, created.RequestCharge)
		}
		_, err = c.CreateItem(ctx, pk("a"), []byte(`{"id":"a"}`), nil)
		wantStatus(t, err, 409)

		read := ok(c.ReadItem(ctx, pk("a"), "a", nil))
		if read.ETag != created.ETag || member(t, read.Value, "_etag") != string(created.ETag) || !strings.HasPrefix(string(read.ETag), `"`) {
			t.Errorf("read: eTag %s and %v, want %s with its quotes", read.ETag, member(t, read.Value, "_etag"), created.ETag)
		}
		if !strings.HasPrefix(string(read.Value), `{"id":"a","n":1,"_rid":"`) || read.RequestCharge != 1 {
			t.Errorf("read %s for %v RU", read.Value, read.RequestCharge)
		}

		replaced := ok(c.ReplaceItem(ctx, pk("a"), "a", []byte(`{"id":"a","n":2}`), withBody))
		if replaced.RawResponse.StatusCode != 200 || member(t, replaced.Value, "n") != 2.0 || replaced.ETag == created.ETag {
			t.Errorf("replace: status %d, body %s", replaced.RawResponse.StatusCode, replaced.Value)
		}
		if was, is := member(t, read.Value, "_rid"), member(t, replaced.Value, "_rid"); was != is {
			t.Errorf("replace changed the _rid from %v to %v", was, is)
		}
		upserted := ok(c.UpsertItem(ctx, pk("a"), []byte(`{"id":"a","n":3}`), nil))
		if upserted.RawResponse.StatusCode != 200 || len(upserted.Value) != 0 {
			t.Errorf("upsert of what is there: status %d, body %q", upserted.RawResponse.StatusCode, upserted.Value)
		}
		upserted = ok(c.UpsertItem(ctx, pk("b"), []byte(`{"id":"b"}`), withBody))
		if upserted.RawResponse.StatusCode != 201 || member(t, upserted.Value, "id") != "b" {
			t.Errorf("upsert of what is missing: status %d, body %s", upserted.RawResponse.StatusCode, upserted.Value)
		}

		deleted := ok(c.DeleteItem(ctx, pk("a"), "a", nil))
		if deleted.RawResponse.StatusCode != 204 || len(deleted.Value) != 0 {
			t.Errorf("delete: status %d, body %q", deleted.RawResponse.StatusCode, deleted.Value)
		}
		_, err = c.ReadItem(ctx, pk("a"), "a", nil)
		wantStatus(t, err, 404)

		if n := s.Count(cosmostest.ReadAccount); n != 1 {
			t.Errorf("the account was read %d times, want once", n)
		}
		if n := s.Count(cosmostest.UpsertItem); n != 2 {
			t.Errorf("%d upserts, want 2", n)
		}
	})
}

func TestConditions(t *testing.T) {
	overBoth(t, byID, func(t *testing.T, s *cosmostest.Server, client *azcosmos.Client) {
		ctx, c := t.Context(), items(t, client)
		ok := must[azcosmos.ItemResponse](t)
		old := ok(c.CreateItem(ctx, pk("a"), []byte(`{"id":"a","n":1}`), nil)).ETag
		current := ok(c.UpsertItem(ctx, pk("a"), []byte(`{"id":"a","n":2}`), nil)).ETag
		stale, fresh := &azcosmos.ItemOptions{IfMatchEtag: &old}, &azcosmos.ItemOptions{IfMatchEtag: &current}
		next := []byte(`{"id":"a","n":3}`)

		_, err := c.ReplaceItem(ctx, pk("a"), "a", next, stale)
		wantStatus(t, err, 412)
		_, err = c.UpsertItem(ctx, pk("a"), next, stale)
		wantStatus(t, err, 412)
		_, err = c.DeleteItem(ctx, pk("a"), "a", stale)
		wantStatus(t, err, 412)
		if got := ok(c.ReadItem(ctx, pk("a"), "a", nil)); member(t, got.Value, "n") != 2.0 {
			t.Errorf("refused writes left %s", got.Value)
		}

		unchanged := ok(c.ReadItem(policy.WithHTTPHeader(ctx, http.Header{"If-None-Match": {string(current)}}), pk("a"), "a", nil))
		if unchanged.RawResponse.StatusCode != 304 || len(unchanged.Value) != 0 || unchanged.ETag != current {
			t.Errorf("read if changed: status %d, body %q", unchanged.RawResponse.StatusCode, unchanged.Value)
		}
		changed := ok(c.ReadItem(policy.WithHTTPHeader(ctx, http.Header{"If-None-Match": {string(old)}}), pk("a"), "a", nil))
		if changed.RawResponse.StatusCode != 200 || len(changed.Value) == 0 {
			t.Errorf("read if changed, which it has: status %d, body %q", changed.RawResponse.StatusCode, changed.Value)
		}

		ok(c.ReplaceItem(ctx, pk("a"), "a", next, fresh))
		_, err = c.ReplaceItem(ctx, pk("b"), "b", []byte(`{"id":"b"}`), fresh)
		wantStatus(t, err, 404)
		if got := ok(c.UpsertItem(ctx, pk("b"), []byte(`{"id":"b"}`), fresh)); got.RawResponse.StatusCode != 201 {
			t.Errorf("upsert of what is missing, with a condition: status %d, want 201", got.RawResponse.StatusCode)
		}
		any := azcore.ETagAny
		ok(c.DeleteItem(ctx, pk("a"), "a", &azcosmos.ItemOptions{IfMatchEtag: &any}))
	})
}

func itoa(n int) string { return strconv.Itoa(n) }

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }
