package cosmostest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An Op is a kind of request, named as azcosmos names it.
type Op string

// A query of databases or containers counts as a list. A request that is none
// of these has the Op "" and is answered with status 501.
const (
	ReadAccount            Op = "ReadAccount" // GET /, by which a client begins
	CreateDatabase         Op = "CreateDatabase"
	ReadDatabase           Op = "ReadDatabase"
	DeleteDatabase         Op = "DeleteDatabase"
	ListDatabases          Op = "ListDatabases"
	CreateContainer        Op = "CreateContainer"
	ReadContainer          Op = "ReadContainer"
	ReplaceContainer       Op = "ReplaceContainer"
	DeleteContainer        Op = "DeleteContainer"
	ListContainers         Op = "ListContainers"
	ReadPartitionKeyRanges Op = "ReadPartitionKeyRanges"
	CreateItem             Op = "CreateItem"
	ReadItem               Op = "ReadItem"
	UpsertItem             Op = "UpsertItem"
	ReplaceItem            Op = "ReplaceItem"
	PatchItem              Op = "PatchItem"
	DeleteItem             Op = "DeleteItem"
	ListItems              Op = "ListItems" // GET of all, without a query
	QueryItems             Op = "QueryItems"
	ExecuteBatch           Op = "ExecuteBatch"
)

// A Request is one request to a server. Its Header is shared and must not be
// changed.
type Request struct {
	Op        Op
	N         int    // 1 for the first request of this Op, and so on
	Database  string // id
	Container string // id
	// Item is the id in the path or, of a create and an upsert, in the body.
	Item string
	// PartitionKey is the header of this name: a JSON array, or "".
	PartitionKey string
	Header       http.Header
	// Status is that of the answer: 0 until there is one, and for ever if the
	// answer was lost.
	Status int
}

// Requests returns all requests so far, in order of arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.requests))
	for i, r := range s.requests {
		requests[i] = *r
	}
	return requests
}

// Count returns how many requests of op there were, with those that failed and
// those still under way.
func (s *Server) Count(op Op) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[op]
}

// ForgetRequests makes [Server.Requests] and [Server.Count], and the numbers
// of requests, start afresh.
func (s *Server) ForgetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
	clear(s.counts)
}

// begin counts and logs c.
func (s *Server) begin(c *call) *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[c.Op]++
	c.N = s.counts[c.Op]
	logged := c.Request
	s.requests = append(s.requests, &logged)
	return &logged
}

// A call is a request on its way through the server.
type call struct {
	Request
	method, path string
	item         string // id in the path
	body         []byte
	endpoint     string
	now          time.Time

	// What the client has signed.
	resourceType, link string
}

func newCall(r *http.Request, endpoint string) *call {
	c := &call{method: r.Method, path: r.URL.EscapedPath(), endpoint: endpoint}
	c.Header = r.Header.Clone() // the client may send the request again, changed
	c.PartitionKey = r.Header.Get("x-ms-documentdb-partitionkey")
	return c
}

// identify finds out what c is, from its method, path, headers and body.
func (c *call) identify() {
	var segments []string
	if path := strings.Trim(c.path, "/"); path != "" {
		segments = strings.Split(path, "/")
	}
	for i, segment := range segments {
		unescaped, err := url.PathUnescape(segment)
		if err != nil {
			return
		}
		segments[i] = unescaped
	}
	// What stands at even places are types, at odd places ids.
	n := len(segments)
	types := [...]string{"dbs", "colls", "docs"}
	if n == 5 && segments[4] == "pkranges" {
		types[2] = "pkranges"
	}
	for i := 0; i < n; i += 2 {
		if i/2 >= len(types) || segments[i] != types[i/2] {
			return
		}
	}
	if n > 0 {
		c.resourceType = segments[(n-1)/2*2]
		c.link = strings.Join(segments[:n/2*2], "/")
	}
	for i, id := range [...]*string{&c.Database, &c.Container, &c.item} {
		if 2*i+1 < n {
			*id = segments[2*i+1]
		}
	}
	c.Item = c.item
	c.Op = c.operation(n)

	if c.Op == CreateItem || c.Op == UpsertItem {
		var document struct{ ID string }
		_ = json.Unmarshal(c.body, &document) // a bad body is refused later
		c.Item = document.ID
	}
}

// operation returns the Op of c, whose path has n segments.
func (c *call) operation(n int) Op {
	feed := n%2 == 1 // of a type, rather than one resource
	method := c.method
	if feed {
		method += " all"
	}
	switch docs := c.resourceType == "docs"; {
	case c.flag("x-ms-cosmos-is-query-plan-request"), docs && c.Header.Get("A-IM") != "":
		return "" // the latter is the change feed
	case method == "POST all" && c.isQuery():
		method = "query"
	case method == "POST all" && docs && c.flag("x-ms-cosmos-is-batch-request"):
		return ExecuteBatch
	case method == "POST all" && docs && c.flag("x-ms-documentdb-is-upsert"):
		return UpsertItem
	}
	return operations[c.resourceType][method]
}

// operations are the kinds of requests by type and method.
var operations = map[string]map[string]Op{
	"":         {"GET": ReadAccount},
	"dbs":      {"POST all": CreateDatabase, "GET": ReadDatabase, "DELETE": DeleteDatabase, "GET all": ListDatabases, "query": ListDatabases},
	"colls":    {"POST all": CreateContainer, "GET": ReadContainer, "PUT": ReplaceContainer, "DELETE": DeleteContainer, "GET all": ListContainers, "query": ListContainers},
	"docs":     {"POST all": CreateItem, "GET": ReadItem, "PUT": ReplaceItem, "PATCH": PatchItem, "DELETE": DeleteItem, "GET all": ListItems, "query": QueryItems},
	"pkranges": {"GET all": ReadPartitionKeyRanges},
}

// flag reports whether a header says true.
func (c *call) flag(name string) bool { return strings.EqualFold(c.Header.Get(name), "true") }

func (c *call) isQuery() bool {
	return strings.HasPrefix(c.Header.Get("Content-Type"), "application/query+json") ||
		c.flag("x-ms-documentdb-isquery") || c.flag("x-ms-documentdb-query")
}

// minimal reports whether the client wants no body in answer to a write.
func (c *call) minimal() bool { return strings.EqualFold(c.Header.Get("Prefer"), "return=minimal") }
