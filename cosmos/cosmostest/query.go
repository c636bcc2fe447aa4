package cosmostest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// What a page of a feed may hold.
const (
	defaultPage = 100     // items
	maxPage     = 4 << 20 // bytes
)

// A row is a resource of a feed, in which they are ordered by serial.
type row struct {
	serial uint64
	*element
}

// queryItems answers a query of items, or a request for all of them.
func (s *Server) queryItems(c *call, co *container) (*reply, error) {
	horizon, err := s.horizon(c, co)
	if err != nil {
		return nil, err
	}
	q, err := parseRequest(c)
	if err != nil {
		return nil, err
	}
	partition, err := co.scope(c, q)
	if err != nil {
		return nil, err
	}
	if q.orderBy != nil && !co.isIndexed(*q.orderBy) {
		return nil, fail(http.StatusBadRequest, "The order-by item is excluded from the index: see the container's indexing policy")
	}
	var rows []row
	add := func(partition string, items map[string][]version) {
		for id := range items {
			if d := co.at(itemKey{partition, id}, horizon, c.now); d != nil {
				rows = append(rows, row{d.serial, &d.element})
			}
		}
	}
	if partition != "" {
		add(partition, co.items[partition])
	} else {
		for partition, items := range co.items {
			add(partition, items)
		}
	}
	return page(c, q, "Documents", co.rid, rows)
}

// feed answers a query of other resources than items, or a request for all of
// them.
func feed(c *call, name, rid string, rows []row) (*reply, error) {
	q, err := parseRequest(c)
	if err != nil {
		return nil, err
	}
	return page(c, q, name, rid, rows)
}

// parseRequest parses the query that c is, if it is one.
func parseRequest(c *call) (query, error) {
	if c.method == http.MethodGet {
		return query{limit: -1}, nil
	}
	var body struct {
		Query      string
		Parameters []struct {
			Name  string
			Value any
		}
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		return query{}, fail(http.StatusBadRequest, "The query is invalid: %v", err)
	}
	parameters := make(map[string]any)
	for _, p := range body.Parameters {
		parameters[p.Name] = p.Value
	}
	return parseQuery(body.Query, parameters)
}

// scope returns the partition that c is about, "" for all, or an error if c
// can only be about one and does not say which.
func (co *container) scope(c *call, q query) (string, error) {
	if c.PartitionKey != "" {
		return parsePartition(c.PartitionKey)
	}
	key := path{}
	for _, name := range co.definition.partitionKey {
		key = append(key, name)
	}
	if v, ok := pinned(q.where, key); ok && v != any(undefined{}) {
		return canonical(toJSON(v))
	}
	if id := c.Header.Get("x-ms-documentdb-partitionkeyrangeid"); id != "" {
		if id != "0" && !strings.HasSuffix(id, ",0") {
			return "", fail(http.StatusGone, "The requested resource is no longer available at the server: partition key range %s", id).sub(1002)
		}
		return "", nil // the one physical partition that there is
	}
	switch {
	case c.Op == ListItems:
	case !c.flag("x-ms-documentdb-query-enablecrosspartition"):
		return "", fail(http.StatusBadRequest, "Cross partition query is required but disabled. Please set x-ms-documentdb-query-enablecrosspartition to true, specify x-ms-documentdb-partitionkey, or revise your query to avoid this exception.")
	case q.orderBy != nil || q.limit >= 0 || q.count:
		return "", fail(http.StatusBadRequest, "The provided cross partition query can not be directly served by the gateway. This is a first chance (internal) exception that all newer clients will know how to handle gracefully.").sub(1004)
	}
	return "", nil
}

