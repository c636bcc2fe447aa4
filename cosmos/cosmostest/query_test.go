package cosmostest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
)

// query returns what a query selects, page by page.
func query(t *testing.T, c *azcosmos.ContainerClient, text string, key azcosmos.PartitionKey) []string {
	t.Helper()
	found, err := tryQuery(t, c, text, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func tryQuery(t *testing.T, c *azcosmos.ContainerClient, text string, key azcosmos.PartitionKey, o *azcosmos.QueryOptions) (found []string, err error) {
	t.Helper()
	for pager := c.NewQueryItemsPager(text, key, o); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			found = append(found, string(item))
		}
	}
	return found, nil
}

func fill(t *testing.T, c *azcosmos.ContainerClient, key azcosmos.PartitionKey, items ...string) {
	t.Helper()
	for _, item := range items {
		if _, err := c.CreateItem(t.Context(), key, []byte(item), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQueries(t *testing.T) {
	c := items(t, connect(t, newServer(t, byKind)))
	fill(t, c, pk("x"),
		`{"id":"1","kind":"x","n":3,"s":"b","o":{"p q":[10,20]}}`,
		`{"id":"2","kind":"x","n":1,"s":"a","t":true,"value":"v"}`,
		`{"id":"3","kind":"x","n":2,"s":"c","u":null}`,
		`{"id":"4","kind":"x","s":"it's \"d\""}`,
	)
	fill(t, c, pk("y"), `{"id":"1","kind":"y","n":9}`)
	parameters := []azcosmos.QueryParameter{{Name: "@n", Value: 2}, {Name: "@s", Value: "a"}, {Name: "@two", Value: 2}}

	for _, test := range []struct{ query, want string }{
		{`SELECT VALUE c.id FROM c`, `"1" "2" "3" "4"`},
		{`select value root.id from root`, `"1" "2" "3" "4"`},
		{`SELECT VALUE c.id FROM docs AS c WHERE c.n = 1`, `"2"`},
		{`SELECT c.id, c.n FROM c WHERE c.n >= 2`, `{"id":"1","n":3} {"id":"3","n":2}`},
		{`SELECT c.n AS number, c.o["p q"][1] second FROM c WHERE c.id = '1'`, `{"number":3,"second":20}`},
		{`SELECT c.o["p q"][1], c["value"] FROM c WHERE c.n <= 1`, `{"value":"v"}`},
		{`SELECT VALUE c.o FROM c`, `{"p q":[10,20]}`},
		{`SELECT VALUE c.id FROM c WHERE c.n < @n`, `"2"`},
		{`SELECT VALUE c.id FROM c WHERE c.n > 1.5e0 AND c.n != 3`, `"3"`},
		{`SELECT VALUE c.id FROM c WHERE -1 < c.n AND c.n <> 2`, `"1" "2"`},
		{`SELECT VALUE c.id FROM c WHERE c.n = 1 OR c.n = 2 AND c.s = "b"`, `"2"`},
		{`SELECT VALUE c.id FROM c WHERE (c.n = 1 OR c.n = 2) AND c.s = "c"`, `"3"`},
		{`SELECT VALUE c.id FROM c WHERE NOT c.n = 1`, `"1" "3"`},
		{`SELECT VALUE c.id FROM c WHERE c.n != 1`, `"1" "3"`},
		{`SELECT VALUE c.id FROM c WHERE c.n = '1'`, ``},
		{`SELECT VALUE c.id FROM c WHERE c.n != '1'`, `"1" "2" "3"`},
		{`SELECT VALUE c.id FROM c WHERE c.n < 'z'`, ``},
		{`SELECT VALUE c.id FROM c WHERE c.s = 'it\'s "d"'`, `"4"`},
		{`SELECT VALUE c.id FROM c WHERE c.s = "it's \"d\""`, `"4"`},
		{`SELECT VALUE c.id FROM c WHERE c.t`, `"2"`},
		{`SELECT VALUE c.id FROM c WHERE c.t = true OR c.u = null`, `"2" "3"`},
		{`SELECT VALUE c.id FROM c WHERE c.t = false OR c.n = 3`, `"1"`},
		{`SELECT VALUE c.id FROM c WHERE c.missing = undefined`, ``},
		{`SELECT VALUE c.id FROM c WHERE c.n IN (1, @n)`, `"2" "3"`},
		{`SELECT VALUE c.id FROM c WHERE c.n NOT IN (1, 2)`, `"1"`},
		{`SELECT VALUE c.id FROM c WHERE IS_DEFINED(c.u) AND IS_NULL(c.u)`, `"3"`},
		{`SELECT VALUE c.id FROM c WHERE NOT IS_DEFINED(c.n)`, `"4"`},
		{`SELECT VALUE c.id FROM c WHERE STARTSWITH(c.s, 'it') OR ENDSWITH(c.s, @s) OR CONTAINS(c.n, '3')`, `"2" "4"`},
		{`SELECT VALUE c.id FROM c WHERE c.o = c.o`, `"1"`},
		{`SELECT VALUE c.id FROM c ORDER BY c.n`, `"4" "2" "3" "1"`},
		{`SELECT VALUE c.id FROM c ORDER BY c.n ASC`, `"4" "2" "3" "1"`},
		{`SELECT VALUE c.id FROM c ORDER BY c.s DESC`, `"4" "3" "1" "2"`},
		{`SELECT TOP 2 VALUE c.id FROM c`, `"1" "2"`},
		{`SELECT TOP @two VALUE c.id FROM c ORDER BY c._ts`, `"1" "2"`},
		{`SELECT TOP 0 VALUE c.id FROM c`, ``},
		{`SELECT VALUE c.id FROM c OFFSET 1 LIMIT 2`, `"2" "3"`},
		{`SELECT VALUE c.id FROM c ORDER BY c.n OFFSET 3 LIMIT 2`, `"1"`},
		{`SELECT VALUE c.id FROM c OFFSET 9 LIMIT 2`, ``},
		{`SELECT VALUE COUNT(1) FROM c`, `4`},
		{`SELECT VALUE COUNT(1) FROM c WHERE c.n > 1`, `2`},
	} {
		t.Run(test.query, func(t *testing.T) {
			for size := range int32(4) { // 0 leaves the size to the server
				o := &azcosmos.QueryOptions{QueryParameters: parameters, PageSizeHint: size}
				got, err := tryQuery(t, c, test.query, pk("x"), o)
				if err != nil || strings.Join(got, " ") != test.want {
					t.Errorf("in pages of %d: got %s, %v, want %s", size, strings.Join(got, " "), err, test.want)
				}
			}
		})
	}
}

func TestQueriesThatAreRefused(t *testing.T) {
	c := items(t, connect(t, newServer(t, byKind)))
	for _, test := range []struct{ query, near string }{
		{``, "its end"},
		{`SELECT`, "its end"},
		{`DELETE FROM c`, "DELETE"},
		{`SELECT * FROM c WHERE`, "its end"},
		{`SELECT * FROM c; DROP`, ";"},
		{`SELECT DISTINCT c.id FROM c`, "DISTINCT"},
		{`SELECT VALUE SUM(c.n) FROM c`, "SUM"},
		{`SELECT COUNT(1) FROM c`, "COUNT"},
		{`SELECT * FROM c JOIN d IN c.list`, "JOIN"},
		{`SELECT * FROM c IN c.list`, "IN"},
		{`SELECT * FROM c WHERE d.id = 1`, "d"},
		{`SELECT * FROM c WHERE c.value = 1`, "value"},
		{`SELECT * FROM c WHERE c.n + 1 = 2`, "+"},
		{`SELECT * FROM c WHERE c.n BETWEEN 1 AND 2`, "BETWEEN"},
		{`SELECT * FROM c WHERE c.s LIKE 'a%'`, "LIKE"},
		{`SELECT * FROM c WHERE LOWER(c.s) = 'a'`, "LOWER"},
		{`SELECT * FROM c WHERE IS_NULL(c.s, 1)`, "IS_NULL"},
		{`SELECT * FROM c WHERE c.s = 'open`, "'open"},
		{`SELECT * FROM c WHERE c.s = 'open\`, `'open\`},
		{`SELECT * FROM c WHERE c.s = '\q'`, `'\q'`},
		{`SELECT * FROM c WHERE c.n = 1.2.3`, "1.2.3"},
		{`SELECT * FROM c WHERE c.n = @missing`, "@missing"},
		{`SELECT * FROM c WHERE c[-1] = 1`, "-"},
		{`SELECT * FROM c GROUP BY c.n`, "GROUP"},
		{`SELECT * FROM c ORDER BY c.n, c.s`, ","},
		{`SELECT TOP x * FROM c`, "x"},
		{`SELECT * FROM c OFFSET 99999999999 LIMIT 1`, "99999999999"},
		{`SELECT * FROM c WHERE ` + strings.Repeat("(", 1000), "nested"},
		{`SELECT * FROM c WHERE ` + strings.Repeat("NOT ", 1000) + "c.t", "nested"},
	} {
		t.Run(fmt.Sprintf("%.60s", test.query), func(t *testing.T) {
			_, err := tryQuery(t, c, test.query, pk("x"), nil)
			if status(err) != 400 || !strings.Contains(err.Error(), strings.ReplaceAll(test.near, `\`, `\\`)) {
				t.Errorf("got %v, want status 400 that says %s", err, test.near)
			}
		})
	}
}

func TestQueriesAcrossPartitions(t *testing.T) {
	c := items(t, connect(t, newServer(t, byKind)))
	fill(t, c, pk("x"), `{"id":"1","kind":"x"}`, `{"id":"2","kind":"x"}`)
	fill(t, c, pk("y"), `{"id":"1","kind":"y"}`)
	none, no := azcosmos.NewPartitionKey(), false
	for _, test := range []struct {
		name, query string
		key         azcosmos.PartitionKey
		options     *azcosmos.QueryOptions
		want        string
	}{
		{"a partition key keeps a query to its partition", `SELECT VALUE c.kind FROM c`, pk("y"), nil, `"y"`},
		{"a filter may cross partitions", `SELECT VALUE c.kind FROM c WHERE c.id = '1'`, none, nil, `"x" "y"`},
		{"a query must say that it crosses partitions", `SELECT * FROM c`, none, &azcosmos.QueryOptions{EnableCrossPartitionQuery: &no}, `400/`},
		{"ORDER BY cannot cross partitions", `SELECT * FROM c ORDER BY c.id`, none, nil, `400/1004`},
		{"TOP cannot cross partitions", `SELECT TOP 1 * FROM c`, none, nil, `400/1004`},
		{"OFFSET cannot cross partitions", `SELECT * FROM c OFFSET 0 LIMIT 1`, none, nil, `400/1004`},
		{"COUNT cannot cross partitions", `SELECT VALUE COUNT(1) FROM c`, none, nil, `400/1004`},
		{"a filter on the partition key keeps a query to its partition", `SELECT VALUE c.id FROM c WHERE c.id != 'z' AND 'x' = c.kind ORDER BY c.id DESC`, none, nil, `"2" "1"`},
		{"a filter on one of two partition keys does not", `SELECT * FROM c WHERE c.kind = 'x' OR c.kind = 'y' ORDER BY c.id`, none, nil, `400/1004`},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := tryQuery(t, c, test.query, test.key, test.options)
			got := strings.Join(found, " ")
			if err != nil {
				got = itoa(status(err)) + "/" + substatus(err)
			}
			if got != test.want {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

// TestPagesSurviveDeletes: who deletes each page before reading the next sees
// every item once.
func TestPagesSurviveDeletes(t *testing.T) {
	c := items(t, connect(t, newServer(t, byKind)))
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("%q", itoa(i)))
		fill(t, c, pk("x"), `{"id":"`+itoa(i)+`","kind":"x"}`)
	}
	var got []string
	for pager := c.NewQueryItemsPager("SELECT VALUE c.id FROM c", pk("x"), &azcosmos.QueryOptions{PageSizeHint: 10}); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range page.Items {
			got = append(got, string(id))
			if _, err := c.DeleteItem(t.Context(), pk("x"), strings.Trim(string(id), `"`), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPagesAreBounded(t *testing.T) {
	s := newServer(t, byKind)
	c := items(t, connect(t, s))
	for i := range 5 {
		fill(t, c, pk("x"), `{"id":"`+itoa(i)+`","kind":"x","s":"`+strings.Repeat("x", 1<<20)+`"}`)
	}
	pager := c.NewQueryItemsPager("SELECT * FROM c", pk("x"), nil)
	page, err := pager.NextPage(t.Context())
	if err != nil || len(page.Items) != 3 || !pager.More() {
		t.Errorf("a page of %d items over 1 MB, %v, want 3 of 5", len(page.Items), err)
	}
	for name, value := range map[string]string{"x-ms-max-item-count": "0", "x-ms-continuation": "mine"} {
		if response, body := (raw{"GET", "/dbs/db/colls/items/docs", map[string]string{name: value}, ""}).send(t, s); response.StatusCode != 400 {
			t.Errorf("%s: %s: %s: %.100s", name, value, response.Status, body)
		}
	}
}

func TestOrderNeedsAnIndex(t *testing.T) {
	for _, test := range []struct {
		policy, query string
		want          int
	}{
		{`{"indexingMode":"consistent","includedPaths":[{"path":"/*"}]}`, `SELECT * FROM c ORDER BY c.a`, 0},
		{`{"indexingMode":"consistent","excludedPaths":[{"path":"/*"}]}`, `SELECT * FROM c ORDER BY c.a`, 400},
		{`{"indexingMode":"consistent","excludedPaths":[{"path":"/*"}]}`, `SELECT * FROM c ORDER BY c._ts`, 0},
		{`{"indexingMode":"consistent","excludedPaths":[{"path":"/*"}]}`, `SELECT * FROM c WHERE c.a = 1`, 0},
		{`{"indexingMode":"consistent","includedPaths":[{"path":"/a/?"}],"excludedPaths":[{"path":"/*"}]}`, `SELECT * FROM c ORDER BY c.a`, 0},
		{`{"indexingMode":"consistent","includedPaths":[{"path":"/a/?"}],"excludedPaths":[{"path":"/*"}]}`, `SELECT * FROM c ORDER BY c.a.b`, 400},
		{`{"indexingMode":"consistent","includedPaths":[{"path":"/*"}],"excludedPaths":[{"path":"/a/*"}]}`, `SELECT * FROM c ORDER BY c.a.b`, 400},
		{`{"indexingMode":"None"}`, `SELECT * FROM c ORDER BY c._ts`, 400},
	} {
		t.Run(test.policy+" "+test.query, func(t *testing.T) {
			c := items(t, connect(t, newServer(t, `{"id":"items","partitionKey":{"paths":["/kind"]},"indexingPolicy":`+test.policy+`}`)))
			_, err := tryQuery(t, c, test.query, pk("x"), nil)
			wantStatus(t, err, test.want)
		})
	}
}

func TestReadMany(t *testing.T) {
	for _, definition := range []string{byID, byKind} {
		c := items(t, connect(t, newServer(t, definition)))
		var wanted []azcosmos.ItemIdentity
		for _, id := range []string{"a", "b", "missing"} {
			key := pk("x")
			if definition == byID {
				key = pk(id)
			}
			if id != "missing" {
				fill(t, c, key, `{"id":"`+id+`","kind":"x"}`)
			}
			wanted = append(wanted, azcosmos.ItemIdentity{ID: id, PartitionKey: key})
		}
		got, err := c.ReadManyItems(t.Context(), wanted, nil)
		if err != nil || len(got.Items) != 2 {
			t.Errorf("found %s, %v, want two items", got.Items, err)
		}
	}
}

func TestListsOfDatabasesAndContainers(t *testing.T) {
	s := newServer(t, byID)
	for _, definition := range []string{byKind, `{"id":"other","partitionKey":{"paths":["/id"]}}`} {
		_ = s.CreateContainer("db", definition)
	}
	client := connect(t, s)
	databases, err := client.NewQueryDatabasesPager("SELECT * FROM d WHERE d.id = 'db'", nil).NextPage(t.Context())
	if err != nil || len(databases.Databases) != 1 {
		t.Errorf("databases %v, %v", databases.Databases, err)
	}
	database := must[*azcosmos.DatabaseClient](t)(client.NewDatabase("db"))
	containers, err := database.NewQueryContainersPager("SELECT * FROM c", nil).NextPage(t.Context())
	if err != nil || len(containers.Containers) != 2 || containers.Containers[1].ID != "other" {
		t.Errorf("containers %v, %v", containers.Containers, err)
	}
}
