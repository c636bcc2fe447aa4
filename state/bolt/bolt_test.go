package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
	"github.com/botlapse/botlapse/state/statetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		err := child(path)
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestStorage(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Storage { return open(t, newPath(t)) })
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "state.db") }

// open opens the file at path until the end of the test.
func open(t testing.TB, path string) *bolt.Storage {
	t.Helper()
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, s) })
	return s
}

func closeNow(t testing.TB, s *bolt.Storage) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func write(t testing.TB, s *bolt.Storage, key string, item state.Item) (etag string) {
	t.Helper()
	etags, err := s.Write(t.Context(), map[string]state.Item{key: item})
	if err != nil {
		t.Error(err)
	}
	return etags[key]
}

func read(t testing.TB, s *bolt.Storage, key string) (item state.Item, ok bool) {
	t.Helper()
	items, err := s.Read(t.Context(), []string{key})
	if err != nil {
		t.Error(err)
	}
	item, ok = items[key]
	return item, ok
}

func wantLen(t *testing.T, s *bolt.Storage, items, expiring int) {
	t.Helper()
	i, e, err := s.Check()
	if err != nil {
		t.Fatal(err)
	}
	if i != items || e != expiring {
		t.Fatalf("the file holds %d items of which %d expire, want %d and %d", i, e, items, expiring)
	}
}

