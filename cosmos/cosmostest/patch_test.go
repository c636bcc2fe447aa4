package cosmostest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
)

func TestPatch(t *testing.T) {
	const item = `{"id":"a","n":1,"f":1.5,"s":"x","list":[1,2],"o":{"p":1,"a/b":0},"nil":null}`
	for _, test := range []struct{ patch, want string }{
		{`{"op":"add","path":"/new","value":{"x":[1]}}`, `{"id":"a","n":1,"f":1.5,"s":"x","list":[1,2],"o":{"p":1,"a/b":0},"nil":null,"new":{"x":[1]}}`},
		{`{"op":"set","path":"/s","value":"y"},{"op":"remove","path":"/list"},{"op":"remove","path":"/o"}`, `{"id":"a","n":1,"f":1.5,"s":"y","nil":null}`},
		{`{"op":"replace","path":"/o/a~1b"}`, `{"id":"a","n":1,"f":1.5,"s":"x","list":[1,2],"o":{"p":1,"a/b":null},"nil":null}`},
		{`{"op":"incr","path":"/n","value":-3},{"op":"incr","path":"/f","value":1},{"op":"incr","path":"/o/new","value":2}`, `{"id":"a","n":-2,"f":2.5,"s":"x","list":[1,2],"o":{"p":1,"a/b":0,"new":2},"nil":null}`},
		{`{"op":"add","path":"/list/0","value":0},{"op":"add","path":"/list/-","value":3},{"op":"set","path":"/list/1","value":9},{"op":"remove","path":"/list/2"}`, `{"id":"a","n":1,"f":1.5,"s":"x","list":[0,9,3],"o":{"p":1,"a/b":0},"nil":null}`},
		{`{"op":"replace","path":"/missing","value":1}`, "400"},
		{`{"op":"remove","path":"/missing"}`, "400"},
		{`{"op":"remove","path":"/list/2"}`, "400"},
		{`{"op":"add","path":"/list/3","value":0}`, "400"},
		{`{"op":"add","path":"/list/x","value":0}`, "400"},
		{`{"op":"add","path":"/missing/below","value":1}`, "400"},
		{`{"op":"add","path":"/s/below","value":1}`, "400"},
		{`{"op":"incr","path":"/s","value":1}`, "400"},
		{`{"op":"incr","path":"/nil","value":1}`, "400"},
		{`{"op":"incr","path":"/n","value":"1"}`, "400"},
		{`{"op":"set","path":"/id","value":"b"}`, "400"},
		{`{"op":"set","path":"/_ts","value":1}`, "400"},
		{`{"op":"set","path":"n","value":1}`, "400"},
		{`{"op":"set","path":"/ttl","value":0}`, "400"},
		{`{"op":"move","from":"/n","path":"/m"}`, "400"},
		{``, "400"},
		{strings.TrimSuffix(strings.Repeat(`{"op":"incr","path":"/n","value":1},`, 11), ","), "400"},
		{`not JSON`, "400"},
	} {
		t.Run(fmt.Sprintf("%.80s", test.patch), func(t *testing.T) {
			s := newServer(t, byID)
			c := items(t, connect(t, s))
			fill(t, c, pk("a"), item)
			response, body := raw{"PATCH", "/dbs/db/colls/items/docs/a", nil, `{"operations":[` + test.patch + `]}`}.send(t, s)
			got, want := itoa(response.StatusCode), test.want
			if response.StatusCode == 200 {
				got, _, _ = strings.Cut(body, `,"_rid"`)
				got += "}"
			} else {
				read, err := c.ReadItem(t.Context(), pk("a"), "a", nil)
				if err != nil || !strings.HasPrefix(string(read.Value), strings.TrimSuffix(item, "}")) {
					t.Errorf("a refused patch left %s, %v", read.Value, err)
				}
			}
			if got != want {
				t.Errorf("got %s, want %s: %s", got, want, body)
			}
		})
	}
}

func TestPatchOnConditions(t *testing.T) {
	ctx := t.Context()
	c := items(t, connect(t, newServer(t, byKind)))
	fill(t, c, pk("x"), `{"id":"a","kind":"x","n":1}`)
	patch := func(condition string, o *azcosmos.ItemOptions) error {
		var p azcosmos.PatchOperations
		p.AppendIncrement("/n", 1)
		if condition != "" {
			p.SetCondition(condition)
		}
		_, err := c.PatchItem(ctx, pk("x"), "a", p, o)
		return err
	}
	stale := azcore.ETag(`"stale"`)
	wantStatus(t, patch("FROM c WHERE c.n = 1", nil), 0)
	wantStatus(t, patch("FROM c WHERE c.n = 1", nil), 412)
	wantStatus(t, patch("WHERE c.n = 1", nil), 400)
	wantStatus(t, patch("FROM c WHERE c.n = 2 LIMIT", nil), 400)
	wantStatus(t, patch("", &azcosmos.ItemOptions{IfMatchEtag: &stale}), 412)
	wantStatus(t, patch("", nil), 0)
	var p azcosmos.PatchOperations
	p.AppendSet("/kind", "y")
	_, err := c.PatchItem(ctx, pk("x"), "a", p, nil)
	wantStatus(t, err, 400)
	_, err = c.PatchItem(ctx, pk("x"), "missing", p, nil)
	wantStatus(t, err, 404)
	if got, err := c.ReadItem(ctx, pk("x"), "a", nil); err != nil || member(t, got.Value, "n") != 3.0 {
		t.Errorf("read %s, %v", got.Value, err)
	}
}
