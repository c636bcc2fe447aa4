package deadline_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
)

type permanentError struct{}

func (permanentError) Error() string   { return "the bot was removed" }
func (permanentError) Permanent() bool { return true }

// TestRedeliver has the first sends fail.
func TestRedeliver(t *testing.T) {
	for _, test := range []struct {
		name         string
		redeliver    bool
		failures     int64
		fail         error
		handlerFails int64
		write        bool // the user does, after the first failure
		tries, told  int64
		handled      int64
		left         string // why the deadline is parked
	}{
		{"by default a message that failed is over", false, 2, errors.New("away"), 0, false, 1, 0, 1, ""},
		{"by default a handler that failed is over", false, 0, nil, 2, false, 1, 1, 1, ""},
		{"a message that failed is sent again", true, 2, errors.New("away"), 0, false, 3, 1, 1, ""},
		{"a channel that refuses for good is not asked again", true, 2, permanentError{}, 0, false, 1, 0, 1, ""},
		{"a user who writes need not be told", true, 2, errors.New("away"), 0, true, 1, 0, 0, ""},
		{"a handler that failed runs again, without the message", true, 0, nil, 2, false, 1, 1, 3, ""},
		{"what fails on and on is parked", true, 1000, errors.New("away"), 0, false, 4, 0, 0, "away"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared()
				var tries, told, handled atomic.Int64
				s.channel.fail = func(a schema.Activity) error {
					if a.Text != farewell {
						return nil
					}
					if tries.Add(1) <= test.failures {
						return test.fail
					}
					told.Add(1)
					return nil
				}
				r := s.start(t, deadline.Options{Message: deadline.Text(farewell), Redeliver: test.redeliver, MaxAttempts: 4,
					Handler: func(_ context.Context, turn *bot.Turn, expiry middleware.Expiry) error {
						if turn.Activity.Conversation.ID != "a" || expiry.Timeout != timeout || expiry.Idle != timeout || expiry.At.Sub(expiry.LastAccessed) != timeout {
							t.Errorf("the handler got %+v, %+v", turn.Activity, expiry)
						}
						if handled.Add(1) <= test.handlerFails {
							return errors.New("not now")
						}
						return nil
					}})
				r.say(t, "a")
				time.Sleep(timeout)
				synctest.Wait()
				if test.write {
					r.say(t, "a")
					synctest.Wait()
				}
				time.Sleep(timeout - time.Second) // before who has written expires again
				if tries.Load() != test.tries || told.Load() != test.told || handled.Load() != test.handled {
					t.Errorf("tried %d times, told %d, handled %d; want %d, %d, %d", tries.Load(), told.Load(), handled.Load(), test.tries, test.told, test.handled)
				}
				if test.write {
					return
				}
				left := ""
				for e := range s.store.All(t.Context()) {
					left += e.Parked
				}
				if left != test.left && !strings.Contains(left, cmp.Or(test.left, "nothing")) {
					t.Errorf("left is %q, want %q", left, test.left)
				}
				s.channel.take()
				r.say(t, "a")
				if sent := s.channel.take(); len(sent) != 1 || !strings.HasSuffix(sent[0], "message 1") {
					t.Errorf("then, sent were %q", sent)
				}
			})
		})
	}
}

// TestARedeliveryThatIsTooLateIsNotSent, while the channel is away for longer
// than MaxLateness.
func TestARedeliveryThatIsTooLateIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var away atomic.Bool
		s.channel.fail = func(schema.Activity) error {
			if away.Load() {
				return errors.New("away")
			}
			return nil
		}
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell), Redeliver: true, MaxLateness: time.Second})
		r.say(t, "a")
		away.Store(true)
		time.Sleep(timeout + time.Second)
		away.Store(false)
		s.channel.take()
		time.Sleep(time.Hour)
		expect(t, s.channel)
		expectNone(t, s.store)
	})
}

