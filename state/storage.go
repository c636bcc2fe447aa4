package state

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Conditions that a writer puts in [Item.ETag] instead of the tag of a
// stored item. No storage gives either of them out as a tag.
const (
	ETagAny  = "*"    // write whatever is stored; "" means the same
	ETagNone = "none" // write only if nothing is stored under the key
)

var (
	// ErrConflict reports a write whose eTag was no longer the current one:
	// somebody else wrote, deleted or cleared the document since it was read.
	ErrConflict = errors.New("eTag conflict")

	// ErrInvalid reports a request that the storage will never carry out: an
	// empty key, a negative TTL, a document that is too large.
	ErrInvalid = errors.New("invalid request")
)

// An Item is one stored document with its version.
type Item struct {
	// Value is the document, a JSON text.
	Value json.RawMessage

	// ETag is, on a read item, the version of the document; on an item to be
	// written, the condition of the write.
	ETag string

	// TTL is how long from the write on the item is kept. 0 means the
	// storage's default. It is not set on read items.
	TTL time.Duration
}

// A Storage keeps documents under keys. Package statetest holds this contract
// as a test suite, sentence by sentence.
//
// Keys are non-empty strings and case-sensitive; any character is allowed.
// An empty key in any method is an error that wraps [ErrInvalid], and nothing
// is written or deleted. A context that is already done gives its own error,
// and nothing is written or deleted. The caller may change what it passed in
// and what it got back without effect on the stored documents. A Storage is
// safe for concurrent use.
type Storage interface {
	// Read returns the items stored under keys. A key under which nothing is
	// stored is absent from the map; the map itself is never nil. A returned
	// ETag is never "", [ETagAny] or [ETagNone], and changes with every write
	// of the key.
	Read(ctx context.Context, keys []string) (map[string]Item, error)

	// Write stores each item under its key and returns the new eTag of every
	// key that was written.
	//
	// An item with the ETag "" or [ETagAny] is written unconditionally, one
	// with [ETagNone] only if nothing is stored, one with any other tag only
	// if that is the tag of the stored item. Otherwise the key keeps what it
	// had and the error wraps [ErrConflict] and names the key. A storage that
	// can writes all items or none; one that cannot returns the tags of those
	// it wrote beside the error.
	//
	// An item is there for its TTL, counted from this write, and from exactly
	// then on it is as if it had been deleted. A TTL of 0 means the storage's
	// default, which a rewrite applies anew; a negative one is an error that
	// wraps [ErrInvalid], and nothing is written.
	Write(ctx context.Context, items map[string]Item) (etags map[string]string, err error)

	// Delete removes what is stored under keys, whatever its eTag. A key
	// under which nothing is stored is no error.
	Delete(ctx context.Context, keys []string) error
}
