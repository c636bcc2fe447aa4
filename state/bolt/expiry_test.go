package bolt_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

func TestTTLGoesOnWhileClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		s := open(t, path)
		etag := write(t, s, "key", state.Item{TTL: time.Hour})
		write(t, s, "ever", state.Item{})
		closeNow(t, s)
		time.Sleep(time.Hour - 1)

		s = open(t, path)
		if item, ok := read(t, s, "key"); !ok || item.ETag != etag {
			t.Error("the item is gone before its time")
		}
		closeNow(t, s)
		time.Sleep(time.Nanosecond)

		s = open(t, path)
		if _, ok := read(t, s, "key"); ok {
			t.Error("the item is there after its time")
		}
		_, err := s.Write(t.Context(), map[string]state.Item{"key": {ETag: etag}})
		if !errors.Is(err, state.ErrConflict) {
			t.Errorf("Write with the tag it had: error %v, want one that wraps state.ErrConflict", err)
		}
		time.Sleep(200 * 365 * 24 * time.Hour)
		if _, ok := read(t, s, "ever"); !ok {
			t.Error("an item without a TTL is gone")
		}
	})
}

func TestTTLOfCenturies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 1<<63 - 1 // until 2292, which UnixNano cannot tell
		s := open(t, newPath(t))
		write(t, s, "key", state.Item{TTL: ttl})
		time.Sleep(250 * 365 * 24 * time.Hour)
		if _, ok := read(t, s, "key"); !ok {
			t.Error("the item is gone before its time")
		}
		write(t, s, "key", state.Item{TTL: ttl})
		write(t, s, "other", state.Item{})
		if _, ok := read(t, s, "key"); !ok {
			t.Error("the item is gone at once")
		}
	})
}

func TestFreesExpired(t *testing.T) {
	const stay = 10
	staying := func(n int) string { return fmt.Sprint("stays ", n) }
	fill := func(t *testing.T, n int) *bolt.Storage {
		s := open(t, newPath(t))
		items := make(map[string]state.Item)
		for i := range n {
			items[fmt.Sprint(i)] = state.Item{TTL: time.Minute - time.Duration(n-i)}
		}
		for i := range stay {
			items[staying(i)] = state.Item{}
		}
		if _, err := s.Write(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		wantLen(t, s, n+stay, n)
		time.Sleep(time.Minute)
		wantLen(t, s, n+stay, n) // nobody called
		return s
	}

	for name, call := range map[string]func(t *testing.T, s *bolt.Storage, key string) error{
		"a Write frees a few": func(t *testing.T, s *bolt.Storage, key string) error {
			_, err := s.Write(t.Context(), map[string]state.Item{key: {}})
			return err
		},
		"a Delete frees a few": func(t *testing.T, s *bolt.Storage, key string) error {
			return s.Delete(t.Context(), []string{key})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const perCall = 17 // for one key
				s := fill(t, stay*perCall)
				for i := range stay {
					if err := call(t, s, staying(i)); err != nil {
						t.Fatal(err)
					}
					_, expiring, err := s.Check()
					if err != nil {
						t.Fatal(err)
					}
					if want := (stay - 1 - i) * perCall; expiring != want {
						t.Fatalf("%d expired items are left, want %d", expiring, want)
					}
				}
			})
		})
	}

	t.Run("a large call frees as many as it changes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := fill(t, 1000)
			items := make(map[string]state.Item)
			for i := range 1000 {
				items[fmt.Sprint("new ", i)] = state.Item{}
			}
			if _, err := s.Write(t.Context(), items); err != nil {
				t.Fatal(err)
			}
			wantLen(t, s, 1000+stay, 0)
		})
	})

	t.Run("writers cannot outrun it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, newPath(t))
			for i := range 200 {
				write(t, s, fmt.Sprint(i), state.Item{TTL: 10 * time.Second})
				if items, _, err := s.Check(); err != nil || items > 10 {
					t.Fatalf("%d items are held, of which only 10 are alive (%v)", items, err)
				}
				time.Sleep(time.Second)
			}
		})
	})

	t.Run("what waits to be freed is gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := fill(t, 100)
			const key = "99" // the last to be freed
			if _, ok := read(t, s, key); ok {
				t.Error("it is read")
			}
			write(t, s, key, state.Item{ETag: state.ETagNone})
			for i := range stay {
				write(t, s, staying(i), state.Item{})
			}
			wantLen(t, s, 1+stay, 0)
		})
	})

	t.Run("rewrites do not pile up", func(t *testing.T) {
		s := open(t, newPath(t))
		for i := range 100 {
			write(t, s, "key", state.Item{TTL: time.Duration(1000+i*i%77) * time.Hour})
			wantLen(t, s, 1, 1)
		}
		write(t, s, "key", state.Item{})
		wantLen(t, s, 1, 0)
		write(t, s, "key", state.Item{TTL: time.Hour})
		wantLen(t, s, 1, 1)
		if err := s.Delete(t.Context(), []string{"key"}); err != nil {
			t.Fatal(err)
		}
		wantLen(t, s, 0, 0)
	})
}

// TestModel compares a file with a table of expiry times through a long run of
// random calls and restarts, so that every way of moving an item in the index
// is met.
func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const never = 1 << 62
		var (
			random  = rand.New(rand.NewPCG(1, 2))
			path    = newPath(t)
			s       = open(t, path)
			start   = time.Now()
			expires = make(map[string]time.Duration) // since start
			keys    []string
		)
		for i := range 50 {
			keys = append(keys, fmt.Sprint(i))
		}
		for range 5000 {
			key := keys[random.IntN(len(keys))]
			now := time.Since(start)
			switch random.IntN(8) {
			case 0:
				write(t, s, key, state.Item{})
				expires[key] = never
			case 1, 2, 3:
				ttl := time.Duration(1 + random.IntN(100))
				write(t, s, key, state.Item{TTL: ttl})
				expires[key] = now + ttl
			case 4:
				if err := s.Delete(t.Context(), []string{key}); err != nil {
					t.Fatal(err)
				}
				delete(expires, key)
			case 5, 6:
				time.Sleep(time.Duration(random.IntN(10)))
			case 7:
				if random.IntN(10) == 0 {
					closeNow(t, s)
					s = open(t, path)
				}
				items, err := s.Read(t.Context(), keys)
				if err != nil {
					t.Fatal(err)
				}
				for _, key := range keys {
					_, got := items[key]
					if want := expires[key] > now; got != want {
						t.Fatalf("at %d key %q with expiry %d is there: %t", now, key, expires[key], got)
					}
				}
				if _, _, err := s.Check(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
