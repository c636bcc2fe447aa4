package statetest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

func TestRun(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Storage { return state.NewMemory() })
}

func TestRunOnOwnClock(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Storage { return newClocked() })
}

// A clocked is a storage whose time passes only by Advance.
type clocked struct {
	state.Storage
	mu      sync.Mutex
	now     time.Duration
	expires map[string]time.Duration
}

func newClocked() *clocked {
	return &clocked{Storage: state.NewMemory(), expires: make(map[string]time.Duration)}
}

func (c *clocked) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += d
	for key, expires := range c.expires {
		if c.now >= expires {
			c.Storage.Delete(context.Background(), []string{key})
			delete(c.expires, key)
		}
	}
}

func (c *clocked) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	timeless := maps.Clone(items)
	for key, item := range timeless {
		item.TTL = min(item.TTL, 0)
		timeless[key] = item
	}
	etags, err := c.Storage.Write(ctx, timeless)
	for key := range etags {
		delete(c.expires, key)
		if ttl := items[key].TTL; ttl > 0 && c.now+ttl > c.now {
			c.expires[key] = c.now + ttl
		}
	}
	return etags, err
}

// brokenVar names the broken storage that TestBroken, run as a process of its
// own, tests.
const brokenVar = "STATETEST_BROKEN"

// TestBroken runs the suite on a broken storage. It fails, if the suite is any
// good, and so it is run by TestRunFindsBroken only.
func TestBroken(t *testing.T) {
	name := os.Getenv(brokenVar)
	if name == "" {
		return // only TestRunFindsBroken runs it
	}
	for _, b := range broken {
		if b.name == name {
			statetest.Run(t, func(t *testing.T) state.Storage { return b.open() })
			return
		}
	}
	t.Fatalf("no broken storage is called %q", name)
}

// TestRunFindsBroken proves that the suite can fail: each broken storage fails
// the cases that are about what it does wrong, each case fails for one of
// them at least, and a case that fails prints its rule.
func TestRunFindsBroken(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	result := regexp.MustCompile(`(?m)^ *--- (PASS|FAIL): TestBroken/contract/(\S+)`)
	progress := regexp.MustCompile(`(?m)^=== .*\n`)
	var (
		mu     sync.Mutex
		proven = make(map[string]bool) // by name of the case
	)
	t.Run("broken", func(t *testing.T) {
		for _, b := range broken {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestBroken$", "-test.v", "-test.short", "-test.timeout=1m")
				cmd.Env = append(os.Environ(), brokenVar+"="+b.name)
				out, err := cmd.CombinedOutput()
				if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
					t.Fatalf("the suite ends with %v, want a failure:\n%s", err, out)
				}
				var failed []string
				mu.Lock()
				defer mu.Unlock()
				for _, m := range result.FindAllSubmatch(out, -1) {
					name := strings.ReplaceAll(string(m[2]), "_", " ")
					isWanted := slices.Contains(b.fails, name)
					proven[name] = proven[name] || isWanted
					if string(m[1]) == "FAIL" {
						failed = append(failed, name)
					}
				}
				for _, name := range b.fails {
					if !slices.Contains(failed, name) {
						t.Errorf("does not fail: %s", name)
					}
				}
				if rules := strings.Count(string(out), "the contract of state.Storage: "); rules != len(failed) {
					t.Errorf("%d cases fail and %d rules are printed", len(failed), rules)
				}
				if t.Failed() {
					t.Logf("output:\n%s", progress.ReplaceAll(out, nil))
				}
			})
		}
	})
	if len(proven) == 0 {
		t.Error("no case was run")
	}
	for name, ok := range proven {
		if !ok {
			t.Errorf("no broken storage shows that this case can fail: %s", name)
		}
	}
}

// A hooked is a Memory whose methods are replaced where a function is set.
type hooked struct {
	*state.Memory
	read   func(ctx context.Context, keys []string) (map[string]state.Item, error)
	write  func(ctx context.Context, items map[string]state.Item) (map[string]string, error)
	delete func(ctx context.Context, keys []string) error
}

func (h *hooked) Read(ctx context.Context, keys []string) (map[string]state.Item, error) {
	if h.read != nil {
		return h.read(ctx, keys)
	}
	return h.Memory.Read(ctx, keys)
}

func (h *hooked) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	if h.write != nil {
		return h.write(ctx, items)
	}
	return h.Memory.Write(ctx, items)
}

