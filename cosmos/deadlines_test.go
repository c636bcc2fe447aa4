package cosmos_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/deadline/deadlinetest"
	"github.com/botlapse/botlapse/state"
)

const byShard = `{"id":"deadlines","partitionKey":{"paths":["/shard"],"kind":"Hash"},` +
	`"indexingPolicy":{"indexingMode":"consistent","automatic":true,"includedPaths":[{"path":"/ready/?"}],"excludedPaths":[{"path":"/*"}]}}`

func newDeadlines(t testing.TB, server *cosmostest.Server, opts *cosmos.DeadlinesOptions) *cosmos.Deadlines {
	return cosmos.NewDeadlines(newAccount(t, server), "bot", "deadlines", opts)
}

const lease = 30 * time.Second

// The outcomes of a claim.
var remove deadline.Outcome

func hold(until time.Time) deadline.Outcome { return deadline.Outcome{Held: until} }

func move(due time.Time, attempts int) deadline.Outcome {
	return deadline.Outcome{Due: due, Attempts: attempts}
}

func park(reason string) deadline.Outcome { return deadline.Outcome{Parked: reason} }

func arm(t testing.TB, d deadline.Store, key string, due time.Time) {
	t.Helper()
	if err := d.Arm(context.Background(), deadline.Deadline{Key: key, Due: due, Data: []byte(key)}); err != nil {
		t.Fatal(err)
	}
}

// claim returns the claims at now, and when to ask again.
func claim(t testing.TB, d deadline.Store, limit int) ([]deadline.Claim, time.Time) {
	t.Helper()
	claims, next, err := d.Claim(context.Background(), time.Now(), lease, limit)
	if err != nil {
		t.Fatal(err)
	}
	return claims, next
}

func keysOf(claims []deadline.Claim) (keys []string) {
	for _, c := range claims {
		keys = append(keys, c.Key)
	}
	return keys
}

func entryOf(t testing.TB, d deadline.Store, key string) (found deadline.Entry) {
	t.Helper()
	for e, err := range d.All(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key == key {
			found = e
		}
	}
	return found
}

func TestDeadlines(t *testing.T) {
	deadlinetest.Run(t, func(t *testing.T) deadline.Store { return newDeadlines(t, newServer(t, byShard), nil) })
}

// Turns are stores that have each call made by the next one.
type turns struct {
	mu     sync.Mutex
	stores []deadline.Store
}

func (s *turns) next() deadline.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stores = append(s.stores[1:], s.stores[0])
	return s.stores[0]
}

func (s *turns) Arm(ctx context.Context, d deadline.Deadline) error { return s.next().Arm(ctx, d) }

func (s *turns) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]deadline.Claim, time.Time, error) {
	return s.next().Claim(ctx, now, lease, limit)
}

func (s *turns) Settle(ctx context.Context, c deadline.Claim, o deadline.Outcome) error {
	return s.next().Settle(ctx, c, o)
}

func (s *turns) All(ctx context.Context) iter.Seq2[deadline.Entry, error] { return s.next().All(ctx) }

func TestDeadlinesOfTwoProcesses(t *testing.T) {
	deadlinetest.Run(t, func(t *testing.T) deadline.Store {
		server := newServer(t, byShard)
		return &turns{stores: []deadline.Store{newDeadlines(t, server, nil).AskAlways(), newDeadlines(t, server, nil).AskAlways()}}
	})
}

func TestWhatDeadlinesCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		d := newDeadlines(t, server, nil)
		claim(t, d, 10)
		spent := func(what string, want ...cosmostest.Op) {
			t.Helper()
			var got []cosmostest.Op
			for _, r := range server.Requests() {
				got = append(got, r.Op)
				if r.PartitionKey == "" || r.Header.Get("x-ms-documentdb-query-enablecrosspartition") != "" {
					t.Errorf("%s: a request is not of one partition: %+v", what, r)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s costs %v, want %v", what, got, want)
			}
			server.ForgetRequests()
		}
		server.ForgetRequests()
		arm(t, d, "a", time.Now().Add(4*time.Second))
		spent("arming", cosmostest.UpsertItem)
		claim(t, d, 10)
		if _, next := claim(t, d, 10); !next.Equal(time.Now().Add(4 * time.Second)) {
			t.Errorf("the next is due in %v", time.Until(next))
		}
		spent("looking when nothing is due")
		time.Sleep(4 * time.Second)
		claims, next := claim(t, d, 10)
		spent("claiming", cosmostest.QueryItems, cosmostest.ReplaceItem)
		if !next.After(time.Now()) {
			t.Errorf("when all is claimed, the next is due in %v", time.Until(next))
		}
		claim(t, d, 10)
		spent("looking when all is claimed")
		if err := d.Settle(t.Context(), claims[0], remove); err != nil {
			t.Fatal(err)
		}
		spent("finishing", cosmostest.DeleteItem)

		for verb, settle := range map[string]func(deadline.Claim) error{
			"renewing": func(c deadline.Claim) error { return d.Settle(t.Context(), c, hold(time.Now().Add(lease))) },
			"moving":   func(c deadline.Claim) error { return d.Settle(t.Context(), c, move(time.Now(), 1)) },
			"parking":  func(c deadline.Claim) error { return d.Settle(t.Context(), c, park("x")) },
		} {
			arm(t, d, verb, time.Now())
			claims, _ := claim(t, d, 1)
			server.ForgetRequests()
			if err := settle(claims[0]); err != nil {
				t.Fatal(err)
			}
			spent(verb, cosmostest.ReplaceItem)
		}

		time.Sleep(time.Minute)
		server.ForgetRequests()
		for _, err := range d.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
		}
		spent("listing", slices.Repeat([]cosmostest.Op{cosmostest.QueryItems}, 8)...)
	})
}

// A deadline that another process has armed is found within Refresh, and before
// it is due if there is time for that.
func TestDeadlinesOfOthersAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		a, b := newDeadlines(t, server, nil), newDeadlines(t, server, nil)
		claim(t, b, 10)
		arm(t, a, "k", time.Now().Add(time.Second))
		armed := time.Now()
		for {
			claims, next := claim(t, b, 10)
			if len(claims) > 0 {
				break
			}
			if time.Since(armed) > 10*time.Second {
				t.Fatal("it is not found")
			}
			time.Sleep(min(time.Until(next), time.Second))
		}
		if late := time.Since(armed); late > 5*time.Second {
			t.Errorf("it took %v", late)
		}
	})
}

func TestWhoArmedHasAHeadStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		a, b := newDeadlines(t, server, nil), newDeadlines(t, server, nil)
		due := time.Now().Add(10 * time.Second)
		for i := range 20 {
			arm(t, a, fmt.Sprint(i), due)
		}
		time.Sleep(10 * time.Second)
		claims, next := claim(t, b, 100)
		if wait := next.Sub(due); len(claims) > 0 || wait < 100*time.Millisecond || wait > 500*time.Millisecond {
			t.Errorf("the other one has %d, and waits for %v", len(claims), wait)
		}
		if claims, _ := claim(t, a, 10); len(claims) != 10 {
			t.Errorf("the one that armed has %d", len(claims))
		}
		time.Sleep(500 * time.Millisecond)
		if claims, _ := claim(t, b, 100); len(claims) != 10 {
			t.Errorf("the other one then has %d", len(claims))
		} else if err := b.Settle(t.Context(), claims[0], move(time.Now(), 0)); err != nil {
			t.Fatal(err)
		}
		if claims, _ := claim(t, b, 100); len(claims) != 1 {
			t.Errorf("of its own it has %d", len(claims))
		}
	})
}

// TestOneClaimForEachDeadline has processes claim the same deadlines at the same
// time.
func TestOneClaimForEachDeadline(t *testing.T) {
	for name, always := range map[string]bool{"as they come": false, "all alike": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const deadlines = 200
				server := newServer(t, byShard)
				server.Fault = func(cosmostest.Request) cosmostest.Fault { return cosmostest.Fault{Delay: 5 * time.Millisecond} }
				a, b := newDeadlines(t, server, nil), newDeadlines(t, server, nil)
				if always {
					a, b = a.AskAlways(), b.AskAlways()
				}
				for i := range deadlines {
					arm(t, a, fmt.Sprint(i), time.Now())
				}
				begin := time.Now()
				var mu sync.Mutex
				seen := make(map[string]int)
				var claiming sync.WaitGroup
				for _, d := range []*cosmos.Deadlines{a, b, a, b} {
					claiming.Go(func() {
						for time.Since(begin) < 10*time.Second {
							claims, next := claim(t, d, 16)
							for _, c := range claims {
								mu.Lock()
								seen[c.Key]++
								mu.Unlock()
								if err := d.Settle(context.Background(), c, remove); err != nil {
									t.Error(err)
								}
							}
							time.Sleep(min(time.Until(next), time.Second))
						}
					})
				}
				claiming.Wait()
				for key, n := range seen {
					if n != 1 {
						t.Errorf("%s was claimed %d times", key, n)
					}
				}
				if len(seen) != deadlines {
					t.Errorf("%d deadlines were claimed, want %d", len(seen), deadlines)
				}
				refused := 0
				for _, r := range server.Requests() {
					if r.Status == http.StatusPreconditionFailed || r.Status == http.StatusNotFound {
						refused++
					}
				}
				t.Logf("%d requests were refused", refused)
			})
		})
	}
}

