package cosmostest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

func TestTimeToLive(t *testing.T) {
	container := func(ttl string) string {
		return `{"id":"items","partitionKey":{"paths":["/id"]}` + ttl + `}`
	}
	const never = 1000 * time.Hour
	for _, test := range []struct {
		name       string
		definition string
		item       string
		life       time.Duration
	}{
		{"an item without a ttl lives as long as the container says", container(`,"defaultTtl":30`), `{"id":"a"}`, 30 * time.Second},
		{"an item's ttl comes before the container's", container(`,"defaultTtl":30`), `{"id":"a","ttl":5}`, 5 * time.Second},
		{"an item's ttl may be longer than the container's", container(`,"defaultTtl":30`), `{"id":"a","ttl":3600}`, time.Hour},
		{"an item with a ttl of -1 stays", container(`,"defaultTtl":30`), `{"id":"a","ttl":-1}`, never},
		{"a container with a defaultTtl of -1 keeps items without a ttl", container(`,"defaultTtl":-1`), `{"id":"a"}`, never},
		{"a container with a defaultTtl of -1 honours an item's ttl", container(`,"defaultTtl":-1`), `{"id":"a","ttl":5}`, 5 * time.Second},
		{"a container without a defaultTtl ignores an item's ttl", container(``), `{"id":"a","ttl":5}`, never},
		{"a container with a defaultTtl of null has none", container(`,"defaultTtl":null`), `{"id":"a","ttl":5}`, never},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, test.definition)
				c := items(t, connect(t, s))
				if _, err := c.CreateItem(t.Context(), pk("a"), []byte(test.item), nil); err != nil {
					t.Fatal(err)
				}
				time.Sleep(min(test.life, never) - 1)
				if got, err := c.ReadItem(t.Context(), pk("a"), "a", nil); err != nil {
					t.Fatalf("gone a nanosecond early: %v", err)
				} else if member(t, got.Value, "_ts") != float64(start.Unix()) {
					t.Errorf("_ts is %v, want the time of the write", member(t, got.Value, "_ts"))
				}
				time.Sleep(time.Nanosecond)
				_, err := c.ReadItem(t.Context(), pk("a"), "a", nil)
				if test.life == never {
					wantStatus(t, err, 0)
					return
				}
				wantStatus(t, err, 404)
				_, err = c.ReplaceItem(t.Context(), pk("a"), "a", []byte(`{"id":"a"}`), nil)
				wantStatus(t, err, 404)
				_, err = c.DeleteItem(t.Context(), pk("a"), "a", nil)
				wantStatus(t, err, 404)
				if got := query(t, c, "SELECT * FROM c", azcosmos.NewPartitionKey()); len(got) != 0 {
					t.Errorf("a query still finds %s", got)
				}
				_, err = c.CreateItem(t.Context(), pk("a"), []byte(`{"id":"a"}`), nil)
				wantStatus(t, err, 0)
			})
		})
	}
}

func TestTimeToLiveCountsFromTheLastWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, s := t.Context(), newServer(t, byID)
		c := items(t, connect(t, s))
		upsert := func(item string) {
			t.Helper()
			if _, err := c.UpsertItem(ctx, pk("a"), []byte(item), nil); err != nil {
				t.Fatal(err)
			}
		}
		read := func() error {
			_, err := c.ReadItem(ctx, pk("a"), "a", nil)
			return err
		}
		upsert(`{"id":"a","ttl":10}`)
		time.Sleep(9 * time.Second)
		wantStatus(t, read(), 0) // which does not prolong anything
		upsert(`{"id":"a","ttl":10}`)
		time.Sleep(9 * time.Second)
		wantStatus(t, read(), 0)
		time.Sleep(time.Second)
		wantStatus(t, read(), 404)

		// _ts has whole seconds, and so has the end.
		time.Sleep(900 * time.Millisecond)
		upsert(`{"id":"a","ttl":1}`)
		time.Sleep(100*time.Millisecond - 1)
		wantStatus(t, read(), 0)
		time.Sleep(time.Nanosecond)
		wantStatus(t, read(), 404)

		// The clock of the server alone can be moved.
		upsert(`{"id":"a","ttl":3600}`)
		s.Advance(time.Hour - 1)
		wantStatus(t, read(), 0)
		s.Advance(1)
		wantStatus(t, read(), 404)
	})
}

func TestTimeToLiveOfTheContainerCanChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, s := t.Context(), newServer(t, byID)
		c := items(t, connect(t, s))
		setTTL := func(ttl *int32) {
			t.Helper()
			definition := azcosmos.ContainerProperties{ID: "items", PartitionKeyDefinition: azcosmos.PartitionKeyDefinition{Paths: []string{"/id"}}, DefaultTimeToLive: ttl}
			if _, err := c.Replace(ctx, definition, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []string{"a", "b"} {
			if _, err := c.CreateItem(ctx, pk(id), []byte(`{"id":"`+id+`"}`), nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		ttl := int32(61)
		setTTL(&ttl) // counts for items that are there already
		_, err := c.ReadItem(ctx, pk("a"), "a", nil)
		wantStatus(t, err, 0)
		time.Sleep(time.Second)
		_, err = c.ReadItem(ctx, pk("a"), "a", nil)
		wantStatus(t, err, 404)
		setTTL(nil)
		_, err = c.ReadItem(ctx, pk("b"), "b", nil)
		wantStatus(t, err, 404)
	})
}

func TestItemLimits(t *testing.T) {
	nested := func(levels int) string {
		return `{"id":"a","n":` + strings.Repeat(`[`, levels-1) + strings.Repeat(`]`, levels-1) + `}`
	}
	padded := func(size int) string {
		const frame = `{"id":"a","s":""}`
		return `{"id":"a","s":"` + strings.Repeat("x", size-len(frame)) + `"}`
	}
	for _, test := range []struct {
		name         string
		partitionKey string
		body         string
		want         int
	}{
		{"an item of 2 MB is stored", `["a"]`, padded(2 << 20), 201},
		{"an item of a byte more is refused", `["a"]`, padded(2<<20 + 1), 413},
		{"128 levels are stored", `["a"]`, nested(128), 201},
		{"129 levels are refused", `["a"]`, nested(129), 400},
		{"brackets in strings are no levels", `["a"]`, `{"id":"a","s":"` + strings.Repeat(`[\"`, 200) + `"}`, 201},
		{"an id of 1023 bytes is stored", `["` + strings.Repeat("é", 511) + `a"]`, `{"id":"` + strings.Repeat("é", 511) + `a"}`, 201},
		{"an id of 1024 bytes is refused", `["` + strings.Repeat("é", 512) + `"]`, `{"id":"` + strings.Repeat("é", 512) + `"}`, 400},
		{"an empty id is refused", `[""]`, `{"id":""}`, 400},
		{"a missing id is refused", `[{}]`, `{}`, 400},
		{"an id that is no string is refused", `[1]`, `{"id":1}`, 400},
		{"a ttl of 0 is refused", `["a"]`, `{"id":"a","ttl":0}`, 400},
		{"a ttl of -2 is refused", `["a"]`, `{"id":"a","ttl":-2}`, 400},
		{"a ttl of 1.5 is refused", `["a"]`, `{"id":"a","ttl":1.5}`, 400},
		{"a ttl that is a string is refused", `["a"]`, `{"id":"a","ttl":"30"}`, 400},
		{"a ttl of null is refused", `["a"]`, `{"id":"a","ttl":null}`, 400},
		{"a ttl beyond 32 bits is refused", `["a"]`, `{"id":"a","ttl":2147483648}`, 400},
		{"the longest ttl is stored", `["a"]`, `{"id":"a","ttl":2147483647}`, 201},
		{"another partition key in the header is refused", `["b"]`, `{"id":"a"}`, 400},
		{"a missing partition key in the header is refused", ``, `{"id":"a"}`, 400},
		{"an empty partition key in the header is refused", `[]`, `{"id":"a"}`, 400},
		{"two partition keys in the header are refused", `["a","b"]`, `{"id":"a"}`, 400},
		{"an object as partition key is refused", `[{"a":1}]`, `{"id":"a"}`, 400},
		{"an escape of Go that JSON does not have is refused", `["\U0001f600"]`, `{"id":"😀"}`, 400},
		{"a body that is no JSON is refused", `["a"]`, `{"id":"a"`, 400},
		{"a body that is no object is refused", `["a"]`, `["id"]`, 400},
		{"a body with more behind it is refused", `["a"]`, `{"id":"a"}{}`, 400},
		{"a body that is not UTF-8 is refused", `["a"]`, "{\"id\":\"a\",\"s\":\"\xff\"}", 400},
		{"an empty body is refused", `["a"]`, ``, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, byID)
			header := map[string]string{"x-ms-documentdb-partitionkey": test.partitionKey}
			response, body := raw{"POST", "/dbs/db/colls/items/docs", header, test.body}.send(t, s)
			if response.StatusCode != test.want {
				t.Errorf("status %d, want %d: %.200s", response.StatusCode, test.want, body)
			}
			if !json.Valid([]byte(body)) {
				t.Errorf("the answer is no JSON: %.200s", body)
			}
		})
	}
}

