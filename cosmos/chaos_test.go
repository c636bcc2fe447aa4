package cosmos_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/state"
)

var chaos = flag.Duration("chaos", 0, "how long each case of TestI1Chaos takes; 0 for 200 turns on a clock that does not wait")

// TestI1Chaos has replicas count and list turns of the same conversations, and of
// the same three users, while answers are lost. It is the test of I3 too: no turn
// is refused because others were first.
func TestI1Chaos(t *testing.T) {
	for _, replicas := range []int{2, 4} {
		for _, lost := range []float64{0, 0.01, 0.05} {
			t.Run(fmt.Sprintf("%d replicas, %v %% of answers lost", replicas, 100*lost), func(t *testing.T) {
				if *chaos == 0 {
					synctest.Test(t, func(t *testing.T) {
						runChaos(t, replicas, lost, 10, func(turns int) bool { return turns < 200 })
					})
					return
				}
				end := time.Now().Add(*chaos)
				runChaos(t, replicas, lost, 40, func(int) bool { return time.Now().Before(end) })
			})
		}
	}
}

// loses spoils a part of all requests after they are carried out, and half as
// many before.
func loses(lost float64) func(cosmostest.Request) cosmostest.Fault {
	kinds := []cosmostest.Fault{{Reset: true}, {Status: 503}, {Status: 408}}
	return func(cosmostest.Request) (f cosmostest.Fault) {
		if p := rand.Float64(); p < 1.5*lost {
			f = kinds[rand.N(len(kinds))]
			f.Committed = p < lost
		}
		f.Delay = rand.N(2 * time.Millisecond)
		return f
	}
}

// runChaos has turns in a number of conversations at once, where each replica
// has one turn after the other, for as long as more returns true for their number.
func runChaos(t *testing.T, replicas int, lost float64, atOnce int, more func(turns int) bool) {
	const (
		turns = 10 // of a replica, before the next conversation
		group = 10 // conversations have the same users
		users = 3
	)
	server := newServer(t, byID)
	server.Fault = loses(lost)

	var mu sync.Mutex
	all, refused := 0, 0
	saved := make(map[string][]string) // names of turns, by key
	doubt := make(map[string]bool)     // keys of which a turn was refused
	count := func(ctx context.Context, l *tally, name string) error {
		key, err := l.Key(ctx)
		if err := errors.Join(err, l.turn(ctx, name)); err != nil {
			mu.Lock()
			defer mu.Unlock()
			doubt[key] = true
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		saved[key] = append(saved[key], name)
		return nil
	}
	turn := func(conversation, user *tally, ids state.IDs, name string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ctx = state.NewContext(ctx, ids)
		if err := errors.Join(count(ctx, conversation, name), count(ctx, user, name)); err != nil {
			return err
		}
		if rand.N(5) == 0 { // once more in the same turn
			return errors.Join(count(ctx, conversation, name+" again"), count(ctx, user, name+" again"))
		}
		return nil
	}

	var bots [][2]*tally
	for range replicas {
		storage := newStorage(t, server)
		bots = append(bots, [2]*tally{newTally(state.NewConversation(storage)), newTally(state.NewUser(storage))})
	}
	goOn := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return more(all)
	}
	var conversations sync.WaitGroup
	for lane := range atOnce {
		conversations.Go(func() {
			for round := 0; goOn(); round++ {
				var running sync.WaitGroup
				for i, bot := range bots {
					running.Go(func() {
						for n := range turns {
							ids := state.IDs{Channel: "test", Conversation: fmt.Sprint(round, ".", lane), User: fmt.Sprint(round, ".", lane/group, ".", rand.N(users))}
							err := turn(bot[0], bot[1], ids, fmt.Sprint(lane, ".", i, ".", n))
							mu.Lock()
							if all++; err != nil {
								refused++
								t.Logf("refused: %v", err)
							}
							mu.Unlock()
						}
					})
				}
				running.Wait()
				server.ForgetRequests()
			}
		})
	}
	conversations.Wait()

	server.Fault = nil
	storage := newStorage(t, server)
	for key, names := range saved {
		if !doubt[key] {
			checkCounted(t, storage, key, names)
		}
	}
	t.Logf("%d turns, %d refused", all, refused)
	if refused*10000 > all {
		t.Errorf("of %d turns %d were refused", all, refused)
	}
}