// TestDeadlinesReadTheirOwnWrites where queries and reads come from a replica
// that lags.
func TestDeadlinesReadTheirOwnWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		server.Lag = time.Minute
		a, b := newDeadlines(t, server, nil).AskAlways(), newDeadlines(t, server, nil).AskAlways()
		arm(t, a, "k", time.Now())
		time.Sleep(59 * time.Second)
		claims, _ := claim(t, a, 10)
		if len(claims) != 1 {
			t.Fatalf("claimed are %v", claims)
		}
		if again, _ := claim(t, a, 10); len(again) > 0 {
			t.Errorf("claimed again are %v", again)
		}
		time.Sleep(2 * time.Second) // the replica has what was armed, not what was claimed
		if stale, _ := claim(t, b, 10); len(stale) > 0 {
			t.Errorf("claimed by another one are %v", stale)
		}
		if err := a.Settle(t.Context(), claims[0], remove); err != nil {
			t.Error(err)
		}
		if e := entryOf(t, a, "k"); e.Key != "" {
			t.Errorf("there is still %+v", e)
		}
	})
}

// A slow transport holds up answers.
type slow struct {
	*cosmostest.Server
	delay func(*http.Request) time.Duration
}

func (s slow) Do(r *http.Request) (*http.Response, error) {
	resp, err := s.Server.Do(r)
	time.Sleep(s.delay(r))
	return resp, err
}

func newSlowDeadlines(t *testing.T, server *cosmostest.Server, delay func(*http.Request) time.Duration) *cosmos.Deadlines {
	account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: slow{server, delay}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	return cosmos.NewDeadlines(account, "bot", "deadlines", nil)
}

// TestAnswersInAnotherOrder: what was written last is seen, although an earlier
// write was answered later.
func TestAnswersInAnotherOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		server.Lag = time.Hour
		var mu sync.Mutex
		writes := 0
		d := newSlowDeadlines(t, server, func(r *http.Request) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			if r.Header.Get("x-ms-documentdb-is-upsert") != "" {
				if writes++; writes == 1 {
					return time.Second
				}
			}
			return 0
		})
		due := time.Now()
		var arming sync.WaitGroup
		arming.Go(func() { arm(t, d, "k", due.Add(time.Hour)) })
		time.Sleep(time.Second / 2)
		arm(t, d, "k", due)
		arming.Wait()
		if claims, _ := claim(t, d, 10); len(claims) != 1 {
			t.Errorf("claimed are %v", claims)
		}
	})
}

// TestWhatIsArmedDuringAQueryIsNotMissed by the process that arms it.
func TestWhatIsArmedDuringAQueryIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		d := newSlowDeadlines(t, server, func(r *http.Request) time.Duration {
			if r.Header.Get("x-ms-documentdb-query") != "" {
				return 900 * time.Millisecond
			}
			return 0
		})
		due := time.Now().Add(2 * time.Second)
		var claiming sync.WaitGroup
		claiming.Go(func() {
			if claims, next := claim(t, d, 10); len(claims) > 0 || !next.Equal(due) {
				t.Errorf("claimed are %v, and the next is due in %v", claims, time.Until(next))
			}
		})
		time.Sleep(time.Second / 2)
		arm(t, d, "k", due)
		claiming.Wait()
		time.Sleep(time.Until(due))
		if claims, _ := claim(t, d, 10); len(claims) != 1 {
			t.Errorf("claimed are %v", claims)
		}
	})
}

// TestABacklogInOnePartition: what comes first is claimed first, wherever it is.
func TestABacklogInOnePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		d := newDeadlines(t, server, nil)
		begin := time.Now()
		var want []string
		for i := 0; len(want) < 100; i++ {
			key := fmt.Sprint(i)
			if sum := sha256.Sum256([]byte(key)); sum[0]%8 == 3 {
				arm(t, d, key, begin.Add(time.Duration(len(want))*time.Millisecond))
				want = append(want, key)
			} else {
				arm(t, d, key, begin.Add(time.Second))
			}
		}
		time.Sleep(2 * time.Second)
		for len(want) > 0 {
			claims, next := claim(t, d, 50)
			if !slices.Equal(keysOf(claims), want[:50]) {
				t.Fatalf("claimed are %q, want %q", keysOf(claims), want[:50])
			}
			if next.After(time.Now()) {
				t.Error("there is more to claim, and next does not say so")
			}
			want = want[50:]
		}
	})
}

