// Package deadlinetest tests implementations of [deadline.Store].
//
//	func TestStore(t *testing.T) {
//		deadlinetest.Run(t, func(t *testing.T) deadline.Store { return mystore.New(t) })
//	}
package deadlinetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/botlapse/botlapse/deadline"
)

// Run tests stores that open returns against the contract of [deadline.Store].
// Each rule is a subtest. Open returns an empty store; what must be closed
// again it leaves to t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) deadline.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s *subject)
	}{
		{"a deadline is claimed when it is due, and not before", due},
		{"a claim has what was armed", contents},
		{"those due for longest come first, as many as asked for", order},
		{"a time may be very early or very late", extremes},
		{"a claimed deadline is not claimed again before its lease ends", leased},
		{"a renewed lease holds on", renewed},
		{"a removed deadline is gone", removed},
		{"a moved deadline is claimed at its new time, with its attempts", moved},
		{"a parked deadline is not claimed until it is armed anew", parked},
		{"arming takes the place of what was armed, and of a claim", rearmed},
		{"a claim whose lease has ended is held until it is taken", late},
		{"a claim whose lease has ended and was taken is lost", taken},
		{"who asks again when next says so misses nothing", next},
		{"all are listed", all},
		{"the body of a loop over all may call the store", loops},
		{"data may be any bytes", data},
		{"data is a copy", copies},
		{"many claims at once take each deadline once", together},
		{"keys may have any characters", keys},
		{"a context that is done changes nothing", cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, &subject{t, open(t), time.Now().Truncate(time.Second)})
		})
	}
}

const lease = time.Minute

type subject struct {
	*testing.T
	store deadline.Store
	now   time.Time
}

func (s *subject) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *subject) wantLost(err error) {
	s.Helper()
	if !errors.Is(err, deadline.ErrLost) {
		s.Errorf("error is %v, want one that wraps ErrLost", err)
	}
}

// dataOf returns what is armed with a key.
func dataOf(key string) []byte { return []byte("what belongs to \x00\xff " + key) }

func (s *subject) arm(key string, after time.Duration) {
	s.Helper()
	s.must(s.store.Arm(s.Context(), deadline.Deadline{Key: key, Due: s.now.Add(after), Data: dataOf(key)}))
}

// claim returns the claims at a time, and checks whose they are.
func (s *subject) claim(at time.Duration, limit int, want ...string) []deadline.Claim {
	s.Helper()
	claims, _, err := s.store.Claim(s.Context(), s.now.Add(at), lease, limit)
	s.must(err)
	var got []string
	for _, c := range claims {
		got = append(got, c.Key)
	}
	if !slices.Equal(got, want) {
		s.Fatalf("at %v, claimed are %q, want %q", at, got, want)
	}
	return claims
}

// hold prolongs a claim until a time.
func (s *subject) hold(c deadline.Claim, until time.Duration) error {
	return s.store.Settle(s.Context(), c, deadline.Outcome{Held: s.now.Add(until)})
}

// move has a deadline come due at a time.
func (s *subject) move(c deadline.Claim, due time.Duration, attempts int) error {
	return s.store.Settle(s.Context(), c, deadline.Outcome{Due: s.now.Add(due), Attempts: attempts})
}

func (s *subject) park(c deadline.Claim, reason string) error {
	return s.store.Settle(s.Context(), c, deadline.Outcome{Parked: reason, Attempts: c.Attempts})
}

func (s *subject) remove(c deadline.Claim) error {
	return s.store.Settle(s.Context(), c, deadline.Outcome{})
}

func due(t *testing.T, s *subject) {
	s.arm("a", time.Minute)
	s.claim(time.Minute-time.Millisecond, 10)
	s.claim(time.Minute, 10, "a")
}

func contents(t *testing.T, s *subject) {
	s.arm("a", time.Minute)
	c := s.claim(time.Hour, 10, "a")[0]
	if !c.Due.Equal(s.now.Add(time.Minute)) || !bytes.Equal(c.Data, dataOf("a")) || c.Token == "" || c.Attempts != 0 {
		t.Errorf("the claim is %+v", c)
	}
}

func order(t *testing.T, s *subject) {
	s.arm("c", 3*time.Second)
	s.arm("a", 1*time.Second)
	s.arm("d", 4*time.Second)
	s.arm("b", 2*time.Second)
	s.claim(time.Hour, 0)
	s.claim(time.Hour, 3, "a", "b", "c")
	s.claim(time.Hour, 3, "d")
}

