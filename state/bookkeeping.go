package state

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/botlapse/botlapse/internal/object"
)

// Bookkeeping is the part of a scope's documents that is not the bot's own: what
// middleware records of a conversation. Clear, Load and Delete of the scope leave
// it as it is, and no [Property] can have its names. Each save computes it from
// what is stored at that moment, so a save of the bot's cannot set it back.
//
// Its methods are safe for concurrent use.
type Bookkeeping struct {
	scope *Scope
}

// An UpdateFunc computes bookkeeping. Values[i] is what is stored under the i-th
// name, nil for nothing; the function puts what is to be stored in its place.
// Expires is when the storage may drop the document, zero for the storage's
// default. The function is called for each attempt to write, with what somebody
// else has stored meanwhile, so it must give the same result when it is applied
// twice. It does no I/O. Its error fails the save.
type UpdateFunc func(values []json.RawMessage) (expires time.Time, err error)

// NewBookkeeping reserves names in the documents of scope. It must come before
// the first turn. It panics if the scope has bookkeeping already, or a property
// of one of the names.
func NewBookkeeping(scope *Scope, names ...string) *Bookkeeping {
	if scope == nil || len(names) == 0 || slices.Contains(names, "") {
		panic("state: bookkeeping without scope or name")
	}
	scope.mu.Lock()
	defer scope.mu.Unlock()
	if scope.books != nil {
		panic("state: the scope has bookkeeping already")
	}
	for _, name := range names {
		if scope.properties[name] {
			panic(fmt.Sprintf("state: the bot has a property called %q, which is bookkeeping", name))
		}
	}
	scope.books = slices.Clone(names)
	return &Bookkeeping{scope}
}

// register notes the name of a property.
func (s *Scope) register(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.books, name) {
		panic(fmt.Sprintf("state: no property can be called %q, which is bookkeeping", name))
	}
	if s.properties == nil {
		s.properties = make(map[string]bool)
	}
	s.properties[name] = true
}

// Values returns what is stored, in the order of the names, as far as this turn
// knows.
func (b *Bookkeeping) Values(ctx context.Context) ([]json.RawMessage, error) {
	e, err := b.scope.load(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bookValues(&e.base), nil
}

// Update has the function compute the bookkeeping from now on in this turn: at once
// and at each save.
func (b *Bookkeeping) Update(ctx context.Context, update UpdateFunc) error {
	e, err := b.scope.load(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.update = update
	if err := e.keepBooks(&e.doc); err != nil { // before members that the bot adds
		return wrap(ctx, "update", e.key, err)
	}
	return nil
}

// Commit stores the bookkeeping at once, and nothing else that the turn has
// changed. It writes under the version that the turn has read. If somebody else has
// written since, it fails with [ErrConflict] and stores nothing; [Scope.Load]
// starts anew.
func (b *Bookkeeping) Commit(ctx context.Context) error {
	return b.commit(ctx, false, nil)
}

// CommitCleared is [Bookkeeping.Commit] of a document without any other properties
// but those named. What the turn has changed and not saved is gone.
func (b *Bookkeeping) CommitCleared(ctx context.Context, keep ...string) error {
	return b.commit(ctx, true, keep)
}

// CommitAside is [Bookkeeping.Commit] of what the function makes of what is stored by
// now. What the turn has loaded stays as it was, so its own save meets this write as
// one of somebody else's.
func (b *Bookkeeping) CommitAside(ctx context.Context, update UpdateFunc) error {
	t, err := fromContext(ctx)
	if err != nil {
		return err
	}
	aside := NewContext(ctx, t.ids)
	if err := b.Update(aside, update); err != nil {
		return err
	}
	return b.Commit(aside)
}

func (b *Bookkeeping) commit(ctx context.Context, clear bool, keep []string) error {
	e, err := b.scope.load(ctx)
	if err != nil {
		return err
	}
	if err := e.claim(ctx); err != nil {
		return err
	}
	defer e.release()
	e.mu.Lock()
	doc := e.base.Clone()
	if clear {
		doc = e.cleared(&doc, keep)
		doc.Set(clearedProperty, newMark()) // also if there was nothing, for turns that have begun before
	}
	err = e.keepBooks(&doc)
	item, changed := e.item(&doc), !doc.Equal(&e.base)
	e.mu.Unlock()
	if err != nil {
		return wrap(ctx, "write", e.key, err)
	}
	etag := item.ETag
	if changed {
		if etag, err = b.scope.write(ctx, e.key, item); err != nil {
			return wrap(ctx, "write", e.key, err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if clear {
		e.reset(doc, etag)
		return nil
	}
	e.base, e.etag = doc, etag
	return e.keepBooks(&e.doc)
}

// deleteAllButBooks deletes what a document has besides bookkeeping. The caller
// has claimed e.
func (s *Scope) deleteAllButBooks(ctx context.Context, e *entry) error {
	for attempt := 1; ; attempt++ {
		stored, etag, err := s.fetch(ctx, e.key)
		corrupt := errors.Is(err, ErrCorrupt)
		if err != nil && !corrupt {
			return err
		}
		doc := stored.Clone()
		doc.Filter(func(name string) bool { return slices.Contains(e.books, name) })
		switch {
		case corrupt:
			err = s.remove(ctx, e.key)
			etag = ETagNone
		case e.hasProperties(&stored):
			doc.Set(clearedProperty, newMark())
			e.mu.Lock()
			if e.update != nil { // it lives for as long as what is stored by now, and this turn, need
				if e.expires, err = e.update(e.bookValues(&stored)); err != nil {
					e.mu.Unlock()
					return wrap(ctx, "delete", e.key, err)
				}
			}
			item := e.item(&doc)
			e.mu.Unlock()
			item.ETag = etag
			etag, err = s.write(ctx, e.key, item)
		default:
			doc, err = stored, nil
		}
		switch {
		case err == nil:
			e.mu.Lock()
			defer e.mu.Unlock()
			e.loaded = true
			e.reset(doc, etag)
			return nil
		case !errors.Is(err, ErrConflict) || attempt == saveAttempts:
			return wrap(ctx, "delete", e.key, err)
		}
	}
}

// bookValues returns the bookkeeping in doc.
func (e *entry) bookValues(doc *object.Object) []json.RawMessage {
	values := make([]json.RawMessage, len(e.books))
	for i, name := range e.books {
		if stored := doc.Get(name); !isNone(stored) {
			values[i] = stored
		}
	}
	return values
}

// keepBooks gives doc the bookkeeping that follows from what is stored. The caller
// holds e.mu.
func (e *entry) keepBooks(doc *object.Object) error {
	if len(e.books) == 0 {
		return nil
	}
	values := e.bookValues(&e.base)
	if e.update != nil {
		expires, err := e.update(values)
		if err != nil {
			return err
		}
		e.expires = expires
	}
	for i, name := range e.books {
		if values[i] == nil {
			doc.Delete(name)
		} else if !sameJSON(values[i], doc.Get(name)) {
			doc.Set(name, values[i])
		}
	}
	return nil
}

// cleared returns doc without all properties but those named and bookkeeping. If
// that is less, it has a new mark.
func (e *entry) cleared(doc *object.Object, keep []string) object.Object {
	cleared := doc.Clone()
	cleared.Filter(func(name string) bool { return slices.Contains(keep, name) || e.outlivesClear(name) })
	if cleared.Len() < doc.Len() {
		cleared.Set(clearedProperty, newMark())
	}
	return cleared
}

func newMark() json.RawMessage { return json.RawMessage(`"` + rand.Text() + `"`) }