func TestTooLargeABody(t *testing.T) {
	overBoth(t, byID, func(t *testing.T, s *cosmostest.Server, client *azcosmos.Client) {
		item := []byte(`{"id":"a","s":"` + strings.Repeat("x", 8<<20) + `"}`)
		_, err := items(t, client).UpsertItem(t.Context(), pk("a"), item, nil)
		wantStatus(t, err, 413)
	})
}

// TestIDsInPaths holds what azcosmos's own tests saw the service's gateway do.
func TestIDsInPaths(t *testing.T) {
	for _, test := range []struct {
		id   string
		want int // of a read, a replace and a delete
	}{
		{"Test", 0},
		{"This is a test", 0},
		{" Test", 0},
		{"Test ", 401},
		{"WithAllowedSpecial,=.:~+-@()^${}[]!_Chars", 0},
		{"EndingWithPercentEncodedWhitespace%20", 401},
		{"WithPercentEncodedSpecialChar%E9%B1%80", 401},
		{"Disallowed?Chars", 0},
		{"Disallowed/Chars", 401},
		{`Disallowed\Chars`, 401},
		{"Disallowed#Chars", 401},
		{"With\rCarriageReturn", 400},
		{"With\tTab", 400},
		{"With\nLineFeed", 400},
		{"WithUnicode鱀", 0},
	} {
		t.Run(fmt.Sprintf("%q", test.id), func(t *testing.T) {
			overBoth(t, byID, func(t *testing.T, s *cosmostest.Server, client *azcosmos.Client) {
				ctx, c := t.Context(), items(t, client)
				item, err := json.Marshal(map[string]string{"id": test.id})
				if err != nil {
					t.Fatal(err)
				}
				_, err = c.CreateItem(ctx, pk(test.id), item, nil)
				wantStatus(t, err, 0)
				_, err = c.ReadItem(ctx, pk(test.id), test.id, nil)
				wantStatus(t, err, test.want)
				_, err = c.ReplaceItem(ctx, pk(test.id), test.id, item, nil)
				wantStatus(t, err, test.want)
				_, err = c.DeleteItem(ctx, pk(test.id), test.id, nil)
				wantStatus(t, err, test.want)
			})
		})
	}
}

// TestDotsInPaths: azcosmos cleans the path, and so asks to delete the
// container, by a signature for something else.
func TestDotsInPaths(t *testing.T) {
	s := newServer(t, byID)
	c := items(t, connect(t, s))
	_, err := c.DeleteItem(t.Context(), pk(".."), "..", nil)
	wantStatus(t, err, 401)
	if n := s.Count(cosmostest.DeleteContainer); n != 1 {
		t.Errorf("%d requests to delete the container, want 1", n)
	}
}

func TestPartitionKeys(t *testing.T) {
	for _, test := range []struct {
		name, path, item string
		key              azcosmos.PartitionKey
	}{
		{"the id", "/id", `{"id":"a"}`, pk("a")},
		{"a string", "/_partitionKey", `{"id":"a","_partitionKey":"x"}`, pk("x")},
		{"a number, however it is written", "/k", `{"id":"a","k":1e1}`, azcosmos.NewPartitionKeyNumber(10)},
		{"a boolean", "/k", `{"id":"a","k":true}`, azcosmos.NewPartitionKeyBool(true)},
		{"null", "/k", `{"id":"a","k":null}`, azcosmos.NullPartitionKey},
		{"a string below", "/k/l", `{"id":"a","k":{"l":"x"}}`, pk("x")},
		{"a quoted name", `/\"a b\"/c`, `{"id":"a","a b":{"c":"x"}}`, pk("x")},
		{"what JSON escapes", "/k", `{"id":"a","k":"\u00e9<&>"}`, pk("é<&>")},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := t.Context()
			c := items(t, connect(t, newServer(t, `{"id":"items","partitionKey":{"paths":["`+test.path+`"]}}`)))
			_, err := c.CreateItem(ctx, test.key, []byte(test.item), nil)
			wantStatus(t, err, 0)
			_, err = c.ReadItem(ctx, test.key, "a", nil)
			wantStatus(t, err, 0)
			_, err = c.ReadItem(ctx, pk("other"), "a", nil)
			wantStatus(t, err, 404)
			_, err = c.UpsertItem(ctx, pk("other"), []byte(test.item), nil)
			if status(err) != 400 || substatus(err) != "1001" {
				t.Errorf("upsert with another key in the header: %v", err)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		s := newServer(t, byKind)
		header := map[string]string{"x-ms-documentdb-partitionkey": `[{}]`}
		for _, request := range []raw{
			{"POST", "/dbs/db/colls/items/docs", header, `{"id":"a"}`},
			{"GET", "/dbs/db/colls/items/docs/a", header, ``},
		} {
			if response, body := request.send(t, s); response.StatusCode >= 300 {
				t.Errorf("%s: %s %s", request.method, response.Status, body)
			}
		}
	})
}

