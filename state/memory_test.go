package state_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

func TestMemory(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Storage { return state.NewMemory() })
}

func BenchmarkMemory(b *testing.B) {
	statetest.Benchmark(b, func(b *testing.B) state.Storage { return state.NewMemory() })
}

// BenchmarkMemoryIdle answers what a stored item costs beside its value, in
// bytes with the key: the size of an idle conversation.
func BenchmarkMemoryIdle(b *testing.B) {
	value := []byte(`{"n":1}`)
	for _, ttl := range []time.Duration{0, time.Hour} {
		b.Run(fmt.Sprintf("TTL=%v", ttl), func(b *testing.B) {
			m := state.NewMemory()
			before := heap()
			n := 0
			for ; b.Loop(); n++ {
				key := fmt.Sprintf("msteams/conversations/19:meeting_%08d@thread.tacv2", n)
				if _, err := m.Write(b.Context(), map[string]state.Item{key: {Value: value, TTL: ttl}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(heap()-before)/float64(n), "B/item")
			runtime.KeepAlive(m)
		})
	}
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func write(t *testing.T, m *state.Memory, key string, item state.Item) {
	t.Helper()
	if _, err := m.Write(t.Context(), map[string]state.Item{key: item}); err != nil {
		t.Fatal(err)
	}
}

func wantLen(t *testing.T, m *state.Memory, items, expiring int) {
	t.Helper()
	if i, e := m.Len(); i != items || e != expiring {
		t.Fatalf("the Memory holds %d items of which %d expire, want %d and %d", i, e, items, expiring)
	}
}

func TestMemoryKeepsBytes(t *testing.T) {
	m := state.NewMemory()
	for _, value := range []string{` { "a" : 1.0 , "a":2 }` + "\n", `"\u0041\/"`, "not JSON \xff\x00", ""} {
		write(t, m, "key", state.Item{Value: []byte(value)})
		items, err := m.Read(t.Context(), []string{"key"})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(items["key"].Value); got != value {
			t.Errorf("value %q comes back as %q", value, got)
		}
	}
}

func TestMemoryRefusesWholeBatch(t *testing.T) {
	m := state.NewMemory()
	batch := make(map[string]state.Item)
	for i := range 100 {
		batch[fmt.Sprint(i)] = state.Item{Value: []byte("1")}
	}
	for _, tt := range []struct {
		key  string
		item state.Item
		want error
	}{
		{"refused", state.Item{ETag: "1"}, state.ErrConflict},
		{"refused", state.Item{TTL: -1}, state.ErrInvalid},
		{"", state.Item{}, state.ErrInvalid},
	} {
		batch[tt.key] = tt.item
		etags, err := m.Write(t.Context(), batch)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.key) {
			t.Errorf("Write with %+v under %q: error %v, want one that wraps %q and names the key", tt.item, tt.key, err, tt.want)
		}
		if len(etags) > 0 {
			t.Errorf("Write with %+v under %q returns eTags %v", tt.item, tt.key, etags)
		}
		wantLen(t, m, 0, 0)
		delete(batch, tt.key)
	}
}

func TestMemoryKeepsItemsWithoutTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := state.NewMemory()
		write(t, m, "key", state.Item{Value: []byte("1")})
		time.Sleep(200 * 365 * 24 * time.Hour)
		if items, err := m.Read(t.Context(), []string{"key"}); err != nil || len(items) != 1 {
			t.Errorf("after 200 years Read returns %v, %v", items, err)
		}
	})
}