// isIndexed reports whether p can be ordered by. Of the paths of the indexing
// policy that cover it, the longest decides.
func (co *container) isIndexed(p path) bool {
	if co.definition.withoutIndex {
		return false
	}
	if len(p) == 1 && (p[0] == "id" || p[0] == "_ts") {
		return true
	}
	longest := func(patterns []string) int {
		best := -1
		for _, pattern := range patterns {
			names := parsePath(pattern)
			if len(names) == 0 {
				continue
			}
			// The last name is * for all below, or ? for a value.
			last := len(names) - 1
			score := 2 * last
			if names[last] != "*" {
				score++
			}
			if len(p) == last || len(p) > last && names[last] == "*" {
				if slices.EqualFunc(names[:last], p[:last], func(name string, step any) bool { return name == step || name == "[]" }) {
					best = max(best, score)
				}
			}
		}
		return best
	}
	included := longest(co.definition.indexed)
	return included >= 0 && included >= longest(co.definition.notIndexed)
}

// A match is a row that a query selects.
type match struct {
	serial uint64
	order  any             // what it is ordered by
	value  json.RawMessage // nil if it has none to show
}

// page answers with the part of a feed that c asks for.
func page(c *call, q query, name, rid string, rows []row) (*reply, error) {
	size, err := pageSize(c)
	if err != nil {
		return nil, err
	}
	// A feed in order of creation goes on behind the last row that was shown,
	// whatever was deleted meanwhile. Other feeds can only count.
	var after uint64
	var shown int
	if token := c.Header.Get("x-ms-continuation"); token != "" {
		if _, err := fmt.Sscanf(token, "after:%d,shown:%d", &after, &shown); err != nil || shown < 0 || shown > math.MaxInt32 {
			return nil, fail(http.StatusBadRequest, "The continuation token %q is invalid", token)
		}
	}
	counted := q.orderBy != nil || q.offset > 0
	var matches []match
	for _, r := range rows {
		if !counted && r.serial <= after || q.where != nil && q.where.eval(r.element) != true {
			continue
		}
		m := match{serial: r.serial, value: q.selectFrom(r.element)}
		if q.orderBy != nil {
			m.order = q.orderBy.eval(r.element)
		}
		matches = append(matches, m)
	}
	slices.SortFunc(matches, func(a, b match) int { return cmp.Compare(a.serial, b.serial) })
	if q.orderBy != nil {
		slices.SortStableFunc(matches, func(a, b match) int {
			if q.desc {
				a, b = b, a
			}
			return compare(a.order, b.order)
		})
	}
	if q.count {
		matches = []match{{value: toJSON(len(matches))}}
	}

	skip, limit := q.offset, q.limit
	if counted {
		skip += shown
	}
	if limit >= 0 {
		limit = max(0, limit-shown)
	}
	matches = matches[min(skip, len(matches)):]
	if limit >= 0 {
		matches = matches[:min(limit, len(matches))]
	}

	values := []json.RawMessage{}
	bytes, taken := 0, 0
	for _, m := range matches {
		if taken == size || taken > 0 && bytes+len(m.value) > maxPage {
			break
		}
		if m.value != nil {
			values = append(values, m.value)
		}
		bytes += len(m.value)
		after = m.serial
		taken++
	}
	r := jsonReply(http.StatusOK, map[string]any{"_rid": rid, name: values, "_count": len(values)})
	r.cost = 2.8 + kib(bytes)
	r.header.Set("x-ms-item-count", strconv.Itoa(len(values)))
	if taken < len(matches) {
		r.header.Set("x-ms-continuation", fmt.Sprintf("after:%d,shown:%d", after, shown+taken))
	}
	return r, nil
}

// pageSize returns the most rows that c wants in a page.
func pageSize(c *call) (int, error) {
	header := c.Header.Get("x-ms-max-item-count")
	if header == "" || header == "-1" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(header)
	if err != nil || n < 1 {
		return 0, fail(http.StatusBadRequest, "The value of x-ms-max-item-count %q is invalid: it must be a positive integer, or -1", header)
	}
	return n, nil
}

// selectFrom returns what q shows of an item, nil if that is undefined.
func (q query) selectFrom(item *element) json.RawMessage {
	if q.columns == nil {
		return item.body
	}
	if q.value {
		return q.columns[0].path.find(item)
	}
	selected := object{}
	for _, c := range q.columns {
		if v := c.path.find(item); v != nil {
			selected.set(c.name, v)
		}
	}
	return selected.encode()
}