func (h *hooked) Delete(ctx context.Context, keys []string) error {
	if h.delete != nil {
		return h.delete(ctx, keys)
	}
	return h.Memory.Delete(ctx, keys)
}

// with returns a storage that breaks a Memory.
func with(breakIt func(h *hooked)) func() state.Storage {
	return func() state.Storage {
		h := &hooked{Memory: state.NewMemory()}
		breakIt(h)
		return h
	}
}

// withItems returns a storage that changes items on their way in.
func withItems(change func(key string, item *state.Item)) func() state.Storage {
	return with(func(h *hooked) {
		h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
			changed := make(map[string]state.Item)
			for key, item := range items {
				change(key, &item)
				changed[key] = item
			}
			return h.Memory.Write(ctx, changed)
		}
	})
}

// withRead returns a storage that changes what Read returns.
func withRead(change func(keys []string, items map[string]state.Item) (map[string]state.Item, error)) func() state.Storage {
	return with(func(h *hooked) {
		h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
			items, err := h.Memory.Read(ctx, keys)
			if err != nil {
				return nil, err
			}
			return change(keys, items)
		}
	})
}

// withKeys returns a storage that stores under other keys than it is given.
func withKeys(change func(key string) string) func() state.Storage {
	all := func(keys []string) []string {
		changed := make([]string, len(keys))
		for i, key := range keys {
			changed[i] = change(key)
		}
		return changed
	}
	return with(func(h *hooked) {
		h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
			stored, err := h.Memory.Read(ctx, all(keys))
			if err != nil {
				return nil, err
			}
			items := make(map[string]state.Item)
			for _, key := range keys {
				if item, ok := stored[change(key)]; ok {
					items[key] = item
				}
			}
			return items, nil
		}
		h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
			changed := make(map[string]state.Item)
			for key, item := range items {
				changed[change(key)] = item
			}
			stored, err := h.Memory.Write(ctx, changed)
			if err != nil {
				return nil, err
			}
			etags := make(map[string]string)
			for key := range items {
				etags[key] = stored[change(key)]
			}
			return etags, nil
		}
		h.delete = func(ctx context.Context, keys []string) error {
			return h.Memory.Delete(ctx, all(keys))
		}
	})
}

// withConflict returns a storage that does something else where a Memory
// refuses a write.
func withConflict(instead func(ctx context.Context, h *hooked, items map[string]state.Item, err error) (map[string]string, error)) func() state.Storage {
	return with(func(h *hooked) {
		h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
			etags, err := h.Memory.Write(ctx, items)
			if errors.Is(err, state.ErrConflict) {
				return instead(ctx, h, items, err)
			}
			return etags, err
		}
	})
}

// unconditionally returns items without their eTags.
func unconditionally(items map[string]state.Item) map[string]state.Item {
	items = maps.Clone(items)
	for key, item := range items {
		item.ETag = ""
		items[key] = item
	}
	return items
}

var errBroken = errors.New("broken")

