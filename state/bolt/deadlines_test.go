package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/deadline/deadlinetest"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

func TestDeadlines(t *testing.T) {
	deadlinetest.Run(t, func(t *testing.T) deadline.Store { return open(t, newPath(t)).Deadlines("bot") })
}

func arm(t testing.TB, d deadline.Store, key string, due time.Time) {
	t.Helper()
	if err := d.Arm(t.Context(), deadline.Deadline{Key: key, Due: due, Data: []byte(key)}); err != nil {
		t.Fatal(err)
	}
}

// claimed returns the claims at a time, by key.
func claimed(t testing.TB, d deadline.Store, at time.Time) map[string]deadline.Claim {
	t.Helper()
	claims, _, err := d.Claim(t.Context(), at, time.Minute, 1000)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]deadline.Claim)
	for _, c := range claims {
		found[c.Key] = c
	}
	return found
}

func keys(claims map[string]deadline.Claim) string {
	return strings.Join(slices.Sorted(maps.Keys(claims)), " ")
}

// TestPB6QueuesOfOneFileDoNotMeet, nor do they meet the state under the same key.
func TestPB6QueuesOfOneFileDoNotMeet(t *testing.T) {
	s := open(t, newPath(t))
	now := time.Now().Truncate(time.Microsecond)
	a, b := s.Deadlines("a"), s.Deadlines("b")
	etag := write(t, s, "k", state.Item{Value: []byte("{}")})
	arm(t, a, "k", now)
	arm(t, a, "l", now)
	arm(t, b, "k", now)
	ofA, ofB := claimed(t, a, now), claimed(t, b, now)
	if keys(ofA) != "k l" || keys(ofB) != "k" {
		t.Fatalf("claimed are %q and %q", keys(ofA), keys(ofB))
	}
	if err := a.Settle(t.Context(), ofA["k"], deadline.Outcome{}); err != nil {
		t.Error(err)
	}
	if err := b.Settle(t.Context(), ofA["l"], deadline.Outcome{}); !errors.Is(err, deadline.ErrLost) {
		t.Errorf("a claim of another queue is settled: %v", err)
	}
	if err := b.Settle(t.Context(), ofB["k"], deadline.Outcome{Due: now}); err != nil {
		t.Error(err)
	}
	if s.Deadlines("b") != b || keys(claimed(t, s.Deadlines("b"), now)) != "k" {
		t.Error("the queue of a name is not the same one each time")
	}
	if item, ok := read(t, s, "k"); !ok || item.ETag != etag {
		t.Error("the state has changed")
	}
	defer func() {
		if recover() == nil {
			t.Error("a queue without a name is taken")
		}
	}()
	s.Deadlines("")
}

// TestWhoOpensTheFileFindsNothingClaimed, as nobody else has had it.
func TestWhoOpensTheFileFindsNothingClaimed(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	now := time.Now().Truncate(time.Microsecond)
	for _, key := range []string{"a", "b", "parked"} {
		arm(t, s.Deadlines("bot"), key, now)
	}
	claims := claimed(t, s.Deadlines("bot"), now)
	for key, o := range map[string]deadline.Outcome{"b": {Held: now.Add(time.Hour)}, "parked": {Parked: "for good"}} {
		if err := s.Deadlines("bot").Settle(t.Context(), claims[key], o); err != nil {
			t.Fatal(err)
		}
	}
	closeNow(t, s)
	d := open(t, path).Deadlines("bot")
	if again := claimed(t, d, now); keys(again) != "a b" || string(again["a"].Data) != "a" {
		t.Errorf("claimed are %+v", again)
	}
	if err := d.Settle(t.Context(), claims["parked"], deadline.Outcome{}); !errors.Is(err, deadline.ErrLost) {
		t.Errorf("a claim from before is settled: %v", err)
	}
}

// TestClaimsCostNoTransaction, nor does it to prolong them; and settings of the
// database stay as they were.
func TestClaimsCostNoTransaction(t *testing.T) {
	s := open(t, newPath(t))
	before := *s.DB()
	now := time.Now().Truncate(time.Microsecond)
	d := s.Deadlines("bot")
	arm(t, d, "a", now)
	n := transactions(t, s)
	claims := claimed(t, d, now)
	if err := d.Settle(t.Context(), claims["a"], deadline.Outcome{Held: now.Add(time.Hour)}); err != nil || transactions(t, s) != n {
		t.Errorf("%d transactions: %v", transactions(t, s)-n, err)
	}
	if err := d.Settle(t.Context(), claims["a"], deadline.Outcome{}); err != nil || transactions(t, s) != n+1 {
		t.Errorf("to remove it takes %d transactions: %v", transactions(t, s)-n, err)
	}
	if s.DB().MaxBatchDelay != before.MaxBatchDelay || s.DB().MaxBatchSize != before.MaxBatchSize || s.DB().NoSync != before.NoSync {
		t.Error("settings of the database have changed")
	}
}

