package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/botlapse/botlapse/state"
)

// ErrClosed reports a call on a [Storage] after its Close. Nothing was
// written or deleted.
var ErrClosed = errors.New("storage closed")

// maxKeySize is the length of the longest key: bbolt's limit, less the time
// that precedes it in the index of expiry.
const maxKeySize = bbolt.MaxKeySize - timeSize

// Storage is a [state.Storage] in one local file. It is safe for concurrent
// use. [Open] makes one.
//
// It writes a batch whole or not at all, gives values back byte for byte, and
// keeps an item without a TTL until it is deleted. A key of more than 32,760
// bytes cannot be written; the error wraps [state.ErrInvalid].
type Storage struct {
	db *bbolt.DB

	committing chan struct{} // holds a value while somebody commits

	mu      sync.Mutex
	pending []*call // waiting to be committed, in order of arrival
	queues  map[string]*Deadlines
}

// A call is something to be changed on its way into the file.
type call struct {
	verb string
	keys []string

	// apply carries the call out, as a whole or not at all, and returns how many
	// items it changed. Its error is that of the transaction. What is wrong with
	// the call alone goes to err, and hinders no other call.
	apply func(c *call, tx *bbolt.Tx, f *file) (changes int, err error)

	err  error         // for the caller to see when done is closed
	done chan struct{} // closed when the call has been carried out or never will be
}

// Read implements [state.Storage]. It does not wait for writes to reach the
// disk.
func (s *Storage) Read(ctx context.Context, keys []string) (map[string]state.Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkKeys("read", keys); err != nil {
		return nil, err
	}
	items := make(map[string]state.Item, len(keys))
	err := s.db.View(func(tx *bbolt.Tx) error {
		f := contents(tx)
		for _, key := range keys {
			if r, ok := f.get([]byte(key)); ok {
				items[key] = state.Item{Value: bytes.Clone(r.value), ETag: formatETag(r.etag)}
			}
		}
		return nil
	})
	if err != nil {
		return nil, failed("read", keys, err)
	}
	return items, nil
}

// Write implements [state.Storage].
//
// When it returns without an error, the items are in the file and the file is
// on the disk. When it returns the error of ctx, or one that wraps
// [state.ErrConflict], [state.ErrInvalid] or [ErrClosed], nothing was written.
// Any other error comes from the disk, and it is open whether the items were
// written: all of them or none.
//
// Ctx counts while the call waits for other writers. Once its own transaction
// has begun, Write sees it through.
func (s *Storage) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	keys := slices.Sorted(maps.Keys(items))
	if err := checkKeys("write", keys); err != nil {
		return nil, err
	}
	for _, key := range keys {
		switch item := items[key]; {
		case item.TTL < 0:
			return nil, fmt.Errorf("bolt: write %q: %w: negative TTL %v", key, state.ErrInvalid, item.TTL)
		case len(key) > maxKeySize:
			return nil, fmt.Errorf("bolt: write %.40q…: %w: key of %d bytes", key, state.ErrInvalid, len(key))
		case len(item.Value) > bbolt.MaxValueSize-headerSize:
			return nil, fmt.Errorf("bolt: write %q: %w: value of %d bytes", key, state.ErrInvalid, len(item.Value))
		}
	}
	etags := make(map[string]string, len(keys))
	err := s.do(ctx, &call{verb: "write", keys: keys, apply: func(c *call, _ *bbolt.Tx, f *file) (changes int, err error) {
		for _, key := range keys {
			if r, ok := f.get([]byte(key)); !accepts(r, ok, items[key].ETag) {
				c.err = fmt.Errorf("bolt: write %q: %w", key, state.ErrConflict)
				return 0, nil
			}
		}
		for _, key := range keys {
			etag, err := f.put([]byte(key), items[key].Value, items[key].TTL)
			if err != nil {
				return 0, err
			}
			etags[key] = formatETag(etag)
		}
		return len(keys), nil
	}})
	if err != nil {
		return nil, err
	}
	return etags, nil
}