func extremes(t *testing.T, s *subject) {
	s.must(s.store.Arm(t.Context(), deadline.Deadline{Key: "never", Due: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}))
	s.must(s.store.Arm(t.Context(), deadline.Deadline{Key: "b", Due: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)}))
	s.arm("c", 0)
	s.claim(time.Hour, 10, "b", "c")
}

func late(t *testing.T, s *subject) {
	s.arm("a", 0)
	c := s.claim(0, 10, "a")[0]
	s.must(s.hold(c, 3*lease))
	s.claim(3*lease-time.Millisecond, 10)
	s.must(s.remove(c))
}

func leased(t *testing.T, s *subject) {
	s.arm("a", 0)
	s.claim(0, 10, "a")
	s.claim(lease-time.Millisecond, 10)
	s.claim(lease, 10, "a")
}

func renewed(t *testing.T, s *subject) {
	s.arm("a", 0)
	c := s.claim(0, 10, "a")[0]
	s.must(s.hold(c, lease+lease/2))
	s.claim(lease, 10)
	s.claim(lease+lease/2, 10, "a")
	s.wantLost(s.hold(c, 2*lease))
}

func removed(t *testing.T, s *subject) {
	s.arm("a", 0)
	c := s.claim(0, 10, "a")[0]
	s.must(s.remove(c))
	s.claim(time.Hour, 10)
	s.wantLost(s.remove(c))
	s.wantLost(s.move(c, 0, 0))
}

func moved(t *testing.T, s *subject) {
	s.arm("a", 0)
	c := s.claim(0, 10, "a")[0]
	s.must(s.move(c, time.Hour, 3))
	s.claim(time.Hour-time.Millisecond, 10)
	if c := s.claim(time.Hour, 10, "a")[0]; c.Attempts != 3 || !c.Due.Equal(s.now.Add(time.Hour)) || !bytes.Equal(c.Data, dataOf("a")) {
		t.Errorf("the claim is %+v", c)
	}
	s.wantLost(s.move(c, 0, 0))
}

func parked(t *testing.T, s *subject) {
	s.arm("a", 0)
	c := s.claim(0, 10, "a")[0]
	s.must(s.park(c, "the reason"))
	s.claim(1000*time.Hour, 10)
	s.wantLost(s.remove(c))
	if e := s.entry("a"); e.Parked != "the reason" {
		t.Errorf("the entry is %+v", e)
	}
	s.arm("a", time.Hour)
	if c := s.claim(time.Hour, 10, "a")[0]; c.Attempts != 0 {
		t.Errorf("the claim is %+v", c)
	}
}

func rearmed(t *testing.T, s *subject) {
	s.arm("a", time.Minute)
	s.arm("a", time.Hour)
	s.claim(time.Hour-time.Millisecond, 10)
	c := s.claim(time.Hour, 10, "a")[0]
	s.must(s.move(c, time.Hour, 5))
	c = s.claim(time.Hour, 10, "a")[0]
	s.arm("a", 2*time.Hour)
	s.wantLost(s.remove(c))
	s.wantLost(s.park(c, "x"))
	if c := s.claim(2*time.Hour, 10, "a")[0]; c.Attempts != 0 {
		t.Errorf("the claim is %+v", c)
	}
	s.arm("b", time.Hour)
	s.arm("b", time.Minute)
	s.claim(time.Minute, 10, "b")
}

func taken(t *testing.T, s *subject) {
	s.arm("a", 0)
	first := s.claim(0, 10, "a")[0]
	second := s.claim(lease, 10, "a")[0]
	s.wantLost(s.remove(first))
	s.wantLost(s.move(first, 0, 0))
	s.must(s.remove(second))
}

func next(t *testing.T, s *subject) {
	dues := map[string]time.Duration{"a": time.Second, "b": time.Second + time.Millisecond, "c": time.Minute, "d": time.Hour}
	for key, due := range dues {
		s.arm(key, due)
	}
	now, seen := s.now, 0
	for calls := 0; seen < len(dues); calls++ {
		claims, next, err := s.store.Claim(s.Context(), now, 10*time.Hour, 1)
		s.must(err)
		for _, c := range claims {
			seen++
			if !now.Equal(c.Due) || !c.Due.Equal(s.now.Add(dues[c.Key])) {
				t.Errorf("%s was claimed at %v", c.Key, now.Sub(s.now))
			}
		}
		if seen < len(dues) && next.IsZero() || calls > 1000 {
			t.Fatalf("after %d calls, at %v, %d were claimed, and next is %v", calls, now.Sub(s.now), seen, next)
		}
		if next.After(now) {
			now = next
		}
	}
}

