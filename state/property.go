package state

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// A Property is one named value of type T within a scope. It is stored as
// JSON, as encoding/json has it.
//
// The fields must be set before the property is first used. The methods are
// safe for concurrent use; what they return is the caller's to guard.
type Property[T any] struct {
	// Merge, if not nil, resolves a property that this turn and somebody else
	// have changed: it returns the value to be saved. Its error fails the
	// save. It is not asked where a side has deleted the property.
	Merge func(mine, theirs T) (T, error)

	scope *Scope
	name  string
	// shared is whether a copy of a T still refers to what the original
	// refers to, so that the original can be changed through it.
	shared bool
}

// NewProperty returns the property called name of scope. Bots in other
// languages find it under the same name. Several properties of the same scope
// and name are one value; what was handed out as one type is no longer watched
// for changes once the value was read as another. NewProperty panics if name is
// that of the scope's [Bookkeeping].
func NewProperty[T any](scope *Scope, name string) *Property[T] {
	if scope == nil || name == "" {
		panic("state: property without scope or name")
	}
	scope.register(name)
	return &Property[T]{scope: scope, name: name, shared: isShared(reflect.TypeFor[T]())}
}

// Get returns the value and whether there is one; JSON null counts as none.
//
// If T is or holds a pointer, map or slice, all calls of a turn return the
// same one, and changes made in it are saved like those of [Property.Set]. A
// stored value that is no T gives an error that wraps [ErrCorrupt].
func (p *Property[T]) Get(ctx context.Context) (value T, ok bool, err error) {
	e, err := p.scope.load(ctx)
	if err != nil {
		return value, false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := p.settle(e); err != nil {
		return value, false, wrap(ctx, "read", e.key, err)
	}
	stored := e.doc.Get(p.name)
	if isNone(stored) {
		return value, false, nil
	}
	if l := p.live(e); l != nil {
		value, _ = l.value.(T) // a nil interface is no T
		return value, true, nil
	}
	if value, err = p.decode(stored); err != nil {
		return value, false, wrap(ctx, "read", e.key, err)
	}
	if p.shared {
		p.keep(e, &liveValue{value: value, stored: stored})
	}
	return value, true, nil
}

// GetOr returns the value, or def if there is none. It does not store def; but
// a def that is then changed in place is saved.
func (p *Property[T]) GetOr(ctx context.Context, def T) (T, error) {
	value, ok, err := p.Get(ctx)
	if err != nil || ok {
		return value, err
	}
	if !p.shared {
		return def, nil
	}
	e, err := p.scope.load(ctx)
	if err != nil {
		return value, err
	}
	encoded, err := marshal(def)
	if err != nil {
		return value, wrap(ctx, "read", e.key, fmt.Errorf("property %q: %w", p.name, err))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := p.live(e); l != nil {
		value, _ = l.value.(T)
		return value, nil
	}
	p.keep(e, &liveValue{value: def, encoded: encoded})
	return def, nil
}

// Set gives the property a value, for this turn at once and in the storage
// with the next save of the scope. It fails if value has no JSON form.
func (p *Property[T]) Set(ctx context.Context, value T) error {
	e, err := p.scope.load(ctx)
	if err != nil {
		return err
	}
	encoded, err := marshal(value)
	if err != nil {
		return wrap(ctx, "set", e.key, fmt.Errorf("property %q: %w", p.name, err))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !sameJSON(encoded, e.doc.Get(p.name)) {
		e.doc.Set(p.name, encoded)
	}
	p.forget(e)
	if p.shared && !isNone(encoded) {
		p.keep(e, &liveValue{value: value, encoded: encoded})
	}
	p.register(e)
	return nil
}

// Delete removes the property. One that is not there is no error.
func (p *Property[T]) Delete(ctx context.Context) error {
	e, err := p.scope.load(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p.forget(e)
	e.doc.Delete(p.name)
	p.register(e)
	return nil
}

func (p *Property[T]) decode(stored json.RawMessage) (T, error) {
	var value, none T
	var err error
	switch v := any(&value).(type) {
	case *json.RawMessage:
		*v = bytes.Clone(stored)
	case json.Unmarshaler: // stored is known to be valid
		err = v.UnmarshalJSON(stored)
	default:
		err = json.Unmarshal(stored, v)
	}
	if err != nil {
		return none, fmt.Errorf("%w: property %q: %w", ErrCorrupt, p.name, err)
	}
	return value, nil
}

func (p *Property[T]) recode(stored json.RawMessage) (json.RawMessage, error) {
	value, err := p.decode(stored)
	if err != nil {
		return nil, err
	}
	return marshal(value)
}

// live returns the value that was handed out in this turn, nil if there is none.
func (p *Property[T]) live(e *entry) *liveValue {
	for _, l := range e.live {
		if l.name == p.name && !l.outdated {
			return l
		}
	}
	return nil
}

// settle puts a value that was handed out before as another type, or as the
// default, into the document, so that the document has the truth.
func (p *Property[T]) settle(e *entry) error {
	l := p.live(e)
	if l == nil {
		return nil
	}
	if _, same := l.value.(T); same && !isNone(e.doc.Get(p.name)) {
		return nil
	}
	if err := e.flushValue(l); err != nil {
		return err
	}
	if _, same := l.value.(T); !same {
		p.forget(e)
	}
	return nil
}

func (p *Property[T]) keep(e *entry, l *liveValue) {
	l.name, l.recode = p.name, p.recode
	e.live = append(e.live, l)
	p.register(e)
}

func (p *Property[T]) forget(e *entry) {
	e.live = slices.DeleteFunc(e.live, func(l *liveValue) bool { return l.name == p.name })
}

// register tells e how to merge the property.
func (p *Property[T]) register(e *entry) {
	if p.Merge == nil {
		return
	}
	if e.merges == nil {
		e.merges = make(map[string]mergeFunc)
	}
	e.merges[p.name] = func(mine, theirs json.RawMessage) (json.RawMessage, error) {
		m, err := p.decode(mine)
		if err != nil {
			return nil, err
		}
		t, err := p.decode(theirs)
		if err != nil {
			return nil, err
		}
		merged, err := p.Merge(m, t)
		if err != nil {
			return nil, err
		}
		return marshal(merged)
	}
}

// isNone reports whether a member stands for no value.
func isNone(stored json.RawMessage) bool { return stored == nil || string(stored) == "null" }

// isShared reports whether copies of a t share anything that can be changed.
func isShared(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		return true
	case reflect.Array:
		return isShared(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return false // its pointer leads to a location, which is constant
		}
		for i := range t.NumField() {
			if isShared(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}
