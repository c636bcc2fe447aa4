package deadline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
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
		run(b, file, file.Deadlines("bot"))
	})
	b.Run("cosmos", func(b *testing.B) {
		storage, store := openCosmos(b, cosmostest.New())
		run(b, storage, store)
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
				if err := store.Arm(b.Context(), deadline.Deadline{Key: fmt.Sprint("test/conversations/", i%10000), Due: due.Add(time.Duration(i))}); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// How many conversations expire in a second: claim, turn, commit, message?
func BenchmarkExpire(b *testing.B) {
	stores(b, func(b *testing.B, storage state.Storage, store deadline.Store) {
		long := time.Now().Add(-time.Hour)
		expireAll(b, storage, store, func(int) time.Time { return long })
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "expiries/s")
	})
}

// How late are users told of whom 1 000 fall due in a second? Run it with
// -benchtime 10000x, which takes 10 s for each store.
func BenchmarkLateness(b *testing.B) {
	stores(b, func(b *testing.B, storage state.Storage, store deadline.Store) {
		begin := time.Now().Add(time.Second + time.Duration(b.N)*500*time.Microsecond) // till all are armed
		late := expireAll(b, storage, store, func(i int) time.Time { return begin.Add(time.Duration(i) * time.Millisecond) })
		slices.Sort(late)
		for _, p := range []int{50, 99, 100} {
			b.ReportMetric(float64(late[(len(late)-1)*p/100].Microseconds())/1000, fmt.Sprint("ms-p", p))
		}
	})
}

// expireAll has b.N conversations expire, and returns how late they were told.
func expireAll(b *testing.B, storage state.Storage, store deadline.Store, due func(i int) time.Time) []time.Duration {
	told := &teller{due: due, late: make([]time.Duration, b.N), all: make(chan struct{})}
	told.left.Store(int64(b.N))
	conversation := state.NewConversation(storage)
	deadlines := deadline.New(store, conversation)
	adapter := bot.NewAdapter(told, middleware.AutoSave(conversation),
		middleware.Expire(conversation, time.Nanosecond, nil))
	failed := make(chan error, 64)
	for w := range cap(failed) {
		go func() {
			var err error
			for i := w; i < b.N && err == nil; i += cap(failed) {
				id := fmt.Sprint(i)
				key := "test/conversations/" + id
				data, _ := json.Marshal(schema.ConversationReference{ChannelID: "test", Conversation: schema.ConversationAccount{ID: id}, User: schema.ChannelAccount{ID: "u"}})
				_, err = storage.Write(context.Background(), map[string]state.Item{
					key: {Value: fmt.Appendf(nil, `{"lastAccessed":%q,"x":1}`, due(i).Format(time.RFC3339Nano))}})
				if err == nil {
					err = store.Arm(context.Background(), deadline.Deadline{Key: key, Due: due(i).Add(time.Microsecond), Data: data})
				}
			}
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	runner := deadline.NewRunner(deadlines, adapter, &deadline.Options{Message: deadline.Text("Goodbye."), MessagesPerSecond: -1})
	<-told.all
	b.StopTimer()
	runner.Close(context.Background())
	return told.late
}

// A teller is a channel that measures how late it is sent to.
type teller struct {
	core.Adapter
	due  func(i int) time.Time
	late []time.Duration
	left atomic.Int64
	all  chan struct{}
}

func (t *teller) SendActivity(_ context.Context, a schema.Activity) (id string, err error) {
	i, err := strconv.Atoi(a.Conversation.ID)
	if err != nil {
		return "", err
	}
	t.late[i] = time.Since(t.due(i))
	if t.left.Add(-1) == 0 {
		close(t.all)
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
				id := fmt.Sprintf("a:1%08d5HIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01234567", i)
				data, _ := json.Marshal(teams(id, i))
				store.Arm(b.Context(), deadline.Deadline{Key: "msteams/conversations/" + id, Due: due.Add(time.Duration(i)), Data: data})
			}
			size := float64(heapSize()-before) / float64(n)
			for b.Loop() {
				store.Arm(b.Context(), deadline.Deadline{Key: "x", Due: time.Unix(0, 0)})
				claims, _, err := store.Claim(b.Context(), time.Now(), time.Minute, 10)
				if err != nil || len(claims) != 1 {
					b.Fatal(claims, err)
				}
				if err := store.Settle(b.Context(), claims[0], deadline.Outcome{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(size, "B/deadline")
			runtime.KeepAlive(store)
		})
	}
}

// teams returns a reference to a personal conversation of Teams.
func teams(id string, i int) schema.ConversationReference {
	const tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	return schema.ConversationReference{
		ChannelID: "msteams", ServiceURL: "https://smba.trafficmanager.net/emea/" + tenant + "/",
		Conversation: schema.ConversationAccount{ID: id, ConversationType: "personal", TenantID: tenant},
		User:         schema.ChannelAccount{ID: fmt.Sprintf("29:1%08dXYZ0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklm", i), Name: "Ada Lovelace", AadObjectID: fmt.Sprintf("%08d-86f1-41af-91ab-2d7cd011db47", i)},
		Bot:          schema.ChannelAccount{ID: "28:c9e8c047-2a34-40a1-b28a-b162d5f5327c", Name: "bot"},
	}
}

func heapSize() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
