package cosmostest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of the service.
const (
	maxBody  = 2 << 20 // bytes of an item, and of any request
	maxID    = 1023    // bytes
	maxDepth = 128     // levels of JSON
)

// An itemKey names an item within its container.
type itemKey struct{ partition, id string }

// A document is an item as it was once written. It does not change.
type document struct {
	key       itemKey
	serial    uint64
	rid, etag string
	timestamp int64
	ttl       *int64 // nil for that of the container
	element
}

// A version is what became of the item of a key by one write.
type version struct {
	lsn      int64
	document *document // nil if it was deleted
}

// expired reports whether d is past its time to live, which it is to the
// second.
func (co *container) expired(d *document, now time.Time) bool {
	if co.definition.defaultTTL == nil {
		return false
	}
	ttl := *co.definition.defaultTTL
	if d.ttl != nil {
		ttl = *d.ttl
	}
	return ttl > 0 && now.Unix() >= d.timestamp+ttl
}

// at returns the document of key as of the write horizon, nil if there is
// none.
func (co *container) at(key itemKey, horizon int64, now time.Time) *document {
	for _, v := range slices.Backward(co.items[key.partition][key.id]) {
		if v.lsn <= horizon {
			if v.document == nil || co.expired(v.document, now) {
				return nil
			}
			return v.document
		}
	}
	return nil
}

// current returns the document of key, nil if there is none.
func (co *container) current(key itemKey, now time.Time) *document {
	return co.at(key, co.lsn, now)
}

// commit makes d the document of key, or removes that if d is nil.
func (s *Server) commit(co *container, key itemKey, d *document, now time.Time) {
	co.lsn++
	co.pending = append(co.pending, commit{co.lsn, now})
	co.catchUp(now, s.Lag)

	items := co.items[key.partition]
	if items == nil {
		items = make(map[string][]version)
		co.items[key.partition] = items
	}
	versions := append(slices.Clone(items[key.id]), version{co.lsn, d})
	for len(versions) > 1 && versions[1].lsn <= co.applied {
		versions = versions[1:]
	}
	items[key.id] = versions
	if d == nil && len(versions) == 1 {
		delete(items, key.id)
	}
	if len(items) == 0 {
		delete(co.items, key.partition)
	}
}

// removeExpired forgets what is past its time to live.
func (co *container) removeExpired(now time.Time) {
	for partition, items := range co.items {
		maps.DeleteFunc(items, func(_ string, versions []version) bool {
			last := versions[len(versions)-1].document
			return last != nil && co.expired(last, now)
		})
		if len(items) == 0 {
			delete(co.items, partition)
		}
	}
}

// serveItem carries out an operation on one item.
func (s *Server) serveItem(c *call, co *container) (*reply, error) {
	if c.Header.Get("x-ms-documentdb-pre-trigger-include") != "" || c.Header.Get("x-ms-documentdb-post-trigger-include") != "" {
		return nil, fail(http.StatusNotImplemented, "cosmostest does not imitate triggers")
	}
	partition, err := parsePartition(c.PartitionKey)
	if err != nil {
		return nil, err
	}
	if c.Op == ReadItem {
		return s.readItem(c, co, itemKey{partition, c.item})
	}
	op := itemOp{op: c.Op, id: c.item, body: c.body, ifMatch: c.Header.Get("If-Match")}
	result, err := s.write(co, partition, op, c.now)
	if err != nil {
		return nil, err
	}
	r := newReply(result.status, nil)
	r.cost = result.cost
	if result.document != nil {
		r.etag(result.document.etag)
		if !c.minimal() {
			r.body = result.document.body
		}
	}
	return r, nil
}

func (s *Server) readItem(c *call, co *container, key itemKey) (*reply, error) {
	horizon, err := s.horizon(c, co)
	if err != nil {
		return nil, err
	}
	d := co.at(key, horizon, c.now)
	if d == nil {
		return nil, notFound(key.id)
	}
	if match := c.Header.Get("If-None-Match"); match == d.etag || match == "*" {
		return newReply(http.StatusNotModified, nil).etag(d.etag), nil
	}
	return newReply(http.StatusOK, d.body).etag(d.etag), nil
}

// An itemOp is a write of one item, by a request of its own or in a batch.
type itemOp struct {
	op      Op
	id      string // of what is there: not of a create or an upsert
	body    []byte
	ifMatch string
}

// A result is what became of an itemOp.
type result struct {
	status   int
	document *document // what is there now, nil after a delete
	cost     float64
}

// write carries out op in a partition, or fails and changes nothing.
func (s *Server) write(co *container, partition string, op itemOp, now time.Time) (result, error) {
	key := itemKey{partition, op.id}
	var members object
	if op.op != PatchItem && op.op != DeleteItem {
		var err error
		if key.id, members, err = co.parseItem(op.body, partition); err != nil {
			return result{}, err
		}
	}
	old := co.current(key, now)
	switch op.op {
	case CreateItem:
		if old != nil {
			return result{}, conflict(key.id)
		}
		return s.store(co, key, nil, members, now)
	case UpsertItem:
		if old == nil {
			return s.store(co, key, nil, members, now)
		}
	case ReplaceItem:
		if key.id != op.id { // it gets another id
			taken := old != nil
			old = co.current(itemKey{partition, op.id}, now)
			if taken && old != nil {
				return result{}, conflict(key.id)
			}
		}
	}
	if old == nil {
		return result{}, notFound(op.id)
	}
	if err := checkMatch(op.ifMatch, old.etag); err != nil {
		return result{}, err
	}
	switch op.op {
	case DeleteItem:
		s.commit(co, key, nil, now)
		return result{http.StatusNoContent, nil, 5.5}, nil
	case PatchItem:
		patched, err := co.patch(old, op.body)
		if err != nil {
			return result{}, err
		}
		if key.id, members, err = co.parseItem(patched, partition); err != nil {
			return result{}, err
		}
	}
	return s.store(co, key, old, members, now)
}