func TestBotsThatShareAContainerSeeTheirOwnDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		a, b := newDeadlines(t, server, &cosmos.DeadlinesOptions{KeySuffix: "-a"}), newDeadlines(t, server, &cosmos.DeadlinesOptions{KeySuffix: "-b"})
		arm(t, a, "k", time.Now())
		arm(t, b, "k", time.Now().Add(time.Hour))
		time.Sleep(time.Second)
		if claims, _ := claim(t, b, 10); len(claims) > 0 {
			t.Errorf("the other bot has claimed %v", claims)
		}
		claims, _ := claim(t, a, 10)
		if len(claims) != 1 {
			t.Fatalf("claimed are %v", claims)
		}
		if err := a.Settle(t.Context(), claims[0], remove); err != nil {
			t.Fatal(err)
		}
		if e := entryOf(t, b, "k"); e.Key != "k" {
			t.Error("the other bot's is gone")
		}
		defer func() {
			if recover() == nil {
				t.Error("a suffix with a slash is taken")
			}
		}()
		newDeadlines(t, server, &cosmos.DeadlinesOptions{KeySuffix: "/a"})
	})
}

// TestPB6QueuesOfOneContainerDoNotMeet: each claims and lists its own, whatever
// their keys, names and suffixes.
func TestPB6QueuesOfOneContainerDoNotMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		var queues []*cosmos.Deadlines
		for _, o := range []cosmos.DeadlinesOptions{{}, {Queue: "a"}, {Queue: "ab"}, {Queue: "a", KeySuffix: "b"}, {KeySuffix: "a"}, {KeySuffix: "ab"}} {
			queues = append(queues, newDeadlines(t, server, &o))
		}
		for _, d := range queues {
			arm(t, d, "k", time.Now())
		}
		time.Sleep(time.Second)
		for i, d := range queues {
			claims, _ := claim(t, d, 10)
			if len(claims) != 1 {
				t.Fatalf("the queue %d has claimed %v", i, claims)
			}
			if err := d.Settle(t.Context(), claims[0], move(time.Now().Add(time.Hour), 1)); err != nil {
				t.Error(err)
			}
		}
		for i, d := range queues {
			claims, _, err := d.Claim(t.Context(), time.Now().Add(2*time.Hour), lease, 10)
			if err != nil || len(claims) != 1 {
				t.Fatalf("the queue %d has claimed %v: %v", i, claims, err)
			}
			if err := d.Settle(t.Context(), claims[0], remove); err != nil {
				t.Error(err)
			}
			for j, other := range queues {
				if left := entryOf(t, other, "k").Key != ""; left != (j > i) {
					t.Errorf("when the queue %d has removed its own, that of the queue %d is there: %v", i, j, left)
				}
			}
		}
		defer func() {
			if recover() == nil {
				t.Error("a queue with a slash is taken")
			}
		}()
		newDeadlines(t, server, &cosmos.DeadlinesOptions{Queue: "/a"})
	})
}

func TestDeadlinesThatCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeadlines(t, newServer(t, byShard), nil)
		now := time.Now()
		for name, test := range map[string]struct {
			deadline deadline.Deadline
			want     error
		}{
			"no key":         {deadline.Deadline{Due: now}, state.ErrInvalid},
			"not UTF-8":      {deadline.Deadline{Key: "\xff", Due: now}, state.ErrInvalid},
			"the year 10000": {deadline.Deadline{Key: "k", Due: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, state.ErrInvalid},
			"much data":      {deadline.Deadline{Key: "k", Due: now, Data: make([]byte, 3<<20)}, cosmos.ErrTooLarge},
		} {
			if err := d.Arm(t.Context(), test.deadline); !errors.Is(err, test.want) {
				t.Errorf("%s: %.200v", name, err)
			}
		}
		long := strings.Repeat("å/", 10000)
		arm(t, d, long, now)
		if claims, _ := claim(t, d, 10); len(claims) != 1 || claims[0].Key != long {
			t.Errorf("claimed are %.200v", claims)
		}
	})
}