func TestMemoryFreesExpired(t *testing.T) {
	fill := func(t *testing.T, n int) *state.Memory {
		m := state.NewMemory()
		for i := range n {
			write(t, m, fmt.Sprint(i), state.Item{TTL: time.Minute - time.Duration(n-i)})
		}
		write(t, m, "stays", state.Item{})
		wantLen(t, m, n+1, n)
		time.Sleep(time.Minute)
		wantLen(t, m, n+1, n) // nobody called
		return m
	}
	freeAll := func(t *testing.T, m *state.Memory) {
		t.Helper()
		if _, err := m.Read(t.Context(), slices.Repeat([]string{"unknown"}, 1000)); err != nil {
			t.Fatal(err)
		}
	}

	for name, call := range map[string]func(t *testing.T, m *state.Memory, key string) error{
		"Read": func(t *testing.T, m *state.Memory, key string) error {
			_, err := m.Read(t.Context(), []string{key})
			return err
		},
		"Write": func(t *testing.T, m *state.Memory, key string) error {
			_, err := m.Write(t.Context(), map[string]state.Item{key: {}})
			return err
		},
		"Delete": func(t *testing.T, m *state.Memory, key string) error {
			return m.Delete(t.Context(), []string{key})
		},
	} {
		t.Run("by "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const perCall = 17 // for one key
				m := fill(t, 10*perCall)
				for left := 9; left >= 0; left-- {
					if err := call(t, m, "stays"); err != nil {
						t.Fatal(err)
					}
					if _, expiring := m.Len(); expiring != left*perCall {
						t.Fatalf("%d expired items are left, want %d", expiring, left*perCall)
					}
				}
			})
		})
	}

	t.Run("a large call frees as many as it names", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := fill(t, 1000)
			freeAll(t, m)
			wantLen(t, m, 1, 0)
		})
	})

	t.Run("writers cannot outrun it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := state.NewMemory()
			for i := range 1000 {
				write(t, m, fmt.Sprint(i), state.Item{TTL: 10 * time.Second})
				if items, _ := m.Len(); items > 10 {
					t.Fatalf("%d items are held, of which only 10 are alive", items)
				}
				time.Sleep(time.Second)
			}
		})
	})

	t.Run("what waits to be freed is gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := fill(t, 1000)
			const key = "999" // the last to be freed
			if items, err := m.Read(t.Context(), []string{key}); err != nil || len(items) > 0 {
				t.Errorf("Read returns %v, %v", items, err)
			}
			_, err := m.Write(t.Context(), map[string]state.Item{key: {ETag: "1000"}})
			if !errors.Is(err, state.ErrConflict) {
				t.Errorf("Write with the tag it had: error %v, want one that wraps state.ErrConflict", err)
			}
			write(t, m, key, state.Item{ETag: state.ETagNone})
			freeAll(t, m)
			wantLen(t, m, 2, 0) // key and "stays"
		})
	})

	t.Run("rewrites do not pile up", func(t *testing.T) {
		m := state.NewMemory()
		for i := range 1000 {
			write(t, m, "key", state.Item{TTL: time.Duration(1000+i*i%77) * time.Hour})
			wantLen(t, m, 1, 1)
		}
		write(t, m, "key", state.Item{})
		wantLen(t, m, 1, 0)
		write(t, m, "key", state.Item{TTL: time.Hour})
		wantLen(t, m, 1, 1)
		if err := m.Delete(t.Context(), []string{"key"}); err != nil {
			t.Fatal(err)
		}
		wantLen(t, m, 0, 0)
	})
}

// TestMemoryModel compares a Memory with a table of expiry times through a
// long run of random calls, so that every way of moving an item in the queue
// is met.
func TestMemoryModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const never = 1 << 62
		var (
			random  = rand.New(rand.NewPCG(1, 2))
			m       = state.NewMemory()
			start   = time.Now()
			expires = make(map[string]time.Duration) // since start
			keys    []string
		)
		for i := range 50 {
			keys = append(keys, fmt.Sprint(i))
		}
		for range 20_000 {
			key := keys[random.IntN(len(keys))]
			now := time.Since(start)
			switch random.IntN(8) {
			case 0:
				write(t, m, key, state.Item{})
				expires[key] = never
			case 1, 2, 3:
				ttl := time.Duration(1 + random.IntN(100))
				write(t, m, key, state.Item{TTL: ttl})
				expires[key] = now + ttl
			case 4:
				if err := m.Delete(t.Context(), []string{key}); err != nil {
					t.Fatal(err)
				}
				delete(expires, key)
			case 5, 6:
				time.Sleep(time.Duration(random.IntN(10)))
			case 7:
				items, err := m.Read(t.Context(), keys) // frees all that has expired
				if err != nil {
					t.Fatal(err)
				}
				alive, expiring := 0, 0
				for _, key := range keys {
					_, got := items[key]
					if want := expires[key] > now; got != want {
						t.Fatalf("at %d key %q with expiry %d is there: %t", now, key, expires[key], got)
					} else if want {
						alive++
					}
					if expires[key] > now && expires[key] != never {
						expiring++
					}
				}
				wantLen(t, m, alive, expiring)
			}
		}
	})
}

func ExampleMemory() {
	ctx := context.Background()
	storage := state.NewMemory()

	etags, err := storage.Write(ctx, map[string]state.Item{"greeting": {Value: []byte(`"hello"`)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Two turns read the same document; the second to write it is refused.
	for _, text := range []string{`"good morning"`, `"good evening"`} {
		_, err := storage.Write(ctx, map[string]state.Item{
			"greeting": {Value: []byte(text), ETag: etags["greeting"]},
		})
		fmt.Println(text, err)
	}
	// Output:
	// "good morning" <nil>
	// "good evening" state: write "greeting": eTag conflict
}
