package statetest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/botlapse/botlapse/state"
)

// An Op is a method of [state.Storage].
type Op string

const (
	Read   Op = "Read"
	Write  Op = "Write"
	Delete Op = "Delete"
)

// A Call is one call of a storage. Its keys and items are the caller's and
// must not be changed.
type Call struct {
	Op    Op
	N     int                   // 1 for the first call of this Op, and so on
	Keys  []string              // in order as passed; those of a write sorted
	Items map[string]state.Item // of a write only
}

// Faults is a storage that fails on demand, and else passes every call on to
// the Storage in it. Its fields are set before use. It is safe for concurrent
// use if they are.
type Faults struct {
	state.Storage

	// Before, unless nil, is called ahead of each call of Storage. If it
	// returns an error, the call is not made and fails with that error.
	Before func(ctx context.Context, call Call) error

	// After, unless nil, is called behind each call of Storage that
	// succeeded. If it returns an error, the call fails with that error
	// though it took effect, like one whose answer was lost.
	After func(ctx context.Context, call Call) error

	mu    sync.Mutex
	count map[Op]int
}

// Count returns how many calls of op there were, with those that failed and
// those still under way.
func (f *Faults) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[op]
}

// Read implements [state.Storage].
func (f *Faults) Read(ctx context.Context, keys []string) (map[string]state.Item, error) {
	call := f.begin(Call{Op: Read, Keys: keys})
	if err := run(ctx, f.Before, call); err != nil {
		return nil, err
	}
	items, err := f.Storage.Read(ctx, keys)
	if err != nil {
		return items, err
	}
	if err := run(ctx, f.After, call); err != nil {
		return nil, err
	}
	return items, nil
}

// Write implements [state.Storage].
func (f *Faults) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	call := f.begin(Call{Op: Write, Keys: slices.Sorted(maps.Keys(items)), Items: items})
	if err := run(ctx, f.Before, call); err != nil {
		return nil, err
	}
	etags, err := f.Storage.Write(ctx, items)
	if err != nil {
		return etags, err // a batch may have been written in part
	}
	if err := run(ctx, f.After, call); err != nil {
		return nil, err
	}
	return etags, nil
}

// Delete implements [state.Storage].
func (f *Faults) Delete(ctx context.Context, keys []string) error {
	call := f.begin(Call{Op: Delete, Keys: keys})
	if err := run(ctx, f.Before, call); err != nil {
		return err
	}
	if err := f.Storage.Delete(ctx, keys); err != nil {
		return err
	}
	return run(ctx, f.After, call)
}

// begin counts call and returns it with its number.
func (f *Faults) begin(call Call) Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == nil {
		f.count = make(map[Op]int)
	}
	f.count[call.Op]++
	call.N = f.count[call.Op]
	return call
}

func run(ctx context.Context, hook func(context.Context, Call) error, call Call) error {
	if hook == nil {
		return nil
	}
	return hook(ctx, call)
}
