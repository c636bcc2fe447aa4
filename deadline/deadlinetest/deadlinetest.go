// Package deadlinetest tests implementations of [deadline.Store].
//
//	func TestStore(t *testing.T) {
//		deadlinetest.Run(t, func(t *testing.T) deadline.Store { return mystore.New(t) })
//	}
package deadlinetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

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
		{"a finished deadline is gone", finished},
		{"a moved deadline is claimed at its new time, with its attempts", moved},
		{"a parked deadline is not claimed until it is armed anew", parked},
		{"arming takes the place of what was armed, and of a claim", rearmed},
		{"a claim whose lease has ended is held until it is taken", late},
		{"a claim whose lease has ended and was taken is lost", taken},
		{"of those that came due later than a time, no others are claimed", after},
		{"who asks again when next says so misses nothing", next},
		{"entries lists all", entries},
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

func reference(key string) schema.ConversationReference {
	return schema.ConversationReference{ServiceURL: "https://smba.test/", ChannelID: "msteams", Conversation: schema.ConversationAccount{ID: key}, User: schema.ChannelAccount{ID: "u1", Name: "Ada \x00 😀", AadObjectID: strings.Repeat("x", 300), Role: "user"}, Bot: schema.ChannelAccount{ID: "bot"}}
}

func (s *subject) arm(key string, after time.Duration) {
	s.Helper()
	s.must(s.store.Arm(s.Context(), deadline.Deadline{Key: key, Due: s.now.Add(after), Reference: reference(key), App: "app of " + key}))
}

// claim returns the claims at a time, and checks whose they are.
func (s *subject) claim(at time.Duration, limit int, want ...string) []deadline.Claim {
	s.Helper()
	return s.claimAfter(time.Time{}, at, limit, want...)
}

