package cosmostest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A container is a container with its items.
type container struct {
	database      *database
	id, rid, etag string
	serial        uint64
	definition    definition

	// The items by partition and id: their versions, the latest last, with those
	// that a lagging read sees.
	items   map[string]map[string][]version
	serials uint64   // of items
	lsn     int64    // of the latest write
	applied int64    // of the latest write that has reached the replica
	pending []commit // writes that have not
}

// A definition is what a client says of a container, understood.
type definition struct {
	members      object   // what to answer with
	partitionKey []string // path of the partition key
	defaultTTL   *int64   // in seconds, -1 for none, nil if items do not expire
	indexed      []string // paths in the form of the indexing policy
	notIndexed   []string
	withoutIndex bool
}

// known are the members of a definition that the service keeps.
var known = []string{
	"id", "partitionKey", "defaultTtl", "indexingPolicy", "uniqueKeyPolicy", "conflictResolutionPolicy",
	"analyticalStorageTtl", "geospatialConfig", "vectorEmbeddingPolicy", "fullTextPolicy", "computedProperties",
	"changeFeedPolicy", "clientEncryptionPolicy",
}

// parseDefinition checks and completes the definition of a container.
func parseDefinition(body []byte) (id string, d definition, err error) {
	o, ok := parseObject(body)
	if !ok {
		return "", d, fail(http.StatusBadRequest, "The request payload is invalid: it is no JSON object")
	}
	o = slices.DeleteFunc(o, func(m member) bool { return !slices.Contains(known, m.name) })
	_ = json.Unmarshal(o.get("id"), &id)
	if err := checkName(id); err != nil {
		return "", d, err
	}
	for _, read := range []func(*object) error{d.readPartitionKey, d.readIndexingPolicy, d.readTTL} {
		if err := read(&o); err != nil {
			return "", d, err
		}
	}
	var unique struct{ UniqueKeys []any }
	if _ = json.Unmarshal(o.get("uniqueKeyPolicy"), &unique); len(unique.UniqueKeys) > 0 {
		return "", d, fail(http.StatusNotImplemented, "cosmostest does not imitate unique keys")
	}
	if o.get("conflictResolutionPolicy") == nil {
		o.set("conflictResolutionPolicy", json.RawMessage(`{"mode":"LastWriterWins","conflictResolutionPath":"/_ts","conflictResolutionProcedure":""}`))
	}
	d.members = o
	return id, d, nil
}

func (d *definition) readPartitionKey(o *object) error {
	var key struct {
		Paths   []string `json:"paths"`
		Kind    string   `json:"kind"`
		Version int      `json:"version"`
	}
	if raw := o.get("partitionKey"); raw == nil || json.Unmarshal(raw, &key) != nil || len(key.Paths) == 0 {
		return fail(http.StatusBadRequest, "The partition key definition is missing or invalid: it must have a path")
	}
	if len(key.Paths) > 1 {
		return fail(http.StatusNotImplemented, "cosmostest does not imitate hierarchical partition keys")
	}
	d.partitionKey = parsePath(key.Paths[0])
	if d.partitionKey == nil {
		return fail(http.StatusBadRequest, "The partition key component definition path %q could not be accepted", key.Paths[0])
	}
	key.Kind = cmp.Or(key.Kind, "Hash")
	key.Version = cmp.Or(key.Version, 1)
	o.set("partitionKey", toJSON(key))
	return nil
}

func (d *definition) readIndexingPolicy(o *object) error {
	policy, ok := parseObject(o.get("indexingPolicy"))
	if !ok {
		policy, _ = parseObject([]byte(`{"indexingMode":"consistent","automatic":true,"includedPaths":[{"path":"/*"}],"excludedPaths":[{"path":"/\"_etag\"/?"}]}`))
	}
	mode := "consistent"
	if raw := policy.get("indexingMode"); raw != nil {
		_ = json.Unmarshal(raw, &mode)
	}
	mode = strings.ToLower(mode)
	if mode != "consistent" && mode != "none" {
		return fail(http.StatusBadRequest, "The indexing mode %q is invalid: it must be consistent or none", mode)
	}
	policy.set("indexingMode", toJSON(mode))
	o.set("indexingPolicy", policy.encode())

	for name, paths := range map[string]*[]string{"includedPaths": &d.indexed, "excludedPaths": &d.notIndexed} {
		var list []struct{ Path string }
		if raw := policy.get(name); raw != nil && json.Unmarshal(raw, &list) != nil {
			return fail(http.StatusBadRequest, "The indexing policy is invalid: %s is no list of paths", name)
		}
		for _, p := range list {
			*paths = append(*paths, p.Path)
		}
	}
	d.withoutIndex = mode == "none"
	return nil
}

func (d *definition) readTTL(o *object) error {
	raw := o.get("defaultTtl")
	if raw == nil || bytes.Equal(raw, []byte("null")) {
		o.delete("defaultTtl")
		return nil
	}
	ttl, ok := parseTTL(raw)
	if !ok {
		return fail(http.StatusBadRequest, "The value of defaultTtl %s is invalid. Ensure to provide a nonzero positive integer less than or equal to 2147483647, or -1 which means never expire.", raw)
	}
	if d.withoutIndex {
		return fail(http.StatusBadRequest, "The time to live feature needs an index: defaultTtl cannot be set with indexing mode none.")
	}
	d.defaultTTL = &ttl
	return nil
}

