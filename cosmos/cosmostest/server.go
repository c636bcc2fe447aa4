package cosmostest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// EmulatorKey is the account key of the Azure Cosmos DB emulator. Microsoft
// publishes it: it protects nothing.
const EmulatorKey = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="

// A Server is one Cosmos DB account. It is an [http.Handler] to be served on a
// socket, and an [http.RoundTripper] that serves requests without one.
//
// Make it with [New] and set its fields before the first request. It is safe
// for concurrent use.
type Server struct {
	// Key is the account key, in base64. New sets it to EmulatorKey.
	Key string

	// Tokens are the Microsoft Entra ID tokens that are accepted beside the
	// key, and what each permits. Nothing but this table decides about a
	// token: it needs no form, no signature and no expiry.
	Tokens map[string]Role

	// Serverless makes an account without provisioned throughput, which
	// refuses the headers that ask for some.
	Serverless bool

	// Lag is how far the replica that answers reads and queries is behind the
	// writes, as may be the case under Session consistency, which is that of
	// the account. A request with the session token of a write sees that write
	// and those before it all the same. The default is 0.
	Lag time.Duration

	// Now is the clock, which Advance moves. The default, for nil, is time.Now.
	Now func() time.Time

	// Fault, unless nil, is called for each request before anything else
	// happens to it, and says how to spoil it. Calls may be concurrent.
	Fault func(Request) Fault

	endpoint string

	mu        sync.Mutex
	advanced  time.Duration
	databases map[string]*database
	serial    uint64 // of everything that needs a number of its own
	requests  []*Request
	counts    map[Op]int
}

var servers atomic.Int64

// New returns an account without databases.
func New() *Server {
	return &Server{
		Key:       EmulatorKey,
		endpoint:  fmt.Sprintf("https://account-%d.cosmostest.invalid", servers.Add(1)),
		databases: make(map[string]*database),
		counts:    make(map[Op]int),
	}
}

// Endpoint returns a URL for clients whose transport is s. No two servers have
// the same one, which matters to clients such as azcosmos that keep caches per
// endpoint in package variables.
func (s *Server) Endpoint() string { return s.endpoint }

// Advance moves the server's clock ahead, by which items expire, get their _ts
// and reach a lagging replica. The clock otherwise goes with Server.Now. The
// dates of signatures are held against time.Now alone, as clients do not know
// of the move.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advanced += d
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	answer, err := s.serve(r, scheme+r.Host)
	if err != nil {
		disconnect(w)
		return
	}
	for name, values := range answer.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(answer.body)))
	if answer.status == http.StatusNoContent || answer.status == http.StatusNotModified {
		w.Header().Del("Content-Length")
	}
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body)
}

// serve answers r, or returns the error that a client gets instead of an
// answer.
func (s *Server) serve(r *http.Request, endpoint string) (*reply, error) {
	c := newCall(r, endpoint)
	var tooLarge bool
	if r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		if err != nil {
			return nil, err
		}
		c.body, tooLarge = body, len(body) > maxBody
		if tooLarge {
			// Clients that are still writing do not read an answer.
			_, _ = io.CopyN(io.Discard, r.Body, 16*maxBody)
		}
	}
	c.identify()

	logged := s.begin(c)
	var fault Fault
	if s.Fault != nil && !tooLarge {
		fault = s.Fault(c.Request)
	}
	answer, err := fault.apply(r.Context(), func() *reply { return s.do(c, tooLarge) })
	if err == nil {
		s.mu.Lock()
		logged.Status = answer.status
		s.mu.Unlock()
	}
	return answer, err
}

// do carries c out.
func (s *Server) do(c *call, tooLarge bool) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.now = time.Now()
	if s.Now != nil {
		c.now = s.Now()
	}
	c.now = c.now.Add(s.advanced)

	var answer *reply
	err := error(fail(http.StatusRequestEntityTooLarge, "Request size is too large"))
	if !tooLarge {
		answer, err = s.handle(c)
	}
	if err != nil {
		answer = failed(asFailure(err))
	}
	s.serial++
	h := answer.header
	h.Set("x-ms-activity-id", fmt.Sprintf("00000000-0000-4000-8000-%012x", s.serial))
	h.Set("x-ms-request-charge", strconv.FormatFloat(answer.charge(c.Op), 'f', 2, 64))
	h.Set("x-ms-session-token", s.sessionToken(c))
	h.Set("x-ms-gatewayversion", "version=cosmostest")
	if len(answer.body) > 0 {
		h.Set("Content-Type", "application/json")
	}
	return answer
}

