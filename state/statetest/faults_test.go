package statetest_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

func TestFaultsPassThrough(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Storage {
		return &statetest.Faults{Storage: state.NewMemory()}
	})
}

func TestFaultsWithHooksPassThrough(t *testing.T) {
	pass := func(context.Context, statetest.Call) error { return nil }
	statetest.Run(t, func(t *testing.T) state.Storage {
		return &statetest.Faults{Storage: state.NewMemory(), Before: pass, After: pass}
	})
}

// each makes one call of each Op on s and returns their errors.
func each(ctx context.Context, s state.Storage) [3]error {
	_, readErr := s.Read(ctx, []string{"b", "a"})
	_, writeErr := s.Write(ctx, map[string]state.Item{"b": {Value: []byte("2")}, "a": {Value: []byte("1")}})
	deleteErr := s.Delete(ctx, []string{"c", "b"})
	return [3]error{readErr, writeErr, deleteErr}
}

func TestFaultsCalls(t *testing.T) {
	var before, after []statetest.Call
	faults := &statetest.Faults{
		Storage: state.NewMemory(),
		Before: func(_ context.Context, call statetest.Call) error {
			before = append(before, call)
			return nil
		},
		After: func(_ context.Context, call statetest.Call) error {
			after = append(after, call)
			return nil
		},
	}
	var want []statetest.Call
	for n := 1; n <= 2; n++ {
		if errs := each(t.Context(), faults); errs != [3]error{} {
			t.Fatal(errs)
		}
		want = append(want,
			statetest.Call{Op: statetest.Read, N: n, Keys: []string{"b", "a"}},
			statetest.Call{Op: statetest.Write, N: n, Keys: []string{"a", "b"},
				Items: map[string]state.Item{"b": {Value: []byte("2")}, "a": {Value: []byte("1")}}},
			statetest.Call{Op: statetest.Delete, N: n, Keys: []string{"c", "b"}})
	}
	if !reflect.DeepEqual(before, want) {
		t.Errorf("Before is called for\n%v, want\n%v", before, want)
	}
	if !reflect.DeepEqual(after, want) {
		t.Errorf("After is called for\n%v, want\n%v", after, want)
	}
}

func TestFaultsBefore(t *testing.T) {
	fail := errors.New("fail")
	inner := &statetest.Faults{Storage: state.NewMemory()}
	faults := &statetest.Faults{
		Storage: inner,
		Before:  func(context.Context, statetest.Call) error { return fail },
		After: func(context.Context, statetest.Call) error {
			t.Error("After is called for a call that was not made")
			return nil
		},
	}
	if errs := each(t.Context(), faults); errs != [3]error{fail, fail, fail} {
		t.Errorf("errors %v, want %v from each call", errs, fail)
	}
	for _, op := range []statetest.Op{statetest.Read, statetest.Write, statetest.Delete} {
		if n := inner.Count(op); n != 0 {
			t.Errorf("%s was called though Before failed", op)
		}
		if n := faults.Count(op); n != 1 {
			t.Errorf("Count(%s) = %d, want 1", op, n)
		}
	}
}

func TestFaultsAfter(t *testing.T) {
	lost := errors.New("lost")
	inner := state.NewMemory()
	faults := &statetest.Faults{
		Storage: inner,
		After:   func(context.Context, statetest.Call) error { return lost },
	}
	if errs := each(t.Context(), faults); errs != [3]error{lost, lost, lost} {
		t.Errorf("errors %v, want %v from each call", errs, lost)
	}
	items, err := inner.Read(t.Context(), []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := items["a"]; !ok || len(items) != 1 {
		t.Errorf("the storage holds %v, want a, which was written, and not b, which was written and deleted", items)
	}

	// A call that fails by itself fails with its own error.
	_, err = faults.Write(t.Context(), map[string]state.Item{"a": {ETag: state.ETagNone}})
	if !errors.Is(err, state.ErrConflict) {
		t.Errorf("error %v, want one that wraps state.ErrConflict", err)
	}
}

// A partial storage writes a part of each batch.
type partial struct{ state.Storage }

func (partial) Write(context.Context, map[string]state.Item) (map[string]string, error) {
	return map[string]string{"a": "1"}, state.ErrConflict
}

func TestFaultsKeepTagsOfPartialWrite(t *testing.T) {
	faults := &statetest.Faults{Storage: partial{}}
	etags, err := faults.Write(t.Context(), nil)
	if etags["a"] != "1" || !errors.Is(err, state.ErrConflict) {
		t.Errorf("Write returns %v, %v; want those of the storage", etags, err)
	}
}

func TestFaultsCountConcurrently(t *testing.T) {
	const n = 100
	var (
		mu   sync.Mutex
		seen = make(map[int]bool)
		open = make(chan struct{})
	)
	faults := &statetest.Faults{
		Storage: state.NewMemory(),
		Before: func(_ context.Context, call statetest.Call) error {
			mu.Lock()
			seen[call.N] = true
			last := len(seen) == n
			mu.Unlock()
			if last {
				close(open)
			}
			<-open // all calls are in their hooks at the same time
			return nil
		},
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := faults.Read(t.Context(), []string{"key"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(seen) != n || !seen[1] || !seen[n] || faults.Count(statetest.Read) != n {
		t.Errorf("%d calls have %d different numbers and Count = %d", n, len(seen), faults.Count(statetest.Read))
	}
}

func ExampleFaults_conflict() {
	storage := &statetest.Faults{
		Storage: state.NewMemory(),
		Before: func(_ context.Context, call statetest.Call) error {
			if call.Op == statetest.Write && call.N == 1 {
				return fmt.Errorf("write %q: %w", call.Keys, state.ErrConflict)
			}
			return nil
		},
	}
	for range 2 {
		_, err := storage.Write(context.Background(), map[string]state.Item{"key": {Value: []byte("{}")}})
		fmt.Println(err)
	}
	// Output:
	// write ["key"]: eTag conflict
	// <nil>
}

func ExampleFaults_delay() {
	storage := &statetest.Faults{
		Storage: state.NewMemory(),
		Before: func(ctx context.Context, _ statetest.Call) error {
			select {
			case <-time.After(time.Hour):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := storage.Read(ctx, []string{"key"})
	fmt.Println(err)
	// Output:
	// context deadline exceeded
}

func ExampleFaults_failingRead() {
	storage := &statetest.Faults{
		Storage: state.NewMemory(),
		Before: func(_ context.Context, call statetest.Call) error {
			if call.Op == statetest.Read {
				return errors.New("storage is down")
			}
			return nil
		},
	}
	_, err := storage.Read(context.Background(), []string{"key"})
	fmt.Println(err, "after", storage.Count(statetest.Read), "read")
	// Output:
	// storage is down after 1 read
}

func ExampleFaults_lostAnswer() {
	storage := &statetest.Faults{
		Storage: state.NewMemory(),
		After: func(_ context.Context, call statetest.Call) error {
			if call.Op == statetest.Write {
				return errors.New("connection reset")
			}
			return nil
		},
	}
	ctx := context.Background()
	_, err := storage.Write(ctx, map[string]state.Item{"key": {Value: []byte("{}")}})
	fmt.Println(err)
	items, err := storage.Read(ctx, []string{"key"})
	fmt.Println(len(items), err)
	// Output:
	// connection reset
	// 1 <nil>
}