// parseTTL reads a time to live, which is a number of seconds or -1.
func parseTTL(raw json.RawMessage) (int64, bool) {
	var ttl int64
	if json.Unmarshal(raw, &ttl) != nil || ttl == 0 || ttl < -1 || ttl > math.MaxInt32 {
		return 0, false
	}
	return ttl, true
}

// define gives co a definition and a new version.
func (co *container) define(s *Server, d definition, now time.Time) {
	co.etag = s.newETag()
	co.definition = d
	for _, m := range []member{
		{"_rid", toJSON(co.rid)},
		{"_ts", toJSON(now.Unix())},
		{"_self", toJSON(co.self())},
		{"_etag", toJSON(co.etag)},
		{"_docs", toJSON("docs/")},
		{"_sprocs", toJSON("sprocs/")},
		{"_triggers", toJSON("triggers/")},
		{"_udfs", toJSON("udfs/")},
		{"_conflicts", toJSON("conflicts/")},
	} {
		co.definition.members.set(m.name, m.value)
	}
}

func (co *container) encode() []byte { return co.definition.members.encode() }

func (co *container) self() string { return co.database.self() + "colls/" + co.rid + "/" }

// CreateContainer creates a container, and its database where that is missing,
// without a request. The definition is the JSON that the REST API takes, such
// as
//
//	{"id":"state","partitionKey":{"paths":["/id"],"kind":"Hash"},"defaultTtl":-1}
func (s *Server) CreateContainer(database, definition string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{Request: Request{Database: database}, now: time.Now().Add(s.advanced)}
	if s.databases[database] == nil {
		c.body = toJSON(map[string]string{"id": database})
		if _, err := s.createDatabase(c); err != nil {
			return err
		}
	}
	c.body = []byte(definition)
	_, err := s.createContainer(c)
	return err
}

func (s *Server) createContainer(c *call) (*reply, error) {
	d, err := s.findDatabase(c)
	if err != nil {
		return nil, err
	}
	id, definition, err := parseDefinition(c.body)
	if err != nil {
		return nil, err
	}
	if err := s.checkThroughput(c); err != nil {
		return nil, err
	}
	if d.containers[id] != nil {
		return nil, fail(http.StatusConflict, "Resource with specified id, name, or unique index already exists: container %q", id)
	}
	co := &container{database: d, id: id, serial: s.next(), items: make(map[string]map[string][]version)}
	co.rid = resourceID(uint32(d.serial), co.serial)
	co.define(s, definition, c.now)
	d.containers[id] = co
	return newReply(http.StatusCreated, co.encode()).etag(co.etag), nil
}

func (s *Server) listContainers(c *call) (*reply, error) {
	d, err := s.findDatabase(c)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, co := range d.containers {
		rows = append(rows, row{co.serial, &element{body: co.encode()}})
	}
	return feed(c, "DocumentCollections", d.rid, rows)
}

func (s *Server) findContainer(c *call) (*container, error) {
	d, err := s.findDatabase(c)
	if err == nil {
		if co := d.containers[c.Container]; co != nil {
			return co, nil
		}
		err = fail(http.StatusNotFound, "Resource Not Found: container %q of database %q", c.Container, c.Database)
	}
	if c.resourceType != "colls" {
		err = fail(http.StatusNotFound, "Owner resource does not exist: container %q of database %q", c.Container, c.Database).sub(1003)
	}
	return nil, err
}

func (co *container) read(c *call) (*reply, error) {
	return newReply(http.StatusOK, co.encode()).etag(co.etag), nil
}

func (s *Server) replaceContainer(c *call, co *container) (*reply, error) {
	id, definition, err := parseDefinition(c.body)
	if err != nil {
		return nil, err
	}
	if id != co.id {
		return nil, fail(http.StatusBadRequest, "The id of a container cannot be changed, from %q to %q", co.id, id)
	}
	if was, is := co.definition.members.get("partitionKey"), definition.members.get("partitionKey"); !bytes.Equal(was, is) {
		return nil, fail(http.StatusBadRequest, "Document collection partition key cannot be changed, from %s to %s", was, is)
	}
	if err := checkMatch(c.Header.Get("If-Match"), co.etag); err != nil {
		return nil, err
	}
	co.removeExpired(c.now) // what is gone stays gone under any new TTL
	co.define(s, definition, c.now)
	return newReply(http.StatusOK, co.encode()).etag(co.etag), nil
}

func (s *Server) deleteContainer(c *call, co *container) (*reply, error) {
	if err := checkMatch(c.Header.Get("If-Match"), co.etag); err != nil {
		return nil, err
	}
	delete(co.database.containers, co.id)
	return newReply(http.StatusNoContent, nil), nil
}

// rangesETag is the version of the partition key ranges, which never change.
const rangesETag = `"1"`

// readRanges answers with the one physical partition that every container
// has.
func (co *container) readRanges(c *call) (*reply, error) {
	if c.Header.Get("If-None-Match") == rangesETag {
		return newReply(http.StatusNotModified, nil).etag(rangesETag), nil
	}
	return jsonReply(http.StatusOK, map[string]any{
		"_rid": co.rid,
		"PartitionKeyRanges": []any{map[string]any{
			"_rid": co.rid, "id": "0", "_etag": rangesETag, "minInclusive": "", "maxExclusive": "FF", "ridPrefix": 0,
			"_self": co.self() + "pkranges/0/", "throughputFraction": 1, "status": "online", "parents": []any{}, "_ts": 0,
		}},
		"_count": 1,
	}).etag(rangesETag), nil
}
