package cosmostest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

func TestRequestLog(t *testing.T) {
	s := newServer(t, byID)
	s.Fault = spoil(cosmostest.ReadItem, 1, cosmostest.Fault{Reset: true})
	c := items(t, connect(t, s))
	if _, err := c.CreateItem(t.Context(), pk("a"), []byte(`{"id":"a"}`), nil); err != nil {
		t.Fatal(err)
	}
	s.ForgetRequests()
	ctx := policy.WithHTTPHeader(t.Context(), http.Header{"X-Test": {"yes"}})
	if _, err := c.ReplaceItem(ctx, pk("a"), "a", []byte(`{"id":"a"}`), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReplaceItem(t.Context(), pk("b"), "b", []byte(`{"id":"b"}`), nil); err == nil {
		t.Fatal("replaced what is not there")
	}
	got := s.Requests()
	if len(got) != 2 {
		t.Fatalf("logged %+v", got)
	}
	first, second := got[0], got[1]
	if first.Header.Get("X-Test") != "yes" {
		t.Errorf("the header was not logged: %v", first.Header)
	}
	first.Header, second.Header = nil, nil
	type r = cosmostest.Request
	if want := (r{Op: "ReplaceItem", N: 1, Database: "db", Container: "items", Item: "a", PartitionKey: `["a"]`, Status: 200}); !equal(first, want) {
		t.Errorf("logged %+v, want %+v", first, want)
	}
	if want := (r{Op: "ReplaceItem", N: 2, Database: "db", Container: "items", Item: "b", PartitionKey: `["b"]`, Status: 404}); !equal(second, want) {
		t.Errorf("logged %+v, want %+v", second, want)
	}
}

func TestWhatIsNotImitated(t *testing.T) {
	for _, test := range []struct {
		name    string
		request raw
	}{
		{"stored procedures", raw{"POST", "/dbs/db/colls/items/sprocs", nil, `{}`}},
		{"users", raw{"GET", "/dbs/db/users", nil, ""}},
		{"conflicts", raw{"GET", "/dbs/db/colls/items/conflicts", nil, ""}},
		{"deeper paths", raw{"GET", "/dbs/db/colls/items/docs/a/attachments", nil, ""}},
		{"other methods", raw{"PUT", "/dbs/db", nil, `{}`}},
		{"other methods of feeds", raw{"DELETE", "/dbs/db/colls/items/docs", nil, ""}},
		{"the change feed", raw{"GET", "/dbs/db/colls/items/docs", map[string]string{"A-IM": "Incremental Feed"}, ""}},
		{"query plans", raw{"POST", "/dbs/db/colls/items/docs", map[string]string{"x-ms-cosmos-is-query-plan-request": "True"}, "{}"}},
		{"triggers", raw{"POST", "/dbs/db/colls/items/docs", map[string]string{"x-ms-documentdb-pre-trigger-include": "t"}, `{"id":"a"}`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, body := test.request.send(t, newServer(t, byID))
			var answer struct{ Code, Message string }
			if err := json.Unmarshal([]byte(body), &answer); err != nil || response.StatusCode != 501 || !strings.Contains(answer.Message, "cosmostest does not imitate") {
				t.Errorf("%s: %s, want status 501 and a reason", response.Status, body)
			}
		})
	}
}

// FuzzRequests: whatever arrives is answered, in JSON.
func FuzzRequests(f *testing.F) {
	f.Add("POST", "docs", "", `{"id":"a"}`, "x-ms-documentdb-is-upsert", "true")
	f.Add("POST", "docs", "", `{"query":"SELECT TOP 1 c.a[0], c['b'] x FROM root c WHERE NOT (c.a = -1.5e3 OR c.b IN ('\\'', @p)) ORDER BY c.c DESC","parameters":[{"name":"@p","value":[{}]}]}`, "x-ms-documentdb-query", "true")
	f.Add("POST", "docs", "", `[{"operationType":"Patch","id":"a","resourceBody":{"condition":"FROM c WHERE c.n","operations":[{"op":"add","path":"/a/-"}]}}]`, "x-ms-cosmos-is-batch-request", "true")
	f.Add("PATCH", "docs", "a", `{"operations":[{"op":"incr","path":"/~0/1","value":1e308}]}`, "If-Match", `"x"`)
	f.Add("GET", "docs", "%2e%2e", ``, "x-ms-session-token", "0:-1#9,")
	f.Add("GET", "docs", "", ``, "x-ms-continuation", "after:1,shown:99999999999")
	f.Add("PUT", "", "", `{"id":"items","partitionKey":{"paths":["/\"\\u00"]}}`, "x-ms-offer-throughput", "1")
	f.Fuzz(func(t *testing.T, method, kind, id, body, name, value string) {
		s := newServer(t, byID)
		fill(t, items(t, connect(t, s)), pk("a"), `{"id":"a","n":1,"list":[1]}`)
		s.Tokens = map[string]cosmostest.Role{"t": cosmostest.DataContributor}
		target := s.Endpoint() + "/dbs/db/colls/items"
		for _, segment := range []string{kind, id} {
			if segment != "" {
				target += "/" + segment
			}
		}
		request, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil {
			return
		}
		request.Header.Set("Authorization", "type=aad&ver=1.0&sig=t")
		request.Header.Set("x-ms-documentdb-partitionkey", `["a"]`)
		request.Header.Set("x-ms-cosmos-batch-atomic", "true")
		request.Header.Set(name, value)
		response, err := s.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode == 500 || len(answer) > 0 && !json.Valid(answer) {
			t.Errorf("status %d, %v: %s", response.StatusCode, err, answer)
		}
	})
}