// transactions returns how many transactions have been committed to the file.
func transactions(t testing.TB, s *bolt.Storage) (n int) {
	t.Helper()
	if err := s.DB().View(func(tx *bbolt.Tx) error { n = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// hold keeps calls from being committed until release.
func hold(t *testing.T, s *bolt.Storage) (release func()) {
	t.Helper()
	tx, err := s.DB().Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// awaitPending returns when n calls wait to be committed.
func awaitPending(s *bolt.Storage, n int) {
	for s.Pending() < n {
		runtime.Gosched()
	}
}

func TestKeepsBytes(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	values := []string{` { "a" : 1.0 , "a":2 }` + "\n", `"\u0041\/"`, "not JSON \xff\x00", "", strings.Repeat("long ", 100_000)}
	etags := make([]string, len(values))
	for i, value := range values {
		etags[i] = write(t, s, fmt.Sprint("key ", i), state.Item{Value: []byte(value)})
	}
	for _, when := range []string{"at once", "after a restart"} {
		for i, value := range values {
			item, ok := read(t, s, fmt.Sprint("key ", i))
			if !ok || string(item.Value) != value || item.ETag != etags[i] {
				t.Errorf("%s: value %.40q with tag %s comes back as %.40q with %s", when, value, etags[i], item.Value, item.ETag)
			}
		}
		closeNow(t, s)
		s = open(t, path)
	}
}

func TestLongestKey(t *testing.T) {
	s := open(t, newPath(t))
	longest := strings.Repeat("k", 32_760)
	item := state.Item{Value: []byte("1"), TTL: 1 << 62}
	write(t, s, longest, item)
	write(t, s, longest, item)
	if _, ok := read(t, s, longest); !ok {
		t.Error("the longest key is not found")
	}
	wantLen(t, s, 1, 1)

	tooLong := longest + "k"
	_, err := s.Write(t.Context(), map[string]state.Item{"other": item, tooLong: item})
	if !errors.Is(err, state.ErrInvalid) || len(err.Error()) > 200 {
		t.Errorf("a longer key: error %v, want a short one that wraps state.ErrInvalid", err)
	}
	if _, ok := read(t, s, tooLong); ok {
		t.Error("a longer key is found")
	}
	if err := s.Delete(t.Context(), []string{tooLong, longest}); err != nil {
		t.Error(err)
	}
	wantLen(t, s, 0, 0)
}

func TestETagsNeverRepeat(t *testing.T) {
	path := newPath(t)
	seen := make(map[string]bool)
	for range 5 {
		s := open(t, path)
		for range 3 {
			etag := write(t, s, "key", state.Item{})
			if seen[etag] {
				t.Fatalf("the tag %s comes again", etag)
			}
			seen[etag] = true
			if err := s.Delete(t.Context(), []string{"key"}); err != nil {
				t.Fatal(err)
			}
		}
		closeNow(t, s)
	}
}

func TestWritesThatWaitShareATransaction(t *testing.T) {
	s := open(t, newPath(t))
	stale := write(t, s, "stale", state.Item{})
	current := map[string]string{
		"stale": write(t, s, "stale", state.Item{}),
		"same":  write(t, s, "same", state.Item{}),
	}
	write(t, s, "deleted", state.Item{})

	before := transactions(t, s)
	release := hold(t, s)
	calls := []map[string]state.Item{
		{"a": {}},
		{"stale": {ETag: stale}, "b": {}},
		{"same": {Value: []byte("1"), ETag: current["same"]}},
		{"same": {Value: []byte("2"), ETag: current["same"]}},
		{"c": {ETag: state.ETagNone}, "d": {}},
	}
	type outcome struct {
		etags map[string]string
		err   error
	}
	outcomes := make([]chan outcome, len(calls))
	for i, items := range calls {
		outcomes[i] = make(chan outcome, 1)
		go func() {
			etags, err := s.Write(t.Context(), items)
			outcomes[i] <- outcome{etags, err}
		}()
	}
	deleted := make(chan error, 1)
	go func() { deleted <- s.Delete(t.Context(), []string{"deleted", "unknown"}) }()
	awaitPending(s, len(calls)+1)
	release()

	if err := <-deleted; err != nil {
		t.Error(err)
	}
	won := 0
	for i, items := range calls {
		o := <-outcomes[i]
		_, isStale := items["stale"]
		_, isSame := items["same"]
		switch {
		case o.err == nil && !isStale:
			if isSame {
				won++
			}
			for key, item := range items {
				if got, ok := read(t, s, key); !ok || got.ETag != o.etags[key] || string(got.Value) != string(item.Value) {
					t.Errorf("%q was written as %s with tag %s, but there is %s with tag %s", key, item.Value, o.etags[key], got.Value, got.ETag)
				}
			}
		case !errors.Is(o.err, state.ErrConflict) || len(o.etags) > 0 || !isStale && !isSame:
			t.Errorf("Write(%v) returns %v, %v", items, o.etags, o.err)
		}
	}
	if won != 1 {
		t.Errorf("of two writes with the same tag %d succeed", won)
	}
	wantLen(t, s, 5, 0) // stale, same, a, c, d
	if item, _ := read(t, s, "stale"); item.ETag != current["stale"] {
		t.Error("a refused write has changed the tag")
	}
	if n := transactions(t, s) - before; n != 1 {
		t.Errorf("%d transactions, want 1", n)
	}
}

func TestNothingToChangeIsNotCommitted(t *testing.T) {
	s := open(t, newPath(t))
	write(t, s, "key", state.Item{})
	before := transactions(t, s)
	if _, err := s.Write(t.Context(), map[string]state.Item{"key": {ETag: state.ETagNone}}); !errors.Is(err, state.ErrConflict) {
		t.Errorf("error %v, want one that wraps state.ErrConflict", err)
	}
	if _, err := s.Write(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), []string{"unknown"}); err != nil {
		t.Error(err)
	}
	if n := transactions(t, s) - before; n != 0 {
		t.Errorf("%d transactions, want none", n)
	}
}

func TestContextEndsTheWait(t *testing.T) {
	s := open(t, newPath(t))
	release := hold(t, s)
	ctx, cancel := context.WithCancelCause(t.Context())
	type outcome struct {
		key string
		err error
	}
	outcomes := make(chan outcome)
	for _, key := range []string{"a", "b", "c"} {
		go func() {
			_, err := s.Write(ctx, map[string]state.Item{key: {}})
			outcomes <- outcome{key, err}
		}()
	}
	awaitPending(s, 3)
	cancel(errors.New("the cause is not the error"))

	// One of them is at the transaction. The others need not wait for it.
	for range 2 {
		o := <-outcomes
		if o.err != context.Canceled {
			t.Errorf("error %v, want %v", o.err, context.Canceled)
		}
		defer func() {
			if _, ok := read(t, s, o.key); ok {
				t.Error("what returned the error of its context was written")
			}
		}()
	}
	release()
	o := <-outcomes
	if o.err != nil {
		t.Errorf("the write that had begun: %v", o.err)
	}
	wantLen(t, s, 1, 0)
	if _, ok := read(t, s, o.key); !ok {
		t.Error("what had begun was not written")
	}
}

func TestDiskErrors(t *testing.T) {
	s := open(t, newPath(t))
	etag := write(t, s, "key", state.Item{Value: []byte("1")})
	s.DB().MaxSize = 64 << 10 // as if the disk were full
	large := state.Item{Value: make([]byte, 1<<20), ETag: etag}

	// Whichever comes first is stopped by the disk, so the other one must not
	// be told that it comes second.
	release := hold(t, s)
	errs := make(chan error)
	for range 2 {
		go func() {
			etags, err := s.Write(t.Context(), map[string]state.Item{"key": large, "other": {}})
			if len(etags) > 0 {
				t.Errorf("a failed Write returns eTags %v", etags)
			}
			errs <- err
		}()
	}
	awaitPending(s, 2)
	release()
	for range 2 {
		err := <-errs
		if !errors.Is(err, berrors.ErrMaxSizeReached) || !strings.Contains(err.Error(), `write "key"`) {
			t.Errorf("error %v, want one that wraps %q and names the key", err, berrors.ErrMaxSizeReached)
		}
	}
	wantLen(t, s, 1, 0)

	// It goes on when there is room again, or for what needs none.
	if err := s.Delete(t.Context(), []string{"unknown"}); err != nil {
		t.Error(err)
	}
	s.DB().MaxSize = 0
	write(t, s, "key", large)
	wantLen(t, s, 1, 0)
}

// TestPanicDoesNotHangOthers breaks the file by way of the database, which
// makes the transaction panic.
func TestPanicDoesNotHangOthers(t *testing.T) {
	s := open(t, newPath(t))
	tx, err := s.DB().Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.DeleteBucket([]byte("state")); err != nil {
		t.Fatal(err)
	}
	outcomes := make(chan any)
	for _, key := range []string{"a", "b"} {
		go func() {
			var err error
			defer func() {
				if v := recover(); v != nil {
					outcomes <- v
				} else {
					outcomes <- err
				}
			}()
			_, err = s.Write(context.Background(), map[string]state.Item{key: {}})
		}()
	}
	awaitPending(s, 2)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	panics := 0
	for range 2 {
		switch v := (<-outcomes).(type) {
		case runtime.Error:
			panics++
		case error:
		default:
			t.Errorf("a write that was not carried out returns %v", v)
		}
	}
	if panics != 1 {
		t.Errorf("%d of the two callers panic, want 1", panics)
	}
}

func TestClose(t *testing.T) {
	s := open(t, newPath(t))
	write(t, s, "key", state.Item{})
	closeNow(t, s)
	closeNow(t, s)
	for call, f := range map[string]func() error{
		"Read":              func() error { _, err := s.Read(t.Context(), []string{"key"}); return err },
		"Read of nothing":   func() error { _, err := s.Read(t.Context(), nil); return err },
		"Write":             func() error { _, err := s.Write(t.Context(), map[string]state.Item{"key": {}}); return err },
		"Write of nothing":  func() error { _, err := s.Write(t.Context(), nil); return err },
		"Delete":            func() error { return s.Delete(t.Context(), []string{"key"}) },
		"Delete of nothing": func() error { return s.Delete(t.Context(), nil) },
	} {
		if err := f(); !errors.Is(err, bolt.ErrClosed) {
			t.Errorf("%s after Close: error %v, want one that wraps bolt.ErrClosed", call, err)
		}
	}
}

// TestCloseAmongCalls closes a storage while it is in use. Each call must
// either have been carried out or say that it was not.
func TestCloseAmongCalls(t *testing.T) {
	path := newPath(t)
	for round := range 30 {
		s := open(t, path)
		release := hold(t, s)
		const writers = 8
		errs := make([]chan error, writers)
		for i := range errs {
			errs[i] = make(chan error, 1)
			go func() {
				key := fmt.Sprint(round, " ", i)
				_, err := s.Write(context.Background(), map[string]state.Item{key: {}})
				for err == nil && i%2 == 0 { // go on until it is closed
					_, err = s.Read(context.Background(), []string{key})
				}
				errs[i] <- err
			}()
		}
		awaitPending(s, writers)
		closed := make(chan error, 2)
		for range 2 {
			go func() { closed <- s.Close() }()
		}
		release()
		if err := errors.Join(<-closed, <-closed); err != nil {
			t.Fatal(err)
		}

		reopened := open(t, path)
		for i := range errs {
			err := <-errs[i]
			_, ok := read(t, reopened, fmt.Sprint(round, " ", i))
			switch {
			case err != nil && !errors.Is(err, bolt.ErrClosed):
				t.Errorf("error %v, want one that wraps bolt.ErrClosed", err)
			case err == nil && !ok:
				t.Error("an item whose Write succeeded is not there")
			case err != nil && ok && i%2 == 1:
				t.Error("an item whose Write returned ErrClosed is there")
			}
		}
		closeNow(t, reopened)
	}
}

func TestOtherBucketsAreLeftAlone(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	write(t, s, "key", state.Item{Value: []byte("1")})
	err := s.DB().Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("another"))
		if err != nil {
			return err
		}
		return b.Put([]byte("key"), []byte("2"))
	})
	if err != nil {
		t.Fatal(err)
	}
	closeNow(t, s)

	s = open(t, path)
	if err := s.Delete(t.Context(), []string{"key"}); err != nil {
		t.Fatal(err)
	}
	err = s.DB().View(func(tx *bbolt.Tx) error {
		if got := tx.Bucket([]byte("another")).Get([]byte("key")); string(got) != "2" {
			t.Errorf("the other bucket holds %q, want 2", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