// Delete implements [state.Storage]. What its errors mean, and how long it
// obeys ctx, is as with Write.
func (s *Storage) Delete(ctx context.Context, keys []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkKeys("delete", keys); err != nil {
		return err
	}
	return s.do(ctx, &call{verb: "delete", keys: keys, apply: func(_ *call, _ *bbolt.Tx, f *file) (changes int, err error) {
		for _, key := range keys {
			removed, err := f.remove([]byte(key))
			if err != nil {
				return 0, err
			}
			if removed {
				changes++
			}
		}
		return changes, nil
	}})
}

// DB returns the database, for other packages of a program that keep data of
// their own in the same file. They leave the buckets "state" and "deadlines" alone.
//
// A transaction of theirs that writes holds up Write and Delete until it ends;
// one that is open holds up Close.
func (s *Storage) DB() *bbolt.DB { return s.db }

// Close waits for the calls that have begun to read or to commit and closes
// the file. Calls that come later, or still wait for their turn, return
// [ErrClosed]. Closing twice is no error.
func (s *Storage) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("bolt: close: %w", err)
	}
	return nil
}

// do returns when c has been carried out or never will be. It does without a
// goroutine: of those who wait, one commits for all.
func (s *Storage) do(ctx context.Context, c *call) error {
	c.done = make(chan struct{})
	s.mu.Lock()
	s.pending = append(s.pending, c)
	s.mu.Unlock()

	select {
	case <-c.done:
	case s.committing <- struct{}{}:
		defer func() { <-s.committing }()
		runtime.Gosched() // let those write who were woken by the last commit
		s.commit()
	case <-ctx.Done():
		if s.withdraw(c) {
			return ctx.Err()
		}
		<-c.done // somebody is committing it
	}
	return c.err
}

// withdraw reports whether c was still pending, and if so, it no longer is.
func (s *Storage) withdraw(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.pending, c)
	if i < 0 {
		return false
	}
	s.pending = slices.Delete(s.pending, i, i+1)
	return true
}

// take returns the calls that are pending, which they no longer are.
func (s *Storage) take() []*call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.pending
	s.pending = nil
	return calls
}

var (
	errUnchanged = errors.New("nothing to commit")
	errPanic     = errors.New("panic in the transaction")
)

// commit carries out all that is pending in one transaction. A call whose
// condition does not hold is left out of it and does not hinder the others.
func (s *Storage) commit() {
	var calls []*call
	err := errPanic
	defer func() {
		for _, c := range calls {
			if err != nil {
				c.err = failed(c.verb, c.keys, err)
			}
			close(c.done)
		}
	}()

	err = s.db.Update(func(tx *bbolt.Tx) error {
		calls = s.take()
		f := contents(tx)
		changes := 0
		for _, c := range calls {
			n, err := c.apply(c, tx, f)
			if err != nil {
				return err
			}
			changes += n
		}
		if changes == 0 {
			return errUnchanged
		}
		// More than were added: expired items do not pile up while there are
		// writes, and yet no write stands long for the others.
		return f.free(changes + 16)
	})
	switch {
	case errors.Is(err, errUnchanged):
		err = nil
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		calls = s.take() // the function has not run
	}
}

// accepts reports whether a write with the given ETag may replace r, or, if
// not ok, the lack of anything.
func accepts(r record, ok bool, etag string) bool {
	switch etag {
	case "", state.ETagAny:
		return true
	case state.ETagNone:
		return !ok
	default:
		return ok && formatETag(r.etag) == etag
	}
}

func checkKeys(verb string, keys []string) error {
	if slices.Contains(keys, "") {
		return fmt.Errorf("bolt: %s: %w: empty key", verb, state.ErrInvalid)
	}
	return nil
}

// failed returns the error of a call that was given keys and failed with err.
func failed(verb string, keys []string, err error) error {
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		err = ErrClosed
	}
	switch len(keys) {
	case 0:
		return fmt.Errorf("bolt: %s: %w", verb, err)
	case 1:
		return fmt.Errorf("bolt: %s %q: %w", verb, keys[0], err)
	default:
		return fmt.Errorf("bolt: %s %q and %d more: %w", verb, keys[0], len(keys)-1, err)
	}
}

// now is the time of a transaction, in nanoseconds since 1970.
func now() uint64 { return uint64(max(0, time.Now().UnixNano())) }
