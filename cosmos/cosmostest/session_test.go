package cosmostest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
)

func TestLaggingReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, s := t.Context(), newServer(t, byID)
		s.Lag = 5 * time.Second
		c := items(t, connect(t, s))
		ok := must[azcosmos.ItemResponse](t)
		write := func(item string) *azcosmos.ItemOptions {
			t.Helper()
			return &azcosmos.ItemOptions{SessionToken: ok(c.UpsertItem(ctx, pk("a"), []byte(item), nil)).SessionToken}
		}
		// n is what a read sees, -1 if nothing.
		read := func(o *azcosmos.ItemOptions) int {
			t.Helper()
			got, err := c.ReadItem(ctx, pk("a"), "a", o)
			if status(err) == 404 && substatus(err) == "" {
				return -1
			}
			if err != nil {
				t.Fatal(err)
			}
			return int(member(t, got.Value, "n").(float64))
		}
		want := func(got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("read %d, want %d", got, want)
			}
		}

		first := write(`{"id":"a","n":1}`)
		want(read(nil), -1)
		want(read(first), 1)
		eventual := azcosmos.ConsistencyLevelEventual
		want(read(&azcosmos.ItemOptions{SessionToken: first.SessionToken, ConsistencyLevel: &eventual}), -1)
		time.Sleep(5*time.Second - 1)
		want(read(nil), -1)
		time.Sleep(time.Nanosecond)
		want(read(nil), 1)

		second := write(`{"id":"a","n":2}`)
		time.Sleep(time.Second)
		third := write(`{"id":"a","n":3}`)
		want(read(nil), 1)
		want(read(first), 1)
		want(read(second), 2)
		want(read(third), 3)
		if got := query(t, c, "SELECT VALUE c.n FROM c", pk("a")); len(got) != 1 || got[0] != "1" {
			t.Errorf("a query sees %v, want what the replica has", got)
		}
		time.Sleep(4 * time.Second)
		want(read(nil), 2)
		time.Sleep(time.Second)
		want(read(nil), 3)

		deleted := ok(c.DeleteItem(ctx, pk("a"), "a", nil))
		want(read(nil), 3)
		want(read(&azcosmos.ItemOptions{SessionToken: deleted.SessionToken}), -1)
		time.Sleep(5 * time.Second)
		want(read(nil), -1)

		// Writes do not go to the replica.
		write(`{"id":"a","n":4}`)
		_, err := c.CreateItem(ctx, pk("a"), []byte(`{"id":"a"}`), nil)
		wantStatus(t, err, 409)
	})
}

func TestSessionTokens(t *testing.T) {
	for _, test := range []struct {
		name          string
		header, value string
		want          int
		substatus     string
	}{
		{"the token of a write is accepted", "x-ms-session-token", "0:-1#1", 200, ""},
		{"a token without a version is accepted", "x-ms-session-token", "0:1", 200, ""},
		{"a list of tokens is accepted", "x-ms-session-token", "0:-1#1,1:-1#0", 200, ""},
		{"a token with regions is accepted", "x-ms-session-token", "0:1#1#4=-1", 200, ""},
		{"a token of the future finds no replica", "x-ms-session-token", "0:-1#2", 404, "1002"},
		{"a token that makes no sense is refused", "x-ms-session-token", "mine", 400, ""},
		{"a weaker consistency is accepted", "x-ms-consistency-level", "Eventual", 200, ""},
		{"a stronger consistency is refused", "x-ms-consistency-level", "Strong", 400, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, byID)
			created, _ := raw{"POST", "/dbs/db/colls/items/docs", nil, `{"id":"a"}`}.send(t, s)
			if got := created.Header.Get("x-ms-session-token"); got != "0:-1#1" {
				t.Errorf("the token of the first write is %q", got)
			}
			response, body := raw{"GET", "/dbs/db/colls/items/docs/a", map[string]string{test.header: test.value}, ""}.send(t, s)
			if got := response.Header.Get("x-ms-substatus"); response.StatusCode != test.want || got != test.substatus {
				t.Errorf("status %d and substatus %s, want %d and %s: %s", response.StatusCode, got, test.want, test.substatus, body)
			}
		})
	}
}