func TestContainersThatDoNotFitDeadlines(t *testing.T) {
	for definition, want := range map[string]string{
		strings.Replace(byID, `"state"`, `"deadlines"`, 1):                             "the partition key is /id: it must be /shard",
		strings.Replace(byShard, `"partitionKey"`, `"defaultTtl":1,"partitionKey"`, 1): "deadlines would disappear",
		strings.Replace(byShard, `{"path":"/ready/?"}`, "", 1):                         "it has no index on /ready",
		strings.Replace(byShard, `"deadlines"`, `"others"`, 1):                         cosmos.ErrNoContainer.Error(),
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDeadlines(t, newServer(t, definition), nil)
			err := d.Arm(t.Context(), deadline.Deadline{Key: "k", Due: time.Now()})
			_, _, claimErr := d.Claim(t.Context(), time.Now(), lease, 1)
			for _, err := range []error{err, claimErr} {
				if err == nil || !strings.Contains(err.Error(), want) || cosmos.Retryable(err) {
					t.Errorf("error is %v, want %s", err, want)
				}
			}
		})
	}
}

// TestAnIdentityThatMayOnlyUseData: it can neither make nor see a container.
func TestDeadlinesWithAnIdentityThatMayOnlyUseData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		server.Tokens = map[string]cosmostest.Role{"token": cosmostest.DataContributor}
		account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Credential: staticToken("token"), Transport: server})
		if err != nil {
			t.Fatal(err)
		}
		defer account.Close()
		d := cosmos.NewDeadlines(account, "bot", "deadlines", nil)
		arm(t, d, "k", time.Now())
		if claims, _ := claim(t, d, 10); len(claims) != 1 {
			t.Errorf("claimed are %v", claims)
		}
	})
}

// TestOnePartitionThatFails does not keep the others from being claimed.
func TestOnePartitionThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		d := newDeadlines(t, server, nil)
		for i := range 50 {
			arm(t, d, fmt.Sprint(i), time.Now())
		}
		failing := `["3"]`
		server.Fault = func(r cosmostest.Request) (f cosmostest.Fault) {
			if r.PartitionKey == failing {
				f.Status = http.StatusServiceUnavailable
			}
			return f
		}
		claims, next := claim(t, d, 100)
		if wait := time.Until(next); len(claims) < 30 || len(claims) == 50 || wait < 3*time.Second || wait > 5*time.Second {
			t.Errorf("%d are claimed, and next is in %v", len(claims), wait)
		}
		time.Sleep(5 * time.Second)
		if _, _, err := d.Claim(t.Context(), time.Now(), lease, 100); !cosmos.Retryable(err) {
			t.Errorf("then the error is %v", err)
		}
		failing = ""
		time.Sleep(5 * time.Second)
		rest, _ := claim(t, d, 100)
		if len(claims)+len(rest) != 50 {
			t.Errorf("%d and %d are claimed", len(claims), len(rest))
		}
	})
}

// TestAnItemThatCannotBeRead does not keep others from being claimed.
// TestAPartitionThatHangsHoldsUpNoOther for longer than a second.
func TestAPartitionThatHangsHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		d := newDeadlines(t, server, nil)
		for i := range 50 {
			arm(t, d, fmt.Sprint(i), time.Now())
		}
		server.Fault = func(r cosmostest.Request) cosmostest.Fault { return cosmostest.Fault{Hang: r.PartitionKey == `["3"]`} }
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		claims, _, err := d.Claim(ctx, time.Now(), lease, 100)
		if took := time.Since(begin); len(claims) < 30 || err != nil || took > 2*time.Second {
			t.Errorf("%d are claimed after %v: %v", len(claims), took, err)
		}
		begin = time.Now()
		arm(t, d, "soon", begin.Add(time.Second)) // in another partition
		time.Sleep(time.Second)
		if claims, _, err := d.Claim(ctx, time.Now(), lease, 100); len(claims) != 1 || err != nil || time.Since(begin) > time.Second {
			t.Errorf("%d are claimed after %v: %v", len(claims), time.Since(begin), err)
		}
	})
}

