package deadline_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

func stores(b *testing.B, run func(b *testing.B, storage state.Storage, store deadline.Store)) {
	b.Run("memory", func(b *testing.B) { run(b, state.NewMemory(), deadline.NewMemory()) })
	b.Run("bolt", func(b *testing.B) {
		file, err := bolt.Open(filepath.Join(b.TempDir(), "state.db"))
		if err != nil {
			b.Fatal(err)
		}
		defer file.Close()
		store, err := deadline.NewBolt(file.DB())
		if err != nil {
			b.Fatal(err)
		}
		run(b, file, store)
	})
}

// How long does it take to arm a deadline, or to move it, with 64 callers?
func BenchmarkArm(b *testing.B) {
	stores(b, func(b *testing.B, _ state.Storage, store deadline.Store) {
		var n atomic.Int64
		due := time.Now().Add(time.Hour)
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := n.Add(1)
				if err := store.Arm(b.Context(), deadline.Deadline{Key: fmt.Sprint("test/conversations/", i%10000), Due: due.Add(time.Duration(i)), Reference: schema.ConversationReference{ChannelID: "test"}}); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// How many conversations expire in a second: claim, turn, commit, message?
func BenchmarkExpire(b *testing.B) {
	stores(b, func(b *testing.B, storage state.Storage, store deadline.Store) {
		told := &counter{want: int64(b.N), all: make(chan struct{})}
		conversation := state.NewConversation(storage)
		deadlines := deadline.New(store, conversation)
		bot := middleware.NewAdapter(told, middleware.AutoSave(conversation),
			middleware.Expire(conversation, time.Nanosecond, nil))
		long := time.Now().Add(-time.Hour)
		for first := 0; first < b.N; first += 1000 {
			items := make(map[string]state.Item)
			for i := first; i < min(first+1000, b.N); i++ {
				key := fmt.Sprint("test/conversations/", i)
				items[key] = state.Item{Value: fmt.Appendf(nil, `{"lastAccessed":%q,"x":1}`, long.Format(time.RFC3339))}
			}
			if _, err := storage.Write(b.Context(), items); err != nil {
				b.Fatal(err)
			}
		}
		armed := make(chan error, 64)
		for w := range 64 {
			go func() {
				var err error
				for i := w; i < b.N; i += 64 {
					ref := schema.ConversationReference{ChannelID: "test", Conversation: schema.ConversationAccount{ID: fmt.Sprint(i)}, User: schema.ChannelAccount{ID: "u"}}
					err = store.Arm(context.Background(), deadline.Deadline{Key: fmt.Sprint("test/conversations/", i), Due: long, Reference: ref})
				}
				armed <- err
			}()
		}
		for range 64 {
			if err := <-armed; err != nil {
				b.Fatal(err)
			}
		}
		b.ResetTimer()
		runner := deadline.NewRunner(deadlines, bot, &deadline.Options{Message: deadline.Text("Goodbye."), MessagesPerSecond: -1, Logger: slog.New(slog.DiscardHandler)})
		<-told.all
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "expiries/s")
		runner.Close(context.Background())
	})
}

type counter struct {
	core.Adapter
	n    atomic.Int64
	want int64
	all  chan struct{}
}

func (c *counter) SendActivity(context.Context, schema.Activity) (id string, err error) {
	if c.n.Add(1) == c.want {
		close(c.all)
	}
	return "", nil
}

// How much memory does an armed deadline take, and does the cost of a claim
// depend on how many are armed and not due?
func BenchmarkArmedAndNotDue(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := heapSize()
			store := deadline.NewMemory()
			due := time.Now().Add(time.Hour)
			for i := range n {
				id := fmt.Sprint("19:meeting_", i, "@thread.tacv2")
				store.Arm(b.Context(), deadline.Deadline{Key: "msteams/conversations/" + id, Due: due.Add(time.Duration(i)), Reference: schema.ConversationReference{ChannelID: "msteams", Conversation: schema.ConversationAccount{ID: id}}})
			}
			size := float64(heapSize()-before) / float64(n)
			for b.Loop() {
				store.Arm(b.Context(), deadline.Deadline{Key: "x", Due: time.Unix(0, 0)})
				claims, _, err := store.Claim(b.Context(), time.Time{}, time.Now(), time.Minute, 10)
				if err != nil || len(claims) != 1 {
					b.Fatal(claims, err)
				}
				if err := store.Finish(b.Context(), claims[0]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(size, "B/deadline")
			runtime.KeepAlive(store)
		})
	}
}

func heapSize() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
