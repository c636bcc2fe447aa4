package bot_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/state"
)

// What does a turn cost that goes through the whole chain, changes one
// property and sends one reply, with Memory and without network?
func BenchmarkTurn(b *testing.B) {
	c := newCounterOn(discard{}, state.NewMemory(), 30*time.Minute, nil)
	ctx, a := context.Background(), message("x")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := c.adapter.Process(ctx, withID(strconv.Itoa(i), a), c.handle); err != nil {
			b.Fatal(err)
		}
	}
}

// What does a turn cost that does nothing, by the number of conversations that
// turns arrive for at random?
func BenchmarkEmptyTurn(b *testing.B) {
	for _, conversations := range []int{1, 10_000} {
		b.Run(fmt.Sprint(conversations), func(b *testing.B) {
			adapter := bot.NewAdapter(&base{})
			ids := make([]string, conversations)
			for i := range ids {
				ids[i] = fmt.Sprint("conversation-", i)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					a := in(ids[i%len(ids)], message(""))
					a.ID = strconv.Itoa(i)
					if err := adapter.Process(context.Background(), a, silent); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// How much memory does a conversation take that nobody writes in, with Memory?
func BenchmarkIdleConversation(b *testing.B) {
	const conversations = 10_000
	for b.Loop() {
		memory := state.NewMemory()
		c := newCounterOn(discard{}, memory, 30*time.Minute, nil)
		before := heap()
		for i := range conversations {
			if err := c.adapter.Process(context.Background(), in(fmt.Sprint("conversation-", i), message("x")), c.handle); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/conversations, "B/conversation")
		runtime.KeepAlive(memory)
	}
}

// discard is a base that sends nothing.
type discard struct{ core.Adapter }

func (discard) SendActivity(context.Context, schema.Activity) (id string, err error) { return "", nil }

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