// TestTheSameTwiceIsNotAnother: a change whose answer was lost is recognised, and
// is not taken for another one of the same claim.
func TestTheSameTwiceIsNotAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		d := newDeadlines(t, server, nil)
		arm(t, d, "k", time.Now())
		claims, _ := claim(t, d, 1)
		server.Fault = func(r cosmostest.Request) (f cosmostest.Fault) {
			if r.Op == cosmostest.ReplaceItem {
				f = cosmostest.Fault{Hang: true, Committed: true}
			}
			return f
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Settle(ctx, claims[0], move(time.Now().Add(time.Hour), 0)); err == nil {
			t.Error("there was an answer")
		}
		server.Fault = nil
		if err := d.Settle(t.Context(), claims[0], move(time.Now().Add(time.Minute), 0)); !errors.Is(err, deadline.ErrLost) {
			t.Errorf("another move: %v", err)
		}
	})
}

func TestAnItemThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		d := newDeadlines(t, server, nil)
		var key string // of the same partition
		for i := 0; key == ""; i++ {
			if sum := sha256.Sum256([]byte(fmt.Sprint(i))); sum[0]%8 == 3 {
				key = fmt.Sprint(i)
			}
		}
		putDeadline(t, server, "3", `{"id":"x","shard":"3","ready":1,"key":7}`)
		arm(t, d, key, time.Now())
		claims, _ := claim(t, d, 10)
		if len(claims) != 1 {
			t.Fatalf("claimed are %v", claims)
		}
		if err := d.Settle(t.Context(), claims[0], remove); err != nil {
			t.Error(err)
		}
		if e := entryOf(t, d, ""); !strings.Contains(e.Parked, "corrupt") {
			t.Errorf("it is listed as %+v", e)
		}
	})
}

var deadlineFaults = map[string]cosmostest.Fault{
	"429":                       {Status: 429, RetryAfter: 100 * time.Millisecond},
	"449":                       {Status: 449},
	"503":                       {Status: 503},
	"503 after it was done":     {Status: 503, Committed: true},
	"500":                       {Status: 500},
	"408 after it was done":     {Status: 408, Committed: true},
	"a reset":                   {Reset: true},
	"a reset after it was done": {Reset: true, Committed: true},
	"hanging":                   {Hang: true},
	"hanging after it was done": {Hang: true, Committed: true},
}

// TestNoFaultLosesOrDoublesADeadline has the first requests of a call fail, a
// few of them or all. A call that has failed is made again when all is well.
func TestNoFaultLosesOrDoublesADeadline(t *testing.T) {
	ops := []struct {
		name string
		call func(ctx context.Context, d deadline.Store, c deadline.Claim) error
		want func(t *testing.T, other deadline.Store, c deadline.Claim)
	}{
		{"arm", func(ctx context.Context, d deadline.Store, c deadline.Claim) error {
			return d.Arm(ctx, deadline.Deadline{Key: "k", Due: c.Due.Add(time.Hour)})
		}, func(t *testing.T, other deadline.Store, c deadline.Claim) {
			if e := entryOf(t, other, "k"); !e.Due.Equal(c.Due.Add(time.Hour)) || !e.Leased.IsZero() {
				t.Errorf("it is %+v", e)
			}
		}},
		{"renew", func(ctx context.Context, d deadline.Store, c deadline.Claim) error {
			return d.Settle(ctx, c, hold(c.Due.Add(time.Hour).Add(lease)))
		}, func(t *testing.T, other deadline.Store, c deadline.Claim) {
			if e := entryOf(t, other, "k"); !e.Leased.Equal(c.Due.Add(time.Hour + lease)) {
				t.Errorf("it is %+v", e)
			}
		}},
		{"finish", func(ctx context.Context, d deadline.Store, c deadline.Claim) error { return d.Settle(ctx, c, remove) },
			func(t *testing.T, other deadline.Store, c deadline.Claim) {
				if e := entryOf(t, other, "k"); e.Key != "" {
					t.Errorf("it is %+v", e)
				}
			}},
		{"move", func(ctx context.Context, d deadline.Store, c deadline.Claim) error {
			return d.Settle(ctx, c, move(c.Due.Add(time.Hour), 3))
		}, func(t *testing.T, other deadline.Store, c deadline.Claim) {
			if e := entryOf(t, other, "k"); !e.Due.Equal(c.Due.Add(time.Hour)) || e.Attempts != 3 || !e.Leased.IsZero() {
				t.Errorf("it is %+v", e)
			}
		}},
		{"park", func(ctx context.Context, d deadline.Store, c deadline.Claim) error {
			return d.Settle(ctx, c, park("x"))
		},
			func(t *testing.T, other deadline.Store, c deadline.Claim) {
				if e := entryOf(t, other, "k"); e.Parked != "x" || !e.Leased.IsZero() {
					t.Errorf("it is %+v", e)
				}
			}},
	}
	for _, op := range ops {
		for kind, fault := range deadlineFaults {
			for _, times := range []int{1, 3, 1000} {
				t.Run(fmt.Sprintf("%s, %s, %d times", op.name, kind, times), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						server := newServer(t, byShard)
						d := newDeadlines(t, server, nil)
						arm(t, d, "k", time.Now().Truncate(time.Millisecond))
						claims, _ := claim(t, d, 1)
						c := claims[0]
						server.Fault = firstOnes(times, fault)
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						defer cancel()
						err := op.call(ctx, d, c)
						server.Fault = nil
						switch {
						case errors.Is(err, deadline.ErrLost):
							t.Errorf("its own change has lost the claim: %v", err)
						case err != nil && times < 5:
							t.Errorf("it was given up: %v", err)
						case err != nil && !cosmos.Retryable(err) && !errors.Is(err, context.DeadlineExceeded):
							t.Errorf("the error is not said to be retryable: %v", err)
						case err == nil && times > 5:
							t.Error("there is no error")
						}
						if err != nil {
							if err := op.call(t.Context(), d, c); err != nil {
								t.Errorf("when it is made again: %v", err)
							}
						}
						op.want(t, newDeadlines(t, server, nil), c)
					})
				})
			}
		}
	}
}