// TestDeadlinesShareTheTransactionsOfTheState: what waits is committed at once.
func TestDeadlinesShareTheTransactionsOfTheState(t *testing.T) {
	s := open(t, newPath(t))
	d := s.Deadlines("bot")
	now := time.Now().Truncate(time.Microsecond)
	arm(t, d, "settled", now)
	arm(t, d, "armed", now)
	claims := claimed(t, d, now)
	n := transactions(t, s)
	release := hold(t, s)
	var calls sync.WaitGroup
	pending := 0
	call := func(do func() error) { // one behind the other
		calls.Go(func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		})
		pending++
		awaitPending(s, pending)
	}
	call(func() error { write(t, s, "k", state.Item{}); return nil })
	call(func() error { return d.Settle(t.Context(), claims["settled"], deadline.Outcome{}) })
	call(func() error { return s.Deadlines("other").Arm(t.Context(), deadline.Deadline{Key: "k", Due: now}) })
	call(func() error { return d.Arm(t.Context(), deadline.Deadline{Key: "armed", Due: now}) })
	call(func() error { // in the same transaction as what cancels its claim
		if err := d.Settle(t.Context(), claims["armed"], deadline.Outcome{}); !errors.Is(err, deadline.ErrLost) {
			return fmt.Errorf("a claim of what was armed anew is settled: %v", err)
		}
		return nil
	})
	release()
	calls.Wait()
	if got := transactions(t, s) - n; got != 1 {
		t.Errorf("it took %d transactions", got)
	}
	if left := claimed(t, d, now); keys(left) != "armed" {
		t.Errorf("left are %q", keys(left))
	}
}

// TestAClaimOfWhatIsArmedMeanwhileIsLost, whichever is first; and what was armed is
// claimed by one.
func TestAClaimOfWhatIsArmedMeanwhileIsLost(t *testing.T) {
	s := open(t, newPath(t))
	s.DB().NoSync = true
	d := s.Deadlines("bot")
	now := time.Now().Truncate(time.Microsecond)
	const keys, rounds = 8, 200
	var mu sync.Mutex
	version := make(map[string]int) // what was armed last
	running := make(map[string]bool)
	var all sync.WaitGroup
	for i := range keys {
		key := fmt.Sprint(i)
		all.Go(func() {
			for n := range rounds {
				mu.Lock()
				version[key] = n
				mu.Unlock()
				if err := d.Arm(context.Background(), deadline.Deadline{Key: key, Due: now, Data: fmt.Append(nil, n)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	settled := make(chan struct{})
	var claiming sync.WaitGroup
	for range 4 {
		claiming.Go(func() {
			for {
				select {
				case <-settled:
					return
				default:
				}
				claims, _, err := d.Claim(context.Background(), now, time.Hour, 3)
				if err != nil {
					t.Error(err)
				}
				for _, c := range claims {
					id := c.Key + " " + string(c.Data)
					mu.Lock()
					if running[id] {
						t.Errorf("%s is claimed twice", id)
					}
					running[id] = true
					mu.Unlock()
					if err := d.Settle(context.Background(), c, deadline.Outcome{}); err != nil && !errors.Is(err, deadline.ErrLost) {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	for left := 1; left > 0; {
		left = 0
		for e, err := range d.All(t.Context()) {
			if left++; err != nil {
				t.Fatal(e, err)
			}
		}
	}
	close(settled)
	claiming.Wait()
	for key, n := range version {
		if !running[fmt.Sprint(key, " ", n)] {
			t.Errorf("the last deadline of %s was never claimed", key)
		}
	}
}

// TestDamagedDeadlinesAreInNobodysWay: they are listed as parked, and are replaced
// when they are armed anew.
func TestDamagedDeadlinesAreInNobodysWay(t *testing.T) {
	s := open(t, newPath(t))
	d := s.Deadlines("bot")
	now := time.Now().Truncate(time.Microsecond)
	for _, key := range []string{"a", "b", "c"} {
		arm(t, d, key, now)
	}
	if err := s.DB().Update(func(tx *bbolt.Tx) error {
		entries := tx.Bucket([]byte("deadlines")).Bucket([]byte("bot")).Bucket([]byte("entries"))
		whole := bytes.Clone(entries.Get([]byte("b")))
		copy(whole[20:], "\xff\xff\xff\xff") // the size of the reason
		return errors.Join(entries.Put([]byte("a"), []byte("{")), entries.Put([]byte("b"), whole))
	}); err != nil {
		t.Fatal(err)
	}
	parked := make(map[string]bool)
	for e, err := range d.All(t.Context()) {
		if parked[e.Key] = strings.HasPrefix(e.Parked, "corrupt: "); err != nil {
			t.Fatal(err)
		}
	}
	if !parked["a"] || !parked["b"] || parked["c"] || len(parked) != 3 {
		t.Errorf("listed are %v", parked)
	}
	arm(t, d, "a", now.Add(time.Hour))
	for range 3 {
		claims, next, err := d.Claim(t.Context(), now.Add(time.Second), 2*time.Hour, 10)
		if err != nil || len(claims) > 1 || len(claims) == 1 && claims[0].Key != "c" || !next.Equal(now.Add(time.Hour)) {
			t.Errorf("claimed are %+v, next is %v: %v", claims, next, err)
		}
	}
}

func TestDeadlinesThatCannotBeStored(t *testing.T) {
	s := open(t, newPath(t))
	d := s.Deadlines("bot")
	longest := strings.Repeat("k", 32_760)
	arm(t, d, longest, time.Now())
	for name, key := range map[string]string{"no key": "", "too long a key": longest + "k"} {
		if err := d.Arm(t.Context(), deadline.Deadline{Key: key, Due: time.Now()}); !errors.Is(err, state.ErrInvalid) || len(err.Error()) > 200 {
			t.Errorf("%s: %v", name, err)
		}
	}
	claims := claimed(t, d, time.Now())
	closeNow(t, s)
	_, _, claimErr := d.Claim(t.Context(), time.Now(), time.Minute, 1)
	var allErr error
	for _, allErr = range d.All(t.Context()) {
	}
	for call, err := range map[string]error{"arm": d.Arm(t.Context(), deadline.Deadline{Key: "k", Due: time.Now()}), "claim": claimErr, "list": allErr,
		"settle": d.Settle(t.Context(), claims[longest], deadline.Outcome{})} {
		if !errors.Is(err, bolt.ErrClosed) {
			t.Errorf("%s after Close: %v", call, err)
		}
	}
}