func (s *Server) handle(c *call) (*reply, error) {
	if c.Op == "" {
		return nil, fail(http.StatusNotImplemented, "cosmostest does not imitate %s %s", c.method, c.path)
	}
	if err := s.authorize(c); err != nil {
		return nil, err
	}
	if err := checkID(c.item); err != nil {
		return nil, err
	}
	switch c.Op {
	case ReadAccount:
		return s.readAccount(c)
	case CreateDatabase:
		return s.createDatabase(c)
	case ReadDatabase:
		return s.readDatabase(c)
	case DeleteDatabase:
		return s.deleteDatabase(c)
	case ListDatabases:
		return s.listDatabases(c)
	case CreateContainer:
		return s.createContainer(c)
	case ListContainers:
		return s.listContainers(c)
	}

	co, err := s.findContainer(c)
	if err != nil {
		return nil, err
	}
	switch c.Op {
	case ReadContainer:
		return co.read(c)
	case ReplaceContainer:
		return s.replaceContainer(c, co)
	case DeleteContainer:
		return s.deleteContainer(c, co)
	case ReadPartitionKeyRanges:
		return co.readRanges(c)
	case QueryItems, ListItems:
		return s.queryItems(c, co)
	case ExecuteBatch:
		return s.executeBatch(c, co)
	}
	return s.serveItem(c, co)
}

func (s *Server) readAccount(c *call) (*reply, error) {
	location := []any{map[string]any{"name": "Local", "databaseAccountEndpoint": c.endpoint + "/"}}
	return jsonReply(http.StatusOK, map[string]any{
		"_self":                        "",
		"id":                           "cosmostest",
		"_rid":                         "cosmostest",
		"_dbs":                         "//dbs/",
		"media":                        "//media/",
		"addresses":                    "//addresses/",
		"writableLocations":            location,
		"readableLocations":            location,
		"enableMultipleWriteLocations": false,
		"userConsistencyPolicy":        map[string]any{"defaultConsistencyLevel": "Session"},
		"userReplicationPolicy":        map[string]any{"asyncReplication": false, "minReplicaSetSize": 3, "maxReplicasetSize": 4},
		"systemReplicationPolicy":      map[string]any{"minReplicaSetSize": 3, "maxReplicasetSize": 4},
		"readPolicy":                   map[string]any{"primaryReadCoefficient": 1, "secondaryReadCoefficient": 1},
		"queryEngineConfiguration":     "{}",
	}), nil
}

// next returns a number that no other resource of s has.
func (s *Server) next() uint64 {
	s.serial++
	return s.serial
}

// newETag returns an eTag with the quotes that belong to it.
func (s *Server) newETag() string {
	return fmt.Sprintf(`"%08x-0000-0000-0000-000000000000"`, s.next())
}

// A reply is the answer to a request.
type reply struct {
	status int
	header http.Header
	body   []byte
	cost   float64 // in request units, 0 for the usual of the operation
}

func newReply(status int, body []byte) *reply {
	return &reply{status: status, header: make(http.Header), body: body}
}

func (r *reply) etag(etag string) *reply {
	r.header.Set("ETag", etag)
	return r
}

func (r *reply) charge(op Op) float64 {
	switch op {
	case CreateItem, UpsertItem, ReplaceItem, PatchItem, DeleteItem, ExecuteBatch:
		return cmp.Or(r.cost, 5.5)
	}
	return cmp.Or(r.cost, max(1, kib(len(r.body))))
}

func kib(n int) float64 { return float64(n) / 1024 }

// A failure is an error that the client gets as an answer.
type failure struct {
	status    int
	substatus int
	message   string
}

func fail(status int, format string, args ...any) *failure {
	return &failure{status: status, message: fmt.Sprintf(format, args...)}
}

// sub sets the number that tells apart the causes of a status.
func (f *failure) sub(substatus int) *failure {
	f.substatus = substatus
	return f
}

func (f *failure) Error() string { return f.message }

func asFailure(err error) *failure {
	var f *failure
	if !errors.As(err, &f) {
		f = fail(http.StatusInternalServerError, "%v", err)
	}
	return f
}

func failed(f *failure) *reply {
	code := strings.ReplaceAll(http.StatusText(f.status), " ", "")
	if f.status == 449 {
		code = "RetryWith"
	}
	r := jsonReply(f.status, map[string]any{"code": code, "message": f.message})
	if f.substatus != 0 {
		r.header.Set("x-ms-substatus", strconv.Itoa(f.substatus))
	}
	return r
}