// entry returns the deadline of a key as it is listed.
func (s *subject) entry(key string) (found deadline.Entry) {
	s.Helper()
	for e, err := range s.store.All(s.Context()) {
		s.must(err)
		if e.Key == key {
			return e
		}
	}
	return found
}

func all(t *testing.T, s *subject) {
	const deadlines = 600 // more than are read at once
	for i := range deadlines {
		s.arm(fmt.Sprint(i), time.Duration(i)*time.Second)
	}
	s.claim(0, 1, "0")
	seen := make(map[string]bool)
	for e, err := range s.store.All(t.Context()) {
		s.must(err)
		seen[e.Key] = true
		if (e.Key == "0") == e.Leased.IsZero() || !bytes.Equal(e.Data, dataOf(e.Key)) {
			t.Errorf("an entry is %+v", e)
		}
	}
	if len(seen) != deadlines {
		t.Errorf("%d entries", len(seen))
	}
}

func loops(t *testing.T, s *subject) {
	for i := range 10 {
		s.arm(fmt.Sprint(i), time.Hour)
	}
	n := 0
	for e, err := range s.store.All(t.Context()) {
		s.must(err)
		s.must(s.store.Arm(t.Context(), deadline.Deadline{Key: e.Key, Due: s.now}))
		if n++; n == 3 {
			break
		}
	}
	if claims, _, err := s.store.Claim(t.Context(), s.now, lease, 10); err != nil || len(claims) != 3 {
		t.Errorf("claimed are %+v: %v", claims, err)
	}
}

func data(t *testing.T, s *subject) {
	large := bytes.Repeat([]byte("0123456789\x00"), 10_000)
	for i, want := range [][]byte{nil, {}, {0}, []byte(`{"json":true}`), []byte("\xff\xfe"), large} {
		key := fmt.Sprint(i)
		s.must(s.store.Arm(t.Context(), deadline.Deadline{Key: key, Due: s.now, Data: want}))
		if c := s.claim(0, 10, key)[0]; !bytes.Equal(c.Data, want) {
			t.Errorf("%.20q comes back as %.20q", want, c.Data)
		}
	}
}

func copies(t *testing.T, s *subject) {
	given := dataOf("a")
	s.must(s.store.Arm(t.Context(), deadline.Deadline{Key: "a", Due: s.now, Data: given}))
	clear(given)
	c := s.claim(0, 10, "a")[0]
	clear(c.Data)
	e := s.entry("a")
	clear(e.Data)
	s.must(s.move(c, 0, 0))
	if c := s.claim(0, 10, "a")[0]; !bytes.Equal(c.Data, dataOf("a")) {
		t.Errorf("what was armed comes back as %q", c.Data)
	}
}

func together(t *testing.T, s *subject) {
	const deadlines, claimers = 200, 8
	var arming sync.WaitGroup
	for i := range deadlines {
		arming.Go(func() {
			if err := s.store.Arm(t.Context(), deadline.Deadline{Key: fmt.Sprint(i), Due: s.now}); err != nil {
				t.Error(err)
			}
		})
	}
	arming.Wait()
	var mu sync.Mutex
	seen := make(map[string]int)
	var claiming sync.WaitGroup
	for range claimers {
		claiming.Go(func() {
			for {
				claims, _, err := s.store.Claim(t.Context(), s.now, lease, 7)
				if err != nil {
					t.Error(err)
				}
				if len(claims) == 0 {
					return
				}
				mu.Lock()
				for _, c := range claims {
					seen[c.Key]++
				}
				mu.Unlock()
			}
		})
	}
	claiming.Wait()
	if len(seen) != deadlines {
		t.Errorf("%d deadlines were claimed, want %d", len(seen), deadlines)
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s was claimed %d times", key, n)
		}
	}
}

func keys(t *testing.T, s *subject) {
	all := []string{"a/b?c#d*e\\f", "å日😀", " ", "\x00\x01", "a", "A", "msteams/conversations/19:x@thread.tacv2;messageid=1"}
	for i, key := range all {
		s.arm(key, time.Duration(i)*time.Second)
	}
	for _, c := range s.claim(time.Hour, 100, all...) {
		s.must(s.remove(c))
	}
}

func cancelled(t *testing.T, s *subject) {
	s.arm("a", 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := deadline.Claim{}
	_, _, claimErr := s.store.Claim(ctx, s.now, lease, 10)
	var allErr error
	for _, allErr = range s.store.All(ctx) {
	}
	for i, err := range []error{s.store.Arm(ctx, deadline.Deadline{Key: "b", Due: s.now}), claimErr, s.store.Settle(ctx, c, deadline.Outcome{}), allErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	s.claim(0, 10, "a")
}