func TestOneIDInTwoPartitions(t *testing.T) {
	ctx := t.Context()
	c := items(t, connect(t, newServer(t, byKind)))
	for _, kind := range []string{"x", "y"} {
		_, err := c.CreateItem(ctx, pk(kind), []byte(`{"id":"a","kind":"`+kind+`"}`), nil)
		wantStatus(t, err, 0)
	}
	_, err := c.DeleteItem(ctx, pk("x"), "a", nil)
	wantStatus(t, err, 0)
	got, err := c.ReadItem(ctx, pk("y"), "a", nil)
	if err != nil || member(t, got.Value, "kind") != "y" {
		t.Errorf("read %s, %v", got.Value, err)
	}
}

func TestReplaceCanRename(t *testing.T) {
	ctx := t.Context()
	c := items(t, connect(t, newServer(t, byKind)))
	for _, id := range []string{"a", "b"} {
		_, err := c.CreateItem(ctx, pk("x"), []byte(`{"id":"`+id+`","kind":"x"}`), nil)
		wantStatus(t, err, 0)
	}
	_, err := c.ReplaceItem(ctx, pk("x"), "a", []byte(`{"id":"b","kind":"x"}`), nil)
	wantStatus(t, err, 409)
	_, err = c.ReplaceItem(ctx, pk("x"), "missing", []byte(`{"id":"b","kind":"x"}`), nil)
	wantStatus(t, err, 404)
	_, err = c.ReplaceItem(ctx, pk("x"), "a", []byte(`{"id":"c","kind":"x"}`), nil)
	wantStatus(t, err, 0)
	_, err = c.ReadItem(ctx, pk("x"), "a", nil)
	wantStatus(t, err, 404)
	_, err = c.ReadItem(ctx, pk("x"), "c", nil)
	wantStatus(t, err, 0)
}

// TestItemsKeepTheirBytes: members keep their order and values, system
// properties that a client sends are replaced.
func TestItemsKeepTheirBytes(t *testing.T) {
	c := items(t, connect(t, newServer(t, byID)))
	item := `{"z":1.50,"_etag":"mine","id":"a", "a":{"y":12345678901234567890,"x":"<\u00e9>"},"z":2,"_ts":1}`
	_, err := c.CreateItem(t.Context(), pk("a"), []byte(item), nil)
	wantStatus(t, err, 0)
	got, err := c.ReadItem(t.Context(), pk("a"), "a", nil)
	if want := `{"z":2,"id":"a","a":{"y":12345678901234567890,"x":"<\u00e9>"},"_rid":"`; err != nil || !strings.HasPrefix(string(got.Value), want) {
		t.Errorf("read %s, want %s...", got.Value, want)
	}
	if member(t, got.Value, "_ts") == 1.0 || member(t, got.Value, "_etag") != string(got.ETag) || member(t, got.Value, "_attachments") != "attachments/" {
		t.Errorf("system properties: %s", got.Value)
	}
}

// TestOneOfManyWins: of writers that name the same eTag, one succeeds.
func TestOneOfManyWins(t *testing.T) {
	overBoth(t, byID, func(t *testing.T, s *cosmostest.Server, client *azcosmos.Client) {
		ctx, c := t.Context(), items(t, client)
		created := must[azcosmos.ItemResponse](t)(c.CreateItem(ctx, pk("a"), []byte(`{"id":"a"}`), nil))
		var mu sync.Mutex
		got := make(map[int]int)
		var writers sync.WaitGroup
		for range 10 {
			writers.Go(func() {
				_, err := c.ReplaceItem(ctx, pk("a"), "a", []byte(`{"id":"a"}`), &azcosmos.ItemOptions{IfMatchEtag: &created.ETag})
				mu.Lock()
				defer mu.Unlock()
				got[status(err)]++
			})
		}
		writers.Wait()
		if got[0] != 1 || got[412] != 9 {
			t.Errorf("statuses %v, want one success and nine 412", got)
		}
	})
}