// firstOnes spoils a number of requests.
func firstOnes(times int, fault cosmostest.Fault) func(cosmostest.Request) cosmostest.Fault {
	var mu sync.Mutex
	return func(cosmostest.Request) cosmostest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if times--; times < 0 {
			return cosmostest.Fault{}
		}
		return fault
	}
}

// TestNoFaultClaimsADeadlineTwice spoils the requests of a Claim, from each one
// on. Whoever asks again and again claims each deadline once, until its lease
// has ended.
func TestNoFaultClaimsADeadlineTwice(t *testing.T) {
	for kind, fault := range deadlineFaults {
		for _, times := range []int{1, 3, 1000} {
			for _, at := range []int{0, 5, 8, 9, 10} { // the first is a query, the ninth a claim
				t.Run(fmt.Sprintf("%s, %d times from request %d", kind, times, at), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						server := newServer(t, byShard)
						d, other := newDeadlines(t, server, nil), newDeadlines(t, server, nil).AskAlways()
						for i := range 3 {
							arm(t, d, fmt.Sprint(i), time.Now())
						}
						claim(t, other, 0) // so that it is connected
						seen := make(map[string]time.Time)
						see := func(claims []deadline.Claim, now time.Time) {
							for _, c := range claims {
								if was, ok := seen[c.Key]; ok && now.Sub(was) < lease {
									t.Errorf("%s was claimed, and %v later again", c.Key, now.Sub(was))
								}
								seen[c.Key] = now
							}
						}
						spoil := firstOnes(times, fault)
						n := 0
						var mu sync.Mutex
						server.Fault = func(r cosmostest.Request) cosmostest.Fault {
							mu.Lock()
							n++
							skip := n <= at
							mu.Unlock()
							if skip {
								return cosmostest.Fault{}
							}
							return spoil(r)
						}
						now := time.Now()
						claims, _, err := d.Claim(t.Context(), now, lease, 10)
						if err != nil && (times == 1 || !cosmos.Retryable(err)) {
							t.Errorf("it was given up: %v", err)
						}
						if took := time.Since(now); took > lease/2 {
							t.Errorf("it took %v", took)
						}
						see(claims, now)
						if times == 1 { // a partition that has failed is asked again soon
							time.Sleep(6 * time.Second)
							more, _ := claim(t, d, 10)
							see(more, time.Now())
							if len(seen) != 3 {
								t.Errorf("%d were claimed", len(seen))
							}
						}
						server.Fault = nil
						for begin := time.Now(); time.Since(begin) < lease+10*time.Second; time.Sleep(lease / 3) {
							for _, d := range []deadline.Store{other, d} {
								claims, _ := claim(t, d, 10)
								see(claims, time.Now())
							}
						}
						if len(seen) != 3 {
							t.Errorf("claimed were %v", seen)
						}
					})
				})
			}
		}
	}
}