// store writes an item, in place of old unless that is nil.
func (s *Server) store(co *container, key itemKey, old *document, members object, now time.Time) (result, error) {
	d := &document{key: key, etag: s.newETag(), timestamp: now.Unix()}
	status := http.StatusOK
	if old != nil {
		d.serial, d.rid = old.serial, old.rid
	} else {
		status = http.StatusCreated
		co.serials++
		d.serial = co.serials
		d.rid = resourceID(uint32(co.database.serial), co.serial, d.serial)
	}
	if raw := members.get("ttl"); raw != nil {
		ttl, ok := parseTTL(raw)
		if !ok {
			return result{}, fail(http.StatusBadRequest, "The input ttl %s is invalid. Ensure to provide a nonzero positive integer less than or equal to 2147483647, or -1 which means never expire.", raw)
		}
		d.ttl = &ttl
	}
	members.delete("_rid", "_self", "_etag", "_attachments", "_ts")
	members = append(members,
		member{"_rid", toJSON(d.rid)},
		member{"_self", toJSON(co.self() + "docs/" + d.rid + "/")},
		member{"_etag", toJSON(d.etag)},
		member{"_attachments", toJSON("attachments/")},
		member{"_ts", toJSON(d.timestamp)},
	)
	d.element = element{members.encode(), members}
	if old != nil && old.key != key {
		s.commit(co, old.key, nil, now)
	}
	s.commit(co, key, d, now)
	return result{status, d, max(5.5, 5.5*kib(len(d.body)))}, nil
}

// parseItem checks an item that is to be written to a partition.
func (co *container) parseItem(body []byte, partition string) (id string, o object, err error) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return "", nil, fail(http.StatusBadRequest, "The request payload is invalid. Ensure to provide a valid request payload.")
	}
	if depth(body) > maxDepth {
		return "", nil, fail(http.StatusBadRequest, "The input content is nested more than %d levels deep", maxDepth)
	}
	o, ok := parseObject(body)
	if !ok {
		return "", nil, fail(http.StatusBadRequest, "The input content is no JSON object")
	}
	raw := o.get("id")
	switch {
	case raw == nil:
		return "", nil, fail(http.StatusBadRequest, "The input content is invalid because the required properties - 'id; ' - are missing")
	case json.Unmarshal(raw, &id) != nil || id == "" || len(id) > maxID:
		return "", nil, fail(http.StatusBadRequest, "The input name %.64s is invalid: an id must be a string of 1 to %d bytes", raw, maxID)
	}
	switch value, err := partitionOf(o, co.definition.partitionKey); {
	case err != nil:
		return "", nil, err
	case value != partition:
		return "", nil, fail(http.StatusBadRequest, "PartitionKey extracted from document doesn't match the one specified in the header: %s in the document, %s in the header", value, partition).sub(1001)
	}
	return id, o, nil
}

// noValue is the partition of items without a value at the path of the
// partition key, in the form that the header has for it.
const noValue = "{}"

// partitionOf returns the value of o at path in its canonical form.
func partitionOf(o object, path []string) (string, error) {
	for i, name := range path {
		raw := o.get(name)
		if raw == nil {
			break
		}
		if i == len(path)-1 {
			return canonical(raw)
		}
		if o, _ = parseObject(raw); o == nil {
			break
		}
	}
	return noValue, nil
}

// parsePartition returns the value in the header of a partition key in its
// canonical form.
func parsePartition(header string) (string, error) {
	if header == "" {
		return "", fail(http.StatusBadRequest, "PartitionKey value must be supplied for this operation.")
	}
	var values []json.RawMessage
	if err := json.Unmarshal([]byte(header), &values); err != nil || len(values) != 1 {
		return "", fail(http.StatusBadRequest, "Partition key %s is invalid: it must be a JSON array of one value.", header)
	}
	if o, ok := parseObject(values[0]); ok && len(o) == 0 {
		return noValue, nil
	}
	return canonical(values[0])
}

// canonical returns the value of a partition key in the one form that it is
// compared in.
func canonical(raw json.RawMessage) (string, error) {
	var v any
	err := json.Unmarshal(raw, &v)
	switch v.(type) {
	case nil, string, bool, float64:
		if err == nil {
			return string(toJSON(v)), nil
		}
	}
	return "", fail(http.StatusBadRequest, "Partition key value %s is invalid: it must be a string, a number, true, false or null.", raw)
}

// checkID checks the id of an item in the path of a request. Some ids can be
// created, as they are in the body then, but never be asked for again: the
// gateway does not find them in the path, and so not the signature to be of
// that path. This is what azcosmos's tests saw the service do.
func checkID(id string) error {
	switch {
	case strings.ContainsAny(id, "\t\r\n"):
		return fail(http.StatusBadRequest, "The id in the path is invalid: it has a control character")
	case strings.ContainsAny(id, `/\#%`), strings.HasSuffix(id, " "):
		return fail(http.StatusUnauthorized, "The input authorization token can't serve the request. The id in the path has one of / \\ # %% or ends in a space, with which an item can be created but not addressed.")
	}
	return nil
}

func notFound(id string) error {
	return fail(http.StatusNotFound, "Entity with the specified id does not exist in the system: %q", id)
}

func conflict(id string) error {
	return fail(http.StatusConflict, "Entity with the specified id already exists in the system: %q", id)
}
