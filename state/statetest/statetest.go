// Package statetest tests implementations of [state.Storage].
//
// [Run] holds the contract of state.Storage as a test suite, [Benchmark]
// measures the calls that every turn makes. A storage needs no more than
//
//	func TestStorage(t *testing.T) {
//		statetest.Run(t, func(t *testing.T) state.Storage { return mystore.New() })
//	}
//
// [Faults] is for the code on the other side, which uses a storage: it wraps
// one and fails on demand.
package statetest

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/state"
)

// Run tests storages that open returns against the contract of
// [state.Storage]. Each rule of the contract is a subtest with a name that
// says what went wrong; a subtest that fails also prints the rule.
//
// Open is called for each subtest, in some twice, and from several goroutines
// at a time. It returns an empty storage that shares nothing with the others.
// What must be closed again it leaves to t.Cleanup.
//
// Some rules are about time, and are tested on both sides of an edge. These
// subtests run in a bubble of package [testing/synctest], where a storage that
// uses [time.Now] finds that time passes at will, to the nanosecond. Open is
// called inside the bubble then, and must not call t.Run or t.Parallel, nor
// wait for a network or for a goroutine from outside.
//
// A storage that goes by another clock, or cannot live in a bubble, has a
// method
//
//	Advance(d time.Duration)
//
// which moves its clock. It is then tested outside of bubbles and with whole
// seconds only. Against a real server, [time.Sleep] is such a method.
//
// The suite expects that a storage which gives items without a TTL a default
// one gives them a minute or more. With the flag -short, its batch of 10,000
// items has 100.
func Run(t *testing.T, open func(t *testing.T) state.Storage) {
	// The group waits for its parallel subtests, so that the caller may tear
	// down what the storages need as soon as Run returns.
	t.Run("contract", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				defer func() {
					if t.Failed() {
						t.Logf("the contract of state.Storage: %s", c.rule)
					}
				}()
				c.run(t, open)
			})
		}
	})
}

// A testCase proves one rule.
type testCase struct {
	name string // what is so, without the punctuation that go test escapes
	rule string // the words of the contract
	time bool   // whether the test moves the clock
	test func(t *testing.T, s *subject)
}

func (c *testCase) run(t *testing.T, open func(t *testing.T) state.Storage) {
	storage := open(t)
	if !c.time {
		c.test(t, &subject{t: t, Storage: storage})
		return
	}
	if clock, ok := storage.(interface{ Advance(d time.Duration) }); ok {
		c.test(t, &subject{t: t, Storage: storage, advance: clock.Advance, tick: time.Second})
		return
	}
	synctest.Test(t, func(t *testing.T) {
		c.test(t, &subject{t: t, Storage: open(t), advance: time.Sleep, tick: time.Nanosecond})
	})
}

// A subject is a storage under test. Its methods put, get, absent, refused and
// remove make one call and end the test if the call does not do what the name
// says, so they are for the goroutine of the test only.
type subject struct {
	t *testing.T
	state.Storage
	advance func(d time.Duration) // moves the clock, in cases with time
	tick    time.Duration         // the finest step of the clock
}

// put writes item under key and returns the new eTag.
func (s *subject) put(key string, item state.Item) string {
	s.t.Helper()
	etags, err := s.Write(s.t.Context(), map[string]state.Item{key: item})
	if err != nil {
		s.t.Fatalf("Write(%q): %v", short(key), err)
	}
	return etags[key]
}

// get reads the item under key, which must be there with value and, unless
// etag is "", with etag.
func (s *subject) get(key string, value json.RawMessage, etag string) state.Item {
	s.t.Helper()
	items, err := s.Read(s.t.Context(), []string{key})
	if err != nil {
		s.t.Fatalf("Read(%q): %v", short(key), err)
	}
	item, ok := items[key]
	if !ok {
		s.t.Fatalf("Read(%q): nothing there, want %s", short(key), short(string(value)))
	}
	if !sameJSON(item.Value, value) {
		s.t.Fatalf("Read(%q): value %s, want %s", short(key), short(string(item.Value)), short(string(value)))
	}
	if etag != "" && item.ETag != etag {
		s.t.Fatalf("Read(%q): eTag %q, want %q", short(key), item.ETag, etag)
	}
	return item
}

// absent reads keys, of which none may be there.
func (s *subject) absent(keys ...string) {
	s.t.Helper()
	items, err := s.Read(s.t.Context(), keys)
	if err != nil {
		s.t.Fatalf("Read(%q): %v", keys, err)
	}
	for key, item := range items {
		s.t.Fatalf("Read(%q): %q has value %s, want nothing there", keys, short(key), short(string(item.Value)))
	}
}

// refused writes item under key, which must be a conflict.
func (s *subject) refused(key string, item state.Item) {
	s.t.Helper()
	etags, err := s.Write(s.t.Context(), map[string]state.Item{key: item})
	s.conflict(err, key)
	if len(etags) > 0 {
		s.t.Fatalf("Write(%q) with eTag %q: refused, but it returns the eTags %q", short(key), item.ETag, etags)
	}
}

// conflict checks the error of a write that must be refused because of key.
func (s *subject) conflict(err error, key string) {
	s.t.Helper()
	if !errors.Is(err, state.ErrConflict) {
		s.t.Fatalf("Write(%q): error %v, want one that wraps state.ErrConflict", short(key), err)
	}
	if !strings.Contains(err.Error(), key) {
		s.t.Fatalf("Write(%q): error %q does not name the key", short(key), err)
	}
}

// remove deletes keys.
func (s *subject) remove(keys ...string) {
	s.t.Helper()
	if err := s.Delete(s.t.Context(), keys); err != nil {
		s.t.Fatalf("Delete(%q): %v", keys, err)
	}
}

// sameJSON reports whether two JSON texts mean the same.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// short returns s for a message, without the middle if it is long.
func short(s string) string {
	const end = 40
	if len(s) > 2*end {
		return strings.ToValidUTF8(s[:end], "") + "…" + strings.ToValidUTF8(s[len(s)-end:], "")
	}
	return s
}

// together calls f(0) to f(n-1) at the same time, as near as can be, and
// returns their errors.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// writeOne is put for any goroutine.
func writeOne(ctx context.Context, s state.Storage, key string, item state.Item) (etag string, err error) {
	etags, err := s.Write(ctx, map[string]state.Item{key: item})
	return etags[key], err
}
