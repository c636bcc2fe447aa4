package middleware_test

import (
	"context"
	"log/slog"
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// TestWhatATurnOfExpireStores holds Expire alone to the documents and to the calls
// of the storage that it had from the beginning: as in Microsoft's samples, lastAccessed
// and nothing else of ours, but for a session that is over and what is left to be
// told of it.
func TestWhatATurnOfExpireStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := state.NewMemory()
		faults := &statetest.Faults{Storage: memory}
		conversation := state.NewConversation(faults)
		count := state.NewProperty[int](conversation, "count")
		adapter := bot.NewAdapter(&base{}, middleware.AutoSave(conversation), middleware.Expire(conversation, timeout, nil))
		adapter.Logger = slog.New(slog.DiscardHandler)
		mark := regexp.MustCompile(`"botlapse.cleared":"[A-Z2-7]{26}"`)
		var reads, writes int
		for _, turn := range []struct {
			after         time.Duration
			of            schema.ActivityTypes
			stored        string
			reads, writes int
		}{
			{0, schema.Message, `{"lastAccessed":"2000-01-01T00:00:00Z","count":1}`, 1, 1},
			{time.Minute + 1, schema.Message, `{"lastAccessed":"2000-01-01T00:01:00.0000001Z","count":2}`, 1, 1},
			{time.Minute, schema.Typing, `{"lastAccessed":"2000-01-01T00:01:00.0000001Z","count":2}`, 1, 0},
			{timeout, schema.Message, `{"lastAccessed":"2000-01-01T00:32:00.0000001Z","botlapse.cleared":"…","count":1}`, 1, 2},
			{timeout - 11*time.Second, schema.Message, `{"lastAccessed":"2000-01-01T01:01:49.0000001Z","botlapse.cleared":"…","count":2}`, 1, 1},
			{timeout - 10*time.Second + tick, schema.Message, `{"lastAccessed":"2000-01-01T01:31:39.0000002Z","botlapse.cleared":"…","count":3}`, 1, 2},
			{timeout + time.Second, schema.Typing, `{"lastAccessed":"2000-01-01T01:31:39.0000002Z","botlapse.cleared":"…","botlapse.session":{"ended":"2000-01-01T02:01:40.0000002Z","on_return":"Welcome back!  Let's start over from the beginning.","seq":1,"fired":{"idle":{"mark":"2000-01-01T01:31:39.0000002Z","times":1,"at":"2000-01-01T02:01:39.0000002Z"}}}}`, 1, 1},
			{timeout, schema.Message, `{"lastAccessed":"2000-01-01T02:31:40.0000002Z","botlapse.cleared":"…","count":1}`, 1, 1},
		} {
			time.Sleep(turn.after)
			a := message("hi")
			a.Type = turn.of
			if err := adapter.Process(t.Context(), a, func(ctx context.Context, turn *bot.Turn) error {
				if turn.Activity.Type != schema.Message {
					return nil
				}
				n, err := count.GetOr(ctx, 0)
				if err != nil {
					return err
				}
				return count.Set(ctx, n+1)
			}); err != nil {
				t.Fatal(err)
			}
			items, err := memory.Read(t.Context(), []string{"test/conversations/c1"})
			if err != nil {
				t.Fatal(err)
			}
			got := mark.ReplaceAllString(string(items["test/conversations/c1"].Value), `"botlapse.cleared":"…"`)
			if got != turn.stored {
				t.Errorf("%s after %v: stored is\n%s\nwant\n%s", turn.of, turn.after, got, turn.stored)
			}
			r, w := faults.Count(statetest.Read)-reads, faults.Count(statetest.Write)-writes
			if reads, writes = reads+r, writes+w; r != turn.reads || w != turn.writes {
				t.Errorf("%s after %v: %d reads and %d writes, want %d and %d", turn.of, turn.after, r, w, turn.reads, turn.writes)
			}
		}
	})
}

// deaf is a base that is not sent to.
type deaf struct{ core.Adapter }

// turnOfExpire returns a function that runs a turn of a bot that counts and says
// nothing.
func turnOfExpire(t testing.TB) func() {
	conversation := state.NewConversation(state.NewMemory())
	count := state.NewProperty[int](conversation, "count")
	adapter := bot.NewAdapter(deaf{}, middleware.AutoSave(conversation), middleware.Expire(conversation, timeout, nil))
	a, id := message("x"), 0
	return func() {
		id++
		a.ID = strconv.Itoa(id)
		if err := adapter.Process(context.Background(), a, func(ctx context.Context, turn *bot.Turn) error {
			n, err := count.GetOr(ctx, 0)
			if err != nil {
				return err
			}
			return count.Set(ctx, n+1)
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestATurnOfExpireAllocatesLittle: when its record was the time of the last user input
// and nothing else, it took 62 allocations, 46 of them without Expire.
func TestATurnOfExpireAllocatesLittle(t *testing.T) {
	if racing() {
		return // the race detector allocates too
	}
	if n := testing.AllocsPerRun(1000, turnOfExpire(t)); n > 72 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTurnOfExpire(b *testing.B) {
	turn := turnOfExpire(b)
	b.ReportAllocs()
	for b.Loop() {
		turn()
	}
}