// TestAFaultAnywhereInTheLifeOfADeadline fails one request, whichever it is.
func TestAFaultAnywhereInTheLifeOfADeadline(t *testing.T) {
	const lease = 10 * time.Minute
	for kind, fault := range deadlineFaults {
		for at := 1; at <= 40; at++ {
			t.Run(fmt.Sprintf("%s at request %d", kind, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server := newServer(t, byShard)
					var mu sync.Mutex
					n := 0
					server.Fault = func(cosmostest.Request) cosmostest.Fault {
						mu.Lock()
						defer mu.Unlock()
						if n++; n == at {
							return fault
						}
						return cosmostest.Fault{}
					}
					d := newDeadlines(t, server, nil)
					take := func() deadline.Claim {
						t.Helper()
						time.Sleep(time.Millisecond) // to which times are rounded up
						claims, _, err := d.Claim(t.Context(), time.Now(), lease, 10)
						if len(claims) == 0 { // a partition that has failed is asked again soon
							time.Sleep(6 * time.Second)
							claims, _, err = d.Claim(t.Context(), time.Now(), lease, 10)
						}
						if err != nil || len(claims) != 1 {
							t.Fatalf("claimed are %v: %v", claims, err)
						}
						if again, _, err := d.Claim(t.Context(), time.Now(), lease, 10); err != nil || len(again) != 0 {
							t.Fatalf("claimed again are %v: %v", again, err)
						}
						return claims[0]
					}
					must := func(err error) {
						t.Helper()
						if err != nil {
							t.Fatal(err)
						}
					}
					arm(t, d, "k", time.Now())
					c := take()
					must(d.Settle(t.Context(), c, hold(time.Now().Add(lease))))
					must(d.Settle(t.Context(), c, move(time.Now(), 1)))
					c = take()
					must(d.Settle(t.Context(), c, park("x")))
					arm(t, d, "k", time.Now())
					c = take()
					arm(t, d, "k", time.Now())
					if err := d.Settle(t.Context(), c, remove); !errors.Is(err, deadline.ErrLost) {
						t.Errorf("a claim of what was armed anew is finished: %v", err)
					}
					must(d.Settle(t.Context(), take(), remove))
					if e := entryOf(t, d, "k"); e.Key != "" {
						t.Errorf("there is still %+v", e)
					}
				})
			})
		}
	}
}

func TestEveryCallOfDeadlinesObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		d := newDeadlines(t, server, nil).AskAlways()
		arm(t, d, "k", time.Now())
		claims, _ := claim(t, d, 1)
		for name, fault := range map[string]cosmostest.Fault{"hanging": {Hang: true}, "throttled": {Status: 429, RetryAfter: time.Second}, "down": {Reset: true}} {
			server.Fault = func(cosmostest.Request) cosmostest.Fault { return fault }
			for call, do := range map[string]func(context.Context) error{
				"arm": func(ctx context.Context) error {
					return d.Arm(ctx, deadline.Deadline{Key: "x", Due: time.Now()})
				},
				"claim": func(ctx context.Context) error {
					_, _, err := d.Claim(ctx, time.Now(), lease, 1)
					return err
				},
				"renew":  func(ctx context.Context) error { return d.Settle(ctx, claims[0], hold(time.Now().Add(lease))) },
				"finish": func(ctx context.Context) error { return d.Settle(ctx, claims[0], remove) },
				"move":   func(ctx context.Context) error { return d.Settle(ctx, claims[0], move(time.Now(), 1)) },
				"park":   func(ctx context.Context) error { return d.Settle(ctx, claims[0], park("x")) },
				"list": func(ctx context.Context) (err error) {
					for _, err = range d.All(ctx) {
					}
					return err
				},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
				begin := time.Now()
				err := do(ctx)
				cancel()
				if took := time.Since(begin); err == nil || took > 700*time.Millisecond {
					t.Errorf("%s, %s: after %v: %v", name, call, took, err)
				}
			}
		}
	})
}

// TestALostChangeOfAClaim: what was changed and then taken by another one is
// lost, whatever became of the answer.
func TestALostChangeOfAClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byShard)
		a, b := newDeadlines(t, server, nil), newDeadlines(t, server, nil).AskAlways()
		arm(t, a, "k", time.Now())
		claims, _ := claim(t, a, 1)
		time.Sleep(lease)
		claim(t, b, 1)
		for name, err := range map[string]error{
			"renew": a.Settle(t.Context(), claims[0], hold(time.Now().Add(lease))), "finish": a.Settle(t.Context(), claims[0], remove),
			"move": a.Settle(t.Context(), claims[0], move(time.Now(), 0)), "park": a.Settle(t.Context(), claims[0], park("x")),
		} {
			if want := fmt.Sprintf("cosmos: settle %q: claim lost", "k"); !errors.Is(err, deadline.ErrLost) || err.Error() != want {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
	})
}