// P13: a burst is spread, and nothing is claimed that cannot be run.
func TestP13ABurstKeepsThePaceOfTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell), MessagesPerSecond: 10, Concurrency: 8})
		for i := range 300 {
			r.say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(timeout)
		leased := 0
		for e := range s.store.All(t.Context()) {
			if !e.Leased.IsZero() {
				leased++
			}
		}
		if leased > 8 {
			t.Errorf("%d are claimed", leased)
		}
		for second, sum := 1, 0; second <= 30; second++ {
			time.Sleep(time.Second)
			synctest.Wait()
			n := len(s.channel.take())
			sum += n
			if n > 11 {
				t.Errorf("in second %d, %d were told", second, n)
			}
			if second == 30 && sum != 300 {
				t.Errorf("in 30 seconds, %d were told", sum)
			}
		}
	})
}

// TestABacklogDelaysNobody: after an outage, those that come due are told at
// once, while those that are late are told at half the pace.
func TestABacklogDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		first := s.start(t, deadline.Options{})
		for i := range 1000 {
			first.say(t, fmt.Sprint("late", i))
		}
		if err := first.runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(timeout + time.Hour)
		for i := range 100 {
			time.Sleep(time.Second)
			first.say(t, fmt.Sprint("fresh", i))
		}
		s.channel.take()
		begin := time.Now()
		time.Sleep(timeout - 2*time.Minute)
		late, fresh := 0, 0
		s.start(t, deadline.Options{Message: deadline.Text(farewell), MessagesPerSecond: 2})
		due := begin.Add(-99 * time.Second).Add(timeout) // of the first one that is not late
		for range 1500 {
			time.Sleep(time.Second)
			synctest.Wait()
			for _, line := range s.channel.take() {
				if strings.Contains(line, " late") {
					late++
					continue
				}
				at, _, _ := strings.Cut(line, " ")
				told, err := time.ParseDuration(at)
				if wait := s.channel.begin.Add(told).Sub(due.Add(time.Duration(fresh) * time.Second)); err != nil || wait < 0 || wait > time.Second {
					t.Errorf("%v after it was due, %s", wait, line)
				}
				fresh++
			}
		}
		if late != 1000 || fresh != 100 {
			t.Errorf("told were %d of the late ones and %d of the others", late, fresh)
		}
	})
}

// TestCloseReleasesThoseThatWait for the pace of the channel: they are claimed
// by others at once.
func TestCloseReleasesThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell), MessagesPerSecond: 2, Concurrency: 20})
		for i := range 20 {
			r.say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(timeout)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 1 {
			t.Errorf("sent were %q", sent)
		}
		begin := time.Now()
		if err := r.runner.Close(t.Context()); err != nil || time.Since(begin) > 0 {
			t.Errorf("closed after %v: %v", time.Since(begin), err)
		}
		s.start(t, deadline.Options{Message: deadline.Text(farewell), MessagesPerSecond: -1})
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 19 {
			t.Errorf("sent were %q", sent)
		}
	})
}

// TestAPaceThatIsVerySlowFailsNothing: no turn waits that long, and none is
// parked for it.
func TestAPaceThatIsVerySlowFailsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell), MessagesPerSecond: 0.01, MaxAttempts: 1})
		for i := range 20 {
			r.say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(timeout + 2*time.Hour)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 20 {
			t.Errorf("sent were %q", sent)
		}
	})
}

// TestCloseGivesBackWhatIsBeingClaimed.
func TestCloseGivesBackWhatIsBeingClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		memory := s.store
		s.store = slowStore{memory}
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		r.say(t, "a")
		s.channel.take()
		time.Sleep(timeout + time.Second/2)
		synctest.Wait()
		if err := r.runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.store = memory
		s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		expect(t, s.channel, "30m1s a: Goodbye.")
	})
}

// A slowStore takes a second for a claim.
type slowStore struct{ deadline.Store }

func (s slowStore) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]deadline.Claim, time.Time, error) {
	claims, next, err := s.Store.Claim(ctx, now, lease, limit)
	time.Sleep(time.Second)
	return claims, next, errors.Join(err, ctx.Err())
}
