package middleware_test

import (
	"context"
	"fmt"
	"log/slog"
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
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

func stores(b *testing.B, run func(b *testing.B, storage state.Storage, store deadline.Store)) {
	b.Run("memory", func(b *testing.B) { run(b, state.NewMemory(), deadline.NewMemory()) })
	b.Run("bolt", func(b *testing.B) {
		file := openBolt(b, filepath.Join(b.TempDir(), "state.db"))
		run(b, file, file.Deadlines("bot"))
	})
	b.Run("cosmos", func(b *testing.B) {
		storage, queue := openCosmos(b, cosmostest.New())
		run(b, storage, queue(""))
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
	rules, err := policy.New(policy.Rule{Name: "idle", After: time.Nanosecond, Do: policy.Action{End: true, Say: farewell}})
	if err != nil {
		b.Fatal(err)
	}
	sessions := middleware.NewSessions(conversation, rules, &middleware.SessionsOptions{Deadlines: store, MessagesPerSecond: -1})
	adapter := bot.NewAdapter(told, middleware.AutoSave(conversation), sessions.Middleware)
	adapter.Logger = slog.New(slog.DiscardHandler)
	failed := make(chan error, 64)
	for w := range cap(failed) {
		go func() {
			var err error
			for i := w; i < b.N && err == nil; i += cap(failed) {
				id := fmt.Sprint(i)
				key := "test/conversations/" + id
				data := fmt.Appendf(nil, `{"reference":{"channelId":"test","conversation":{"id":%q},"user":{"id":"u"}}}`, id)
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
	sessions.Start(adapter)
	<-told.all
	b.StopTimer()
	sessions.Close(context.Background())
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

// How much memory does an armed conversation of Teams take, beside its state, and
// does the cost of a claim depend on how many are armed and not due?
func BenchmarkArmedAndNotDue(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := heapSize()
			store := deadline.NewMemory()
			conversation := state.NewConversation(forgetful{})
			sessions := middleware.NewSessions(conversation, policy.Idle(time.Hour), &middleware.SessionsOptions{Deadlines: store})
			adapter := bot.NewAdapter(&base{}, middleware.AutoSave(conversation), sessions.Middleware)
			adapter.Logger = slog.New(slog.DiscardHandler)
			for i := range n {
				if err := adapter.Process(b.Context(), teams(i), silent); err != nil {
					b.Fatal(err)
				}
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

// A forgetful storage is empty, whatever is written.
type forgetful struct{}

func (forgetful) Read(context.Context, []string) (map[string]state.Item, error) { return nil, nil }

func (forgetful) Write(_ context.Context, items map[string]state.Item) (map[string]string, error) {
	etags := make(map[string]string)
	for key := range items {
		etags[key] = "1"
	}
	return etags, nil
}

func (forgetful) Delete(context.Context, []string) error { return nil }

// teams returns a message in a personal conversation of Teams.
func teams(i int) schema.Activity {
	const tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	return schema.Activity{
		Type: schema.Message, Text: "hi", ChannelID: "msteams", ServiceURL: "https://smba.trafficmanager.net/emea/" + tenant + "/",
		Conversation: schema.ConversationAccount{ConversationType: "personal", TenantID: tenant,
			ID: fmt.Sprintf("a:1%08d5HIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01234567", i)},
		From:      schema.ChannelAccount{ID: fmt.Sprintf("29:1%08dXYZ0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklm", i), Name: "Ada Lovelace", AadObjectID: fmt.Sprintf("%08d-86f1-41af-91ab-2d7cd011db47", i)},
		Recipient: schema.ChannelAccount{ID: "28:c9e8c047-2a34-40a1-b28a-b162d5f5327c", Name: "bot"},
	}
}

func heapSize() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