// broken holds storages that break the contract, with cases that must find
// out. Other cases may fail as well.
var broken = []struct {
	name  string
	open  func() state.Storage
	fails []string
}{
	{
		name: "folds case",
		open: withKeys(strings.ToLower),
		fails: []string{
			"keys that differ in case are different",
			"different keys are never taken for each other",
		},
	},
	{
		name:  "cuts keys",
		open:  withKeys(func(key string) string { return key[:min(len(key), 255)] }),
		fails: []string{"different keys are never taken for each other"},
	},
	{
		name:  "cuts keys at the limit of Cosmos DB",
		open:  withKeys(func(key string) string { return key[:min(len(key), 1023)] }),
		fails: []string{"different keys are never taken for each other"},
	},
	{
		name:  "drops a trailing slash",
		open:  withKeys(func(key string) string { return strings.TrimSuffix(key, "/") }),
		fails: []string{"different keys are never taken for each other"},
	},
	{
		name:  "trims spaces",
		open:  withKeys(strings.TrimSpace),
		fails: []string{"different keys are never taken for each other"},
	},
	{
		name: "escapes without escaping the escape",
		open: withKeys(func(key string) string {
			return strings.NewReplacer("/", "*2f", `\`, "*5c", "?", "*3f", "#", "*23").Replace(key)
		}),
		fails: []string{"different keys are never taken for each other"},
	},
	{
		name: "refuses a slash",
		open: withItems(func(key string, item *state.Item) {
			if strings.Contains(key, "/") {
				item.TTL = -1
			}
		}),
		fails: []string{
			"any character may be in a key",
			"different keys are never taken for each other",
		},
	},
	{
		name: "takes the empty key",
		open: withKeys(func(key string) string { return "key " + key }),
		fails: []string{
			"an empty key cannot be read",
			"an empty key cannot be written",
			"an empty key cannot be deleted",
		},
	},
	{
		name: "does half of what it refuses",
		open: with(func(h *hooked) {
			h.write = func(ctx context.Context, items map[string]state.Item) (etags map[string]string, err error) {
				for key, item := range items {
					_, itemErr := h.Memory.Write(context.WithoutCancel(ctx), map[string]state.Item{key: item})
					err = errors.Join(err, itemErr)
				}
				etags, memoryErr := h.Memory.Write(ctx, nil)
				return etags, errors.Join(err, memoryErr)
			}
			h.delete = func(ctx context.Context, keys []string) (err error) {
				for _, key := range keys {
					err = errors.Join(err, h.Memory.Delete(context.WithoutCancel(ctx), []string{key}))
				}
				return errors.Join(err, h.Memory.Delete(ctx, nil))
			}
		}),
		fails: []string{
			"an empty key cannot be written",
			"an empty key cannot be deleted",
			"a done context stops a write",
			"a done context stops a delete",
			"a negative TTL cannot be written",
			"a refused batch tells what it wrote",
		},
	},
	{
		name: "ignores the context",
		open: with(func(h *hooked) {
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				return h.Memory.Read(context.WithoutCancel(ctx), keys)
			}
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				return h.Memory.Write(context.WithoutCancel(ctx), items)
			}
			h.delete = func(ctx context.Context, keys []string) error {
				return h.Memory.Delete(context.WithoutCancel(ctx), keys)
			}
		}),
		fails: []string{
			"a done context stops a read",
			"a done context stops a write",
			"a done context stops a delete",
		},
	},
	{
		name: "gives the cause of a done context",
		open: with(func(h *hooked) {
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				if err := context.Cause(ctx); err != nil {
					return nil, err
				}
				return h.Memory.Read(ctx, keys)
			}
		}),
		fails: []string{"a done context stops a read"},
	},
	{
		name: "keeps and hands out the slices of callers",
		open: with(func(h *hooked) {
			var mu sync.Mutex
			values := make(map[string][]byte)
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				etags, err := h.Memory.Write(ctx, items)
				mu.Lock()
				defer mu.Unlock()
				for key := range etags {
					values[key] = items[key].Value
				}
				return etags, err
			}
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				items, err := h.Memory.Read(ctx, keys)
				mu.Lock()
				defer mu.Unlock()
				for key, item := range items {
					item.Value = values[key]
					items[key] = item
				}
				return items, err
			}
		}),
		fails: []string{
			"changing what was passed to Write changes nothing",
			"changing what Read returned changes nothing",
		},
	},
	{
		name: "reads only the first key",
		open: with(func(h *hooked) {
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				return h.Memory.Read(ctx, keys[:min(len(keys), 1)])
			}
		}),
		fails: []string{"Read returns all it is asked for and nothing else"},
	},
	{
		name: "refuses a key named twice",
		open: with(func(h *hooked) {
			twice := func(keys []string) error {
				for i, key := range keys {
					if slices.Contains(keys[:i], key) {
						return errBroken
					}
				}
				return nil
			}
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				if err := twice(keys); err != nil {
					return nil, err
				}
				return h.Memory.Read(ctx, keys)
			}
			h.delete = func(ctx context.Context, keys []string) error {
				return errors.Join(h.Memory.Delete(ctx, keys), twice(keys))
			}
		}),
		fails: []string{
			"a key read twice in one call is returned once",
			"a key deleted twice in one call is no error",
		},
	},
	{
		name: "returns a nil map",
		open: withRead(func(_ []string, items map[string]state.Item) (map[string]state.Item, error) {
			if len(items) == 0 {
				return nil, nil
			}
			return items, nil
		}),
		fails: []string{
			"an unknown key is absent",
			"reading no keys gives an empty map",
		},
	},
	{
		name: "fails on what is absent",
		open: withRead(func(keys []string, items map[string]state.Item) (map[string]state.Item, error) {
			if len(items) < len(keys) {
				return nil, errBroken
			}
			return items, nil
		}),
		fails: []string{
			"an unknown key is absent",
			"Read returns all it is asked for and nothing else",
		},
	},
	{
		name: "returns empty items for what is absent",
		open: withRead(func(keys []string, items map[string]state.Item) (map[string]state.Item, error) {
			for _, key := range keys {
				if _, ok := items[key]; !ok {
					items[key] = state.Item{}
				}
			}
			return items, nil
		}),
		fails: []string{
			"an unknown key is absent",
			"Read returns all it is asked for and nothing else",
			"Delete removes its keys and no others",
			"a key deleted twice in one call is no error",
			"an expired item may be deleted",
		},
	},
	{
		name: "refuses to do nothing",
		open: with(func(h *hooked) {
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				if len(keys) == 0 {
					return nil, errBroken
				}
				return h.Memory.Read(ctx, keys)
			}
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				if len(items) == 0 {
					return nil, errBroken
				}
				return h.Memory.Write(ctx, items)
			}
			h.delete = func(ctx context.Context, keys []string) error {
				if len(keys) == 0 {
					return errBroken
				}
				return h.Memory.Delete(ctx, keys)
			}
		}),
		fails: []string{
			"reading no keys gives an empty map",
			"writing nothing is no error",
			"deleting nothing is no error",
		},
	},
	{
		name: "gives out conditions as tags",
		open: withRead(func(_ []string, items map[string]state.Item) (map[string]state.Item, error) {
			for key, item := range items {
				item.ETag = state.ETagAny
				items[key] = item
			}
			return items, nil
		}),
		fails: []string{
			"a tag is not one of the conditions",
			"a write with the current tag replaces",
			"a read leaves the tag alone",
		},
	},
	{
		name: "makes tags of values",
		open: withTags(func(_ string, item state.Item, _ int) string { return "tag of " + string(item.Value) }),
		fails: []string{
			"every write of a key gives it a tag it never had",
			"a write with the tag of a deleted item is refused",
			"an expired item has no tag",
		},
	},
	{
		name: "counts tags from 1 again",
		open: withTags(func(_ string, _ state.Item, n int) string { return fmt.Sprint("tag ", n) }),
		fails: []string{
			"every write of a key gives it a tag it never had",
			"a write with the tag of a deleted item is refused",
			"an expired item has no tag",
		},
	},
	{
		name: "changes the tag on every read",
		open: with(func(h *hooked) {
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				items, err := h.Memory.Read(ctx, keys)
				if err == nil {
					h.Memory.Write(ctx, unconditionally(items))
				}
				return items, err
			}
		}),
		fails: []string{
			"a read leaves the tag alone",
			"a write with the current tag replaces",
		},
	},
	{
		name: "returns a TTL",
		open: withRead(func(_ []string, items map[string]state.Item) (map[string]state.Item, error) {
			for key, item := range items {
				item.TTL = time.Hour
				items[key] = item
			}
			return items, nil
		}),
		fails: []string{"a read item has no TTL"},
	},
	{
		name: "takes objects only",
		open: withItems(func(_ string, item *state.Item) {
			if !strings.HasPrefix(string(item.Value), "{") {
				item.Value = []byte("{}")
			}
		}),
		fails: []string{"every kind of JSON comes back equal"},
	},
	{
		name: "cuts values",
		open: withItems(func(_ string, item *state.Item) {
			item.Value = item.Value[:min(len(item.Value), 255<<10)]
		}),
		fails: []string{"a value of 256 KiB comes back equal"},
	},
	{
		name: "returns no tags",
		open: with(func(h *hooked) {
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				_, err := h.Memory.Write(ctx, items)
				return nil, err
			}
		}),
		fails: []string{
			"Write returns the tags of what it wrote and no others",
			"changing what Read returned changes nothing",
			"of unconditional writers the last one stays",
			"a batch of 10000 items is written read and deleted",
		},
	},
	{
		name: "returns tags for other keys",
		open: with(func(h *hooked) {
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				etags, err := h.Memory.Write(ctx, items)
				if etags == nil {
					etags = make(map[string]string)
				}
				etags["other"] = "1"
				return etags, err
			}
		}),
		fails: []string{
			"Write returns the tags of what it wrote and no others",
			"writing nothing is no error",
			"a refused batch tells what it wrote",
			"a write with a stale tag is refused",
		},
	},
	{
		name: "writes at most 50 items at a time",
		open: with(func(h *hooked) {
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				if len(items) > 50 {
					return nil, errBroken
				}
				return h.Memory.Write(ctx, items)
			}
		}),
		fails: []string{"a batch of 10000 items is written read and deleted"},
	},
	{
		name: "asks for a tag where there is one",
		open: withItems(func(_ string, item *state.Item) {
			if item.ETag == "" || item.ETag == state.ETagAny {
				item.ETag = state.ETagNone
			}
		}),
		fails: []string{
			"a write without a tag is unconditional",
			"a write with ETagAny is unconditional",
			"a rewrite may shorten the TTL",
			"of unconditional writers the last one stays",
		},
	},
	{
		name: "ignores tags",
		open: withItems(func(_ string, item *state.Item) { item.ETag = "" }),
		fails: []string{
			"a write with ETagNone does not replace",
			"a write with a stale tag is refused",
			"a write with an unknown tag is refused",
			"a write with a tag is refused where nothing was stored",
			"a write with the tag of a deleted item is refused",
			"a refused batch tells what it wrote",
			"a refused write leaves the TTL alone",
			"an expired item has no tag",
			"the longest TTL does not overflow",
			"of writers with the same tag one wins",
			"of writers with ETagNone one wins",
		},
	},
	{
		name: "does not know ETagNone",
		open: withItems(func(_ string, item *state.Item) {
			if item.ETag == state.ETagNone {
				item.ETag = "NONE"
			}
		}),
		fails: []string{
			"a write with ETagNone creates",
			"an expired item leaves room for ETagNone",
			"of writers with ETagNone one wins",
			"writers of different keys do not meet",
		},
	},
	{
		// As the official SDKs do.
		name: "takes any tag where nothing is stored",
		open: withConflict(func(ctx context.Context, h *hooked, items map[string]state.Item, err error) (map[string]string, error) {
			stored, readErr := h.Memory.Read(ctx, slices.Collect(maps.Keys(items)))
			if readErr != nil || len(stored) > 0 {
				return nil, err
			}
			return h.Memory.Write(ctx, unconditionally(items))
		}),
		fails: []string{
			"a write with a tag is refused where nothing was stored",
			"a write with the tag of a deleted item is refused",
			"an expired item has no tag",
		},
	},
	{
		name: "has one tag for all keys",
		open: with(func(h *hooked) {
			var mu sync.Mutex
			n := 0
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				mu.Lock()
				defer mu.Unlock()
				items, err := h.Memory.Read(ctx, keys)
				for key, item := range items {
					item.ETag = fmt.Sprint("tag ", n)
					items[key] = item
				}
				return items, err
			}
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				mu.Lock()
				defer mu.Unlock()
				checked := maps.Clone(items)
				for key, item := range checked {
					switch item.ETag {
					case "", state.ETagAny, state.ETagNone:
						continue
					case fmt.Sprint("tag ", n):
						item.ETag = ""
					}
					checked[key] = item
				}
				etags, err := h.Memory.Write(ctx, checked)
				n++
				for key := range etags {
					etags[key] = fmt.Sprint("tag ", n)
				}
				return etags, err
			}
		}),
		fails: []string{
			"a tag outlives the writes of other keys",
			"writers of different keys do not meet",
		},
	},
	{
		name: "hides that it is a conflict",
		open: withConflict(func(_ context.Context, _ *hooked, _ map[string]state.Item, err error) (map[string]string, error) {
			return nil, errors.New(err.Error())
		}),
		fails: []string{
			"a write with ETagNone does not replace",
			"a write with a stale tag is refused",
			"a refused batch tells what it wrote",
			"of writers with the same tag one wins",
		},
	},
	{
		name: "does not name the key",
		open: withConflict(func(context.Context, *hooked, map[string]state.Item, error) (map[string]string, error) {
			return nil, state.ErrConflict
		}),
		fails: []string{
			"a write with ETagNone does not replace",
			"a write with a stale tag is refused",
			"a refused batch tells what it wrote",
		},
	},
	{
		name: "writes what it refuses",
		open: withConflict(func(ctx context.Context, h *hooked, items map[string]state.Item, err error) (map[string]string, error) {
			h.Memory.Write(ctx, unconditionally(items))
			return nil, err
		}),
		fails: []string{
			"a write with ETagNone does not replace",
			"a write with a stale tag is refused",
			"a write with an unknown tag is refused",
			"a write with a tag is refused where nothing was stored",
			"a write with the tag of a deleted item is refused",
			"a refused write leaves the TTL alone",
			"a refused batch tells what it wrote",
		},
	},
	{
		name: "deletes what it refuses to write",
		open: withConflict(func(ctx context.Context, h *hooked, items map[string]state.Item, err error) (map[string]string, error) {
			h.Memory.Delete(ctx, slices.Collect(maps.Keys(items)))
			return nil, err
		}),
		fails: []string{
			"a write with a stale tag is refused",
			"a refused batch tells what it wrote",
		},
	},
	{
		name: "does not check the sign of a TTL",
		open: withItems(func(_ string, item *state.Item) { item.TTL = max(item.TTL, 0) }),
		fails: []string{
			"a negative TTL cannot be written",
		},
	},
	{
		name: "ignores the TTL",
		open: withItems(func(_ string, item *state.Item) { item.TTL = min(item.TTL, 0) }),
		fails: []string{
			"an item is there until its TTL has passed",
			"each item of a batch has its own TTL",
			"a rewrite starts the TTL anew",
			"a rewrite may shorten the TTL",
			"a refused write leaves the TTL alone",
			"an expired item has no tag",
			"an expired item leaves room for ETagNone",
		},
	},
	{
		name: "expires a nanosecond late",
		open: withItems(func(_ string, item *state.Item) {
			if item.TTL > 0 && item.TTL < 1<<62 {
				item.TTL++
			}
		}),
		fails: []string{
			"an item is there until its TTL has passed",
			"a rewrite starts the TTL anew",
			"a rewrite may shorten the TTL",
			"a refused write leaves the TTL alone",
		},
	},
	{
		name: "expires a nanosecond early",
		open: withItems(func(_ string, item *state.Item) {
			if item.TTL > 1 {
				item.TTL--
			}
		}),
		fails: []string{
			"an item is there until its TTL has passed",
			"a rewrite starts the TTL anew",
			"a rewrite may shorten the TTL",
			"a refused write leaves the TTL alone",
		},
	},
	{
		name: "gives a batch one TTL",
		open: with(func(h *hooked) {
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				longest := time.Duration(0)
				for _, item := range items {
					longest = max(longest, item.TTL)
				}
				same := maps.Clone(items)
				for key, item := range same {
					item.TTL = longest
					same[key] = item
				}
				return h.Memory.Write(ctx, same)
			}
		}),
		fails: []string{"each item of a batch has its own TTL"},
	},
	{
		name: "starts a timer and never stops it",
		open: with(func(h *hooked) {
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				etags, err := h.Memory.Write(ctx, items)
				for key := range etags {
					if ttl := items[key].TTL; ttl > 0 {
						time.AfterFunc(ttl, func() { h.Memory.Delete(context.Background(), []string{key}) })
					}
				}
				return etags, err
			}
		}),
		fails: []string{
			"a rewrite starts the TTL anew",
			"a delete ends the TTL",
			"a TTL of 0 ends the TTL before it",
		},
	},
	{
		name: "marks expired keys for ever",
		open: with(func(h *hooked) {
			var mu sync.Mutex
			due := make(map[string]time.Time)
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				mu.Lock()
				defer mu.Unlock()
				etags, err := h.Memory.Write(ctx, items)
				for key := range etags {
					if ttl := items[key].TTL; ttl > 0 {
						due[key] = time.Now().Add(ttl)
					}
				}
				return etags, err
			}
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				mu.Lock()
				defer mu.Unlock()
				items, err := h.Memory.Read(ctx, keys)
				maps.DeleteFunc(items, func(key string, _ state.Item) bool {
					at, ok := due[key]
					return ok && !time.Now().Before(at)
				})
				return items, err
			}
		}),
		fails: []string{
			"an expired item leaves room for ETagNone",
			"a delete ends the TTL",
			"a TTL of 0 ends the TTL before it",
		},
	},
	{
		name: "overflows",
		open: withItems(func(_ string, item *state.Item) {
			if item.TTL > 0 && time.Duration(time.Now().UnixNano())+item.TTL < 0 {
				item.TTL = 1
			}
		}),
		fails: []string{"the longest TTL does not overflow"},
	},
	{
		name: "does nothing on its own clock",
		open: func() state.Storage { return stopped{state.NewMemory()} },
		fails: []string{
			"an item is there until its TTL has passed",
			"each item of a batch has its own TTL",
		},
	},
	{
		name: "deletes all but the last key",
		open: with(func(h *hooked) {
			h.delete = func(ctx context.Context, keys []string) error {
				if err := h.Memory.Delete(ctx, keys); err != nil || len(keys) < 2 {
					return err
				}
				_, err := h.Memory.Write(ctx, map[string]state.Item{keys[len(keys)-1]: {Value: []byte("1")}})
				return err
			}
		}),
		fails: []string{
			"Delete removes its keys and no others",
			"a key deleted twice in one call is no error",
			"a batch of 10000 items is written read and deleted",
		},
	},
	{
		name: "fails to delete what is absent",
		open: with(func(h *hooked) {
			h.delete = func(ctx context.Context, keys []string) error {
				items, err := h.Memory.Read(ctx, keys)
				if err != nil {
					return err
				}
				if len(items) < len(keys) {
					return errBroken
				}
				return h.Memory.Delete(ctx, keys)
			}
		}),
		fails: []string{
			"deleting an unknown key is no error",
			"Delete removes its keys and no others",
			"a key deleted twice in one call is no error",
			"an expired item may be deleted",
		},
	},
	{
		name: "reads an older value than tag",
		open: with(func(h *hooked) {
			var mu sync.Mutex
			older := make(map[string]state.Item)
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				mu.Lock()
				defer mu.Unlock()
				before, err := h.Memory.Read(ctx, slices.Collect(maps.Keys(items)))
				if err != nil {
					return nil, err
				}
				etags, err := h.Memory.Write(ctx, items)
				if err == nil {
					maps.Copy(older, before)
				}
				return etags, err
			}
			h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
				mu.Lock()
				defer mu.Unlock()
				items, err := h.Memory.Read(ctx, keys)
				for key, item := range items {
					if old, ok := older[key]; ok {
						item.Value = old.Value
						items[key] = item
					}
				}
				return items, err
			}
		}),
		fails: []string{"increments with retries lose nothing"},
	},
	{
		name: "checks first and writes later",
		open: with(func(h *hooked) {
			// Writers of one moment wait for each other between the two.
			h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
				stored, err := h.Memory.Read(ctx, slices.Collect(maps.Keys(items)))
				if err != nil {
					return nil, err
				}
				for key, item := range items {
					old, ok := stored[key]
					switch item.ETag {
					case "", state.ETagAny:
						continue
					case state.ETagNone:
						ok = !ok
					default:
						ok = ok && old.ETag == item.ETag
					}
					if !ok {
						return nil, fmt.Errorf("write %q: %w", key, state.ErrConflict)
					}
				}
				for range 1000 {
					runtime.Gosched()
				}
				return h.Memory.Write(ctx, unconditionally(items))
			}
		}),
		fails: []string{
			"of writers with the same tag one wins",
			"of writers with ETagNone one wins",
			"increments with retries lose nothing",
		},
	},
}

// A stopped is a storage whose clock does not move.
type stopped struct{ state.Storage }

func (stopped) Advance(time.Duration) {}

// withTags returns a storage with the tags that tag returns for the nth write
// of a key since it was absent.
func withTags(tag func(key string, item state.Item, n int) string) func() state.Storage {
	return with(func(h *hooked) {
		var mu sync.Mutex
		count := make(map[string]int)
		tags := make(map[string]string)
		current := func(ctx context.Context, keys []string) (map[string]state.Item, error) {
			items, err := h.Memory.Read(ctx, keys)
			for key, item := range items {
				item.ETag = tags[key]
				items[key] = item
			}
			return items, err
		}
		h.read = func(ctx context.Context, keys []string) (map[string]state.Item, error) {
			mu.Lock()
			defer mu.Unlock()
			return current(ctx, keys)
		}
		h.write = func(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
			mu.Lock()
			defer mu.Unlock()
			stored, err := current(ctx, slices.Collect(maps.Keys(items)))
			if err != nil {
				return nil, err
			}
			checked := maps.Clone(items)
			for key, item := range checked {
				old, ok := stored[key]
				if !ok {
					count[key] = 0
				} else if item.ETag == old.ETag {
					item.ETag = ""
				}
				checked[key] = item
			}
			etags, err := h.Memory.Write(ctx, checked)
			for key := range etags {
				count[key]++
				tags[key] = tag(key, items[key], count[key])
				etags[key] = tags[key]
			}
			return etags, err
		}
	})
}
