package cosmostest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
)

func statuses(results []azcosmos.TransactionalBatchResult) string {
	var s []string
	for _, r := range results {
		s = append(s, itoa(int(r.StatusCode)))
	}
	return strings.Join(s, " ")
}

func TestBatchTakesEffectWhole(t *testing.T) {
	ctx := t.Context()
	c := items(t, connect(t, newServer(t, byKind)))
	fill(t, c, pk("x"), `{"id":"1","kind":"x"}`, `{"id":"2","kind":"x"}`, `{"id":"3","kind":"x","n":1}`)

	batch := c.NewTransactionalBatch(pk("x"))
	batch.CreateItem([]byte(`{"id":"4","kind":"x"}`), nil)
	batch.UpsertItem([]byte(`{"id":"5","kind":"x"}`), nil)
	batch.UpsertItem([]byte(`{"id":"4","kind":"x","n":2}`), nil)
	batch.ReplaceItem("1", []byte(`{"id":"1","kind":"x","n":3}`), nil)
	batch.DeleteItem("2", nil)
	var patch azcosmos.PatchOperations
	patch.AppendIncrement("/n", 4)
	batch.PatchItem("3", patch, nil)
	got, err := c.ExecuteTransactionalBatch(ctx, batch, nil)
	if err != nil || !got.Success || statuses(got.OperationResults) != "201 201 200 200 204 200" {
		t.Fatalf("statuses %s, %v", statuses(got.OperationResults), err)
	}
	for i, r := range got.OperationResults {
		if r.ResourceBody != nil || r.RequestCharge <= 0 || (r.ETag == "") != (i == 4) {
			t.Errorf("result %d: %+v", i, r)
		}
	}
	if got := query(t, c, "SELECT c.id, c.n FROM c ORDER BY c.id", pk("x")); strings.Join(got, "") != `{"id":"1","n":3}{"id":"3","n":5}{"id":"4","n":2}{"id":"5"}` {
		t.Errorf("left %s", got)
	}

	batch = c.NewTransactionalBatch(pk("x"))
	batch.CreateItem([]byte(`{"id":"6","kind":"x"}`), nil)
	batch.ReadItem("6", nil) // sees what the batch has done
	got, err = c.ExecuteTransactionalBatch(ctx, batch, nil)
	if err != nil || statuses(got.OperationResults) != "201 200" || member(t, got.OperationResults[1].ResourceBody, "id") != "6" {
		t.Errorf("statuses %s, %v", statuses(got.OperationResults), err)
	}
}

func TestBatchIsRolledBackWhole(t *testing.T) {
	stale := azcore.ETag(`"stale"`)
	for _, test := range []struct {
		name string
		add  func(*azcosmos.TransactionalBatch)
		want string
	}{
		{"a duplicate", func(b *azcosmos.TransactionalBatch) { b.CreateItem([]byte(`{"id":"1","kind":"x"}`), nil) }, "409"},
		{"a missing item", func(b *azcosmos.TransactionalBatch) { b.ReadItem("missing", nil) }, "404"},
		{"a stale eTag", func(b *azcosmos.TransactionalBatch) {
			b.DeleteItem("1", &azcosmos.TransactionalBatchItemOptions{IfMatchETag: &stale})
		}, "412"},
		{"another partition", func(b *azcosmos.TransactionalBatch) { b.UpsertItem([]byte(`{"id":"9","kind":"y"}`), nil) }, "400"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := items(t, connect(t, newServer(t, byKind)))
			fill(t, c, pk("x"), `{"id":"1","kind":"x","n":1}`)
			before := query(t, c, "SELECT * FROM c", pk("x"))

			batch := c.NewTransactionalBatch(pk("x"))
			batch.CreateItem([]byte(`{"id":"2","kind":"x"}`), nil)
			batch.ReplaceItem("1", []byte(`{"id":"1","kind":"x","n":2}`), nil)
			test.add(&batch)
			batch.DeleteItem("2", nil)
			got, err := c.ExecuteTransactionalBatch(t.Context(), batch, nil)
			if err != nil || got.Success || got.RawResponse.StatusCode != 207 || statuses(got.OperationResults) != "424 424 "+test.want+" 424" {
				t.Errorf("statuses %s, %v", statuses(got.OperationResults), err)
			}
			if after := query(t, c, "SELECT * FROM c", pk("x")); !equal(before, after) {
				t.Errorf("it left %s, not %s", after, before)
			}
			if _, err := c.CreateItem(t.Context(), pk("x"), []byte(`{"id":"2","kind":"x"}`), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBatchAndReplica: a batch that was rolled back never reaches the replica.
func TestBatchAndReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, byKind)
		s.Lag = time.Second
		c := items(t, connect(t, s))
		fill(t, c, pk("x"), `{"id":"1","kind":"x"}`)
		batch := c.NewTransactionalBatch(pk("x"))
		batch.DeleteItem("1", nil)
		batch.ReadItem("1", nil)
		if got, err := c.ExecuteTransactionalBatch(t.Context(), batch, nil); err != nil || statuses(got.OperationResults) != "424 404" {
			t.Fatalf("statuses %s, %v", statuses(got.OperationResults), err)
		}
		time.Sleep(time.Second)
		if got := query(t, c, "SELECT VALUE c.id FROM c", pk("x")); len(got) != 1 {
			t.Errorf("the replica has %s", got)
		}
	})
}

func TestBatchesThatAreRefused(t *testing.T) {
	create := func(n int) string {
		var ops []string
		for i := range n {
			ops = append(ops, fmt.Sprintf(`{"operationType":"Create","resourceBody":{"id":"%d","kind":"a"}}`, i))
		}
		return "[" + strings.Join(ops, ",") + "]"
	}
	for _, test := range []struct {
		name, body, atomic, key string
		want                    int
	}{
		{"100 operations are accepted", create(100), "True", `["a"]`, 200},
		{"101 operations are refused", create(101), "True", `["a"]`, 400},
		{"no operations are refused", create(0), "True", `["a"]`, 400},
		{"a batch without a partition key is refused", create(1), "True", ``, 400},
		{"a batch that is no array is refused", `{}`, "True", `["a"]`, 400},
		{"an unknown operation is refused", `[{"operationType":"Drop"}]`, "True", `["a"]`, 207},
		{"an operation without a body is refused", `[{"operationType":"Create"}]`, "True", `["a"]`, 207},
		{"a bulk request is not imitated", create(1), "False", `["a"]`, 501},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := map[string]string{"x-ms-cosmos-is-batch-request": "True", "x-ms-cosmos-batch-atomic": test.atomic, "x-ms-documentdb-partitionkey": test.key}
			response, body := raw{"POST", "/dbs/db/colls/items/docs", header, test.body}.send(t, newServer(t, byKind))
			if response.StatusCode != test.want {
				t.Errorf("status %d, want %d: %.200s", response.StatusCode, test.want, body)
			}
		})
	}
}
