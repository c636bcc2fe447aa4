package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/botlapse/botlapse/internal/object"
)

// An entry is one document within one turn.
type entry struct {
	key string

	mu     sync.Mutex
	io     chan struct{} // while a call to the storage is under way; closed after
	loaded bool
	base   object.Object // what is stored, as far as known
	etag   string        // the version of base
	doc    object.Object // base with this turn's changes
	live   []*liveValue
	merges map[string]mergeFunc
	// expires is when the storage may drop what is written; zero for its default.
	expires time.Time
	books   []string   // the names of the scope's bookkeeping
	update  UpdateFunc // computes the bookkeeping; nil: it stays as it is
	// inDoubt is whether doc, or what it was before, may have been written.
	inDoubt bool
}

// A mergeFunc is a property's Merge on encoded values.
type mergeFunc func(mine, theirs json.RawMessage) (json.RawMessage, error)

// claim waits until no call to the storage is under way for e, and marks one.
func (e *entry) claim(ctx context.Context) error {
	for {
		e.mu.Lock()
		wait := e.io
		if wait == nil {
			e.io = make(chan struct{})
			e.mu.Unlock()
			return nil
		}
		e.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *entry) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.io)
	e.io = nil
}

func (e *entry) isLoaded() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loaded
}

// reset forgets this turn's changes. The caller holds e.mu.
func (e *entry) reset(doc object.Object, etag string) {
	e.base, e.etag, e.doc, e.live, e.inDoubt = doc, etag, doc.Clone(), nil, false
}

// pending returns the item to be written, with its document, or nil if nothing
// has changed.
func (e *entry) pending() (*Item, object.Object, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.loaded {
		return nil, object.Object{}, nil
	}
	if err := e.flush(); err != nil {
		return nil, object.Object{}, err
	}
	if err := e.keepBooks(&e.doc); err != nil {
		return nil, object.Object{}, err
	}
	if e.doc.Equal(&e.base) {
		return nil, object.Object{}, nil
	}
	return e.item(&e.doc), e.doc.Clone(), nil
}

// item returns doc as it is to be written. The caller holds e.mu.
func (e *entry) item(doc *object.Object) *Item {
	item := &Item{Value: doc.Encode(), ETag: e.etag}
	if !e.expires.IsZero() {
		item.TTL = max(time.Until(e.expires), time.Second)
	}
	return item
}

// saved records that doc is what is stored now.
func (e *entry) saved(doc object.Object, etag string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.base, e.etag, e.inDoubt = doc, etag, false
}

// doubt records that doc may have been written.
func (e *entry) doubt() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inDoubt = true
}

// errInDoubt reports that what is stored may be an earlier save of the turn.
var errInDoubt = errors.New("an earlier save of the turn failed, and may have been carried out")

// rebase puts the changes from base to doc on top of theirs, which is what
// somebody else has stored since base was read.
func (e *entry) rebase(theirs object.Object, etag string, lastWriteWins bool) error {
	for {
		e.mu.Lock()
		base, mine, existed, conflict := e.base, e.doc.Clone(), e.etag != ETagNone, ErrConflict
		merges := maps.Clone(e.merges)
		if e.inDoubt {
			conflict = errInDoubt
		}
		e.mu.Unlock()

		if existed && etag == ETagNone || e.hasProperties(&base) && !e.hasProperties(&theirs) ||
			!bytes.Equal(theirs.Get(clearedProperty), base.Get(clearedProperty)) {
			return fmt.Errorf("%w: cleared since it was read", conflict)
		}
		if !bytes.Equal(mine.Get(clearedProperty), base.Get(clearedProperty)) {
			return fmt.Errorf("%w: changed since it was read to be cleared", conflict)
		}
		merged := theirs.Clone()
		for _, name := range changed(&base, &mine) {
			if slices.Contains(e.books, name) {
				continue // they are computed from what is stored
			}
			value := mine.Get(name)
			if stored := theirs.Get(name); !equivalent(stored, base.Get(name)) {
				merge := merges[name]
				if value == nil || stored == nil {
					merge = nil
				}
				switch {
				case value == nil && stored == nil: // both have deleted it
				case merge == nil && lastWriteWins:
				case merge == nil || conflict != ErrConflict:
					return fmt.Errorf("%w: property %q changed on both sides", conflict, name)
				default:
					var err error
					if value, err = merge(value, stored); err != nil {
						return fmt.Errorf("property %q: %w", name, err)
					}
				}
			}
			if value == nil {
				merged.Delete(name)
			} else {
				merged.Set(name, value)
			}
		}

		e.mu.Lock()
		unchanged := e.doc.Equal(&mine)
		if unchanged {
			e.base, e.etag, e.doc, e.inDoubt = theirs, etag, merged, false
			for _, l := range e.live {
				l.outdated = l.outdated || !bytes.Equal(merged.Get(l.name), mine.Get(l.name))
			}
		}
		e.mu.Unlock()
		if unchanged {
			return nil
		}
	}
}

// hasProperties reports whether d has properties of a bot.
func (e *entry) hasProperties(d *object.Object) bool {
	for name := range d.All {
		if !e.outlivesClear(name) {
			return true
		}
	}
	return false
}

// outlivesClear reports whether a member is not the bot's to clear.
func (e *entry) outlivesClear(name string) bool {
	return name == typeProperty || name == clearedProperty || slices.Contains(e.books, name)
}

// changed names the members that mine has other than base, or no more.
func changed(base, mine *object.Object) []string {
	var names []string
	for name := range mine.All {
		// A name that is there twice stands for its last value.
		if !bytes.Equal(mine.Get(name), base.Get(name)) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for name := range base.All {
		if mine.Index(name) < 0 {
			names = append(names, name)
		}
	}
	return names
}

// equivalent reports whether a and b are the same JSON value, or both absent.
// A storage may spell a value anew, so bytes alone do not tell.
func equivalent(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) || a == nil || b == nil {
		return bytes.Equal(a, b) && (a == nil) == (b == nil)
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// marshal encodes a value. JSON stays as it is.
func marshal(v any) (json.RawMessage, error) {
	if raw, ok := v.(json.RawMessage); ok && json.Valid(raw) {
		return bytes.Clone(raw), nil
	}
	return object.Marshal(v)
}

// sameJSON reports whether two JSON values are the same but for white space
// between tokens.
func sameJSON(a, b json.RawMessage) bool {
	inString := false
	for i, j := 0, 0; ; i, j = i+1, j+1 {
		if !inString {
			i, j = skipSpace(a, i), skipSpace(b, j)
		}
		if i >= len(a) || j >= len(b) {
			return i >= len(a) && j >= len(b)
		}
		if a[i] != b[j] {
			return false
		}
		switch {
		case a[i] == '"':
			inString = !inString
		case a[i] == '\\' && i+1 < len(a) && j+1 < len(b): // what it escapes may be a quote
			if i, j = i+1, j+1; a[i] != b[j] {
				return false
			}
		}
	}
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}