func (s *subject) claimAfter(after time.Time, at time.Duration, limit int, want ...string) []deadline.Claim {
	s.Helper()
	claims, _, err := s.store.Claim(s.Context(), after, s.now.Add(at), lease, limit)
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

func due(t *testing.T, s *subject) {
	s.arm("a", time.Minute)
	s.claim(time.Minute-time.Millisecond, 10)
	s.claim(time.Minute, 10, "a")
}

func contents(t *testing.T, s *subject) {
	s.arm("a", time.Minute)
	c := s.claim(time.Hour, 10, "a")[0]
	if !c.Due.Equal(s.now.Add(time.Minute)) || c.Reference != reference("a") || c.App != "app of a" || c.Token == "" || c.Attempts != 0 {
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
	s.must(s.store.Renew(t.Context(), c, s.now.Add(2*lease), lease))
	s.claim(2*lease, 10)
	s.must(s.store.Finish(t.Context(), c))
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
	s.must(s.store.Renew(t.Context(), c, s.now.Add(lease/2), lease))
	s.claim(lease, 10)
	s.claim(lease+lease/2, 10, "a")
	s.wantLost(s.store.Renew(t.Context(), c, s.now, lease))
}

func finished(t *testing.T, s *subject) {
	s.arm("a", 0)
	c := s.claim(0, 10, "a")[0]
	s.must(s.store.Finish(t.Context(), c))
	s.claim(time.Hour, 10)
	s.wantLost(s.store.Finish(t.Context(), c))
	s.wantLost(s.store.Move(t.Context(), c, s.now, 0))
}

func moved(t *testing.T, s *subject) {
	s.arm("a", 0)
	c := s.claim(0, 10, "a")[0]
	s.must(s.store.Move(t.Context(), c, s.now.Add(time.Hour), 3))
	s.claim(time.Hour-time.Millisecond, 10)
	if c := s.claim(time.Hour, 10, "a")[0]; c.Attempts != 3 || !c.Due.Equal(s.now.Add(time.Hour)) || c.Reference != reference("a") || c.App != "app of a" {
		t.Errorf("the claim is %+v", c)
	}
	s.wantLost(s.store.Move(t.Context(), c, s.now, 0))
}

func parked(t *testing.T, s *subject) {
	s.arm("a", 0)
	c := s.claim(0, 10, "a")[0]
	s.must(s.store.Park(t.Context(), c, "the reason"))
	s.claim(1000*time.Hour, 10)
	s.wantLost(s.store.Finish(t.Context(), c))
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
	s.must(s.store.Move(t.Context(), c, s.now.Add(time.Hour), 5))
	c = s.claim(time.Hour, 10, "a")[0]
	s.arm("a", 2*time.Hour)
	s.wantLost(s.store.Finish(t.Context(), c))
	s.wantLost(s.store.Park(t.Context(), c, "x"))
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
	s.wantLost(s.store.Finish(t.Context(), first))
	s.wantLost(s.store.Move(t.Context(), first, s.now, 0))
	s.must(s.store.Finish(t.Context(), second))
}

func after(t *testing.T, s *subject) {
	for i, key := range []string{"a", "b", "c", "d", "e"} {
		s.arm(key, time.Duration(i)*time.Second)
	}
	s.claimAfter(s.now.Add(2*time.Second), time.Hour, 1, "d")
	s.claimAfter(s.now.Add(2*time.Second), time.Hour, 10, "e")
	s.claimAfter(s.now.Add(2*time.Second), time.Hour, 10)
	s.arm("x", time.Second+time.Millisecond)
	s.claimAfter(s.now.Add(time.Second), time.Hour, 1, "x") // the time may go back
	s.claimAfter(time.Time{}, time.Hour, 2, "a", "b")
	s.claimAfter(s.now, time.Hour, 10, "c")
	s.claimAfter(s.now, time.Hour, 10)
	claims, _, err := s.store.Claim(t.Context(), s.now.Add(time.Hour), s.now.Add(time.Hour+lease), lease, 10)
	if err != nil || len(claims) != 6 { // at the end of their leases
		t.Errorf("claimed are %v: %v", claims, err)
	}
}

func next(t *testing.T, s *subject) {
	dues := map[string]time.Duration{"a": time.Second, "b": time.Second + time.Millisecond, "c": time.Minute, "d": time.Hour}
	for key, due := range dues {
		s.arm(key, due)
	}
	now, seen := s.now, 0
	for calls := 0; seen < len(dues); calls++ {
		claims, next, err := s.store.Claim(s.Context(), time.Time{}, now, 10*time.Hour, 1)
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

func (s *subject) entry(key string) (found deadline.Entry) {
	s.Helper()
	s.must(s.store.Entries(s.Context(), func(e deadline.Entry) bool {
		if e.Key == key {
			found = e
		}
		return e.Key != key
	}))
	return found
}

func entries(t *testing.T, s *subject) {
	for i := range 100 {
		s.arm(fmt.Sprint(i), time.Duration(i)*time.Second)
	}
	s.claim(0, 1, "0")
	n := 0
	s.must(s.store.Entries(t.Context(), func(e deadline.Entry) bool {
		n++
		if (e.Key == "0") == e.Leased.IsZero() || e.Reference != reference(e.Key) || e.App != "app of "+e.Key {
			t.Errorf("an entry is %+v", e)
		}
		return true
	}))
	if n != 100 {
		t.Errorf("%d entries", n)
	}
	n = 0
	s.must(s.store.Entries(t.Context(), func(deadline.Entry) bool { n++; return n < 10 }))
	if n != 10 {
		t.Errorf("%d entries after it was enough", n)
	}
}

func together(t *testing.T, s *subject) {
	const deadlines, claimers = 200, 8
	var arming sync.WaitGroup
	for i := range deadlines {
		arming.Go(func() {
			if err := s.store.Arm(t.Context(), deadline.Deadline{Key: fmt.Sprint(i), Due: s.now, Reference: reference("x")}); err != nil {
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
				claims, _, err := s.store.Claim(t.Context(), time.Time{}, s.now, lease, 7)
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
		s.must(s.store.Finish(t.Context(), c))
	}
}

func cancelled(t *testing.T, s *subject) {
	s.arm("a", 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := deadline.Claim{}
	_, _, claimErr := s.store.Claim(ctx, time.Time{}, s.now, lease, 10)
	for i, err := range []error{
		s.store.Arm(ctx, deadline.Deadline{Key: "b", Due: s.now}), claimErr, s.store.Renew(ctx, c, s.now, lease), s.store.Finish(ctx, c),
		s.store.Move(ctx, c, s.now, 0), s.store.Park(ctx, c, ""), s.store.Entries(ctx, func(deadline.Entry) bool { return true }),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	s.claim(0, 10, "a")
}
