package cosmostest

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// A database is a database.
type database struct {
	id, rid, etag string
	serial        uint64
	timestamp     int64
	containers    map[string]*container
}

func (d *database) encode() []byte {
	return object{
		{"id", toJSON(d.id)},
		{"_rid", toJSON(d.rid)},
		{"_self", toJSON(d.self())},
		{"_etag", toJSON(d.etag)},
		{"_colls", toJSON("colls/")},
		{"_users", toJSON("users/")},
		{"_ts", toJSON(d.timestamp)},
	}.encode()
}

func (d *database) self() string { return "dbs/" + d.rid + "/" }

func (s *Server) createDatabase(c *call) (*reply, error) {
	var definition struct{ ID string }
	if err := json.Unmarshal(c.body, &definition); err != nil {
		return nil, fail(http.StatusBadRequest, "The request payload is invalid: %v", err)
	}
	if err := checkName(definition.ID); err != nil {
		return nil, err
	}
	if err := s.checkThroughput(c); err != nil {
		return nil, err
	}
	if s.databases[definition.ID] != nil {
		return nil, fail(http.StatusConflict, "Resource with specified id, name, or unique index already exists: database %q", definition.ID)
	}
	d := &database{
		id:         definition.ID,
		serial:     s.next(),
		etag:       s.newETag(),
		timestamp:  c.now.Unix(),
		containers: make(map[string]*container),
	}
	d.rid = resourceID(uint32(d.serial))
	s.databases[d.id] = d
	return newReply(http.StatusCreated, d.encode()).etag(d.etag), nil
}

func (s *Server) readDatabase(c *call) (*reply, error) {
	d, err := s.findDatabase(c)
	if err != nil {
		return nil, err
	}
	return newReply(http.StatusOK, d.encode()).etag(d.etag), nil
}

func (s *Server) deleteDatabase(c *call) (*reply, error) {
	d, err := s.findDatabase(c)
	if err != nil {
		return nil, err
	}
	if err := checkMatch(c.Header.Get("If-Match"), d.etag); err != nil {
		return nil, err
	}
	delete(s.databases, d.id)
	return newReply(http.StatusNoContent, nil), nil
}

func (s *Server) listDatabases(c *call) (*reply, error) {
	var rows []row
	for _, d := range s.databases {
		rows = append(rows, row{d.serial, &element{body: d.encode()}})
	}
	return feed(c, "Databases", "", rows)
}

func (s *Server) findDatabase(c *call) (*database, error) {
	if d := s.databases[c.Database]; d != nil {
		return d, nil
	}
	return nil, fail(http.StatusNotFound, "Resource Not Found: database %q", c.Database)
}

// checkName checks the id of a database or container.
func checkName(id string) error {
	if id == "" {
		return fail(http.StatusBadRequest, "The input content is invalid because the required properties - 'id; ' - are missing")
	}
	if len(id) > 255 || strings.ContainsAny(id, `/\?#`) || strings.HasSuffix(id, " ") {
		return fail(http.StatusBadRequest, `The id %q is invalid: it must have at most 255 bytes, none of / \ ? #, and no space at its end`, id)
	}
	return nil
}

// checkMatch holds an If-Match condition, if there is one, against the eTag of
// what is there.
func checkMatch(want, etag string) error {
	if want != "" && want != "*" && want != etag {
		return fail(http.StatusPreconditionFailed, "Operation cannot be performed because one of the specified precondition is not met.")
	}
	return nil
}

// resourceID returns an id as the service makes them for _rid: four bytes for
// a database, four more for a container, eight more for an item.
func resourceID(database uint32, below ...uint64) string {
	b := binary.BigEndian.AppendUint32(nil, database)
	if len(below) > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(below[0]))
	}
	if len(below) > 1 {
		b = binary.BigEndian.AppendUint64(b, below[1])
	}
	return strings.ReplaceAll(base64.StdEncoding.EncodeToString(b), "/", "-")
}

// checkThroughput checks the throughput that a request asks for, if it does.
func (s *Server) checkThroughput(c *call) error {
	manual, auto := c.Header.Get("x-ms-offer-throughput"), c.Header.Get("x-ms-cosmos-offer-autopilot-settings")
	var settings struct{ MaxThroughput int }
	switch {
	case manual == "" && auto == "":
		return nil
	case s.Serverless:
		return fail(http.StatusBadRequest, "Setting offer throughput or autopilot on container is not supported for serverless accounts.")
	case manual != "" && auto != "":
		return fail(http.StatusBadRequest, "A request cannot ask for both manual and autoscale throughput")
	case manual != "":
		if n, err := strconv.Atoi(manual); err != nil || n < 400 || n%100 != 0 {
			return fail(http.StatusBadRequest, "The offer throughput %q is invalid: it must be at least 400 and a multiple of 100", manual)
		}
	case json.Unmarshal([]byte(auto), &settings) != nil || settings.MaxThroughput < 1000 || settings.MaxThroughput%1000 != 0:
		return fail(http.StatusBadRequest, "The autopilot settings %q are invalid: maxThroughput must be at least 1000 and a multiple of 1000", auto)
	}
	return nil
}
