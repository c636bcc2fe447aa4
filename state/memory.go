package state

import (
	"container/heap"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// Memory is a [Storage] in the memory of the process, for tests and for bots
// that may forget: nothing in it survives the process.
//
// It writes a batch whole or not at all, gives values back byte for byte, and
// keeps an item without a TTL until it is deleted. It is safe for concurrent
// use.
//
// A Memory needs no Close: it has no goroutine and no timer. Instead each call
// frees items that have expired, more of them than it can add, so that they do
// not pile up while there are calls. The table of keys never shrinks; a
// key that is gone leaves about 60 bytes behind for another one.
type Memory struct {
	mu     sync.Mutex
	items  map[string]*memoryItem
	expiry expiryQueue // the items that have a TTL
	etag   uint64      // of the latest write of any key
}

// A memoryItem is a stored item. Its value is a string because the conversions
// to and from one are the copies that keep callers apart.
type memoryItem struct {
	key     string
	value   string
	etag    uint64
	expires time.Time // if it has a TTL
	index   int       // in Memory.expiry, -1 if it has no TTL
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{items: make(map[string]*memoryItem)}
}

// Read implements [Storage].
func (m *Memory) Read(ctx context.Context, keys []string) (map[string]Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkKeys("read", keys); err != nil {
		return nil, err
	}
	items := make(map[string]Item, len(keys))

	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.free(now, len(keys))
	for _, key := range keys {
		if it := m.get(key, now); it != nil {
			items[key] = Item{Value: []byte(it.value), ETag: formatETag(it.etag)}
		}
	}
	return items, nil
}

// Write implements [Storage].
func (m *Memory) Write(ctx context.Context, items map[string]Item) (map[string]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for key, item := range items {
		if key == "" {
			return nil, fmt.Errorf("state: write: %w: empty key", ErrInvalid)
		}
		if item.TTL < 0 {
			return nil, fmt.Errorf("state: write %q: %w: negative TTL %v", key, ErrInvalid, item.TTL)
		}
	}
	etags := make(map[string]string, len(items))

	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.free(now, len(items))
	for key, item := range items {
		if !m.get(key, now).accepts(item.ETag) {
			return nil, fmt.Errorf("state: write %q: %w", key, ErrConflict)
		}
	}
	for key, item := range items {
		etags[key] = formatETag(m.put(key, item, now))
	}
	return etags, nil
}

// Delete implements [Storage].
func (m *Memory) Delete(ctx context.Context, keys []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkKeys("delete", keys); err != nil {
		return err
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.free(time.Now(), len(keys))
	for _, key := range keys {
		if it := m.items[key]; it != nil {
			m.remove(it)
		}
	}
	return nil
}

// get returns the item under key, nil if there is none or it has expired.
func (m *Memory) get(key string, now time.Time) *memoryItem {
	if it := m.items[key]; it != nil && !it.expired(now) {
		return it
	}
	return nil
}

// put stores item under key, whatever is there, and returns its eTag.
func (m *Memory) put(key string, item Item, now time.Time) uint64 {
	it := m.items[key]
	if it == nil {
		it = &memoryItem{key: key, index: -1}
		m.items[key] = it
	}
	m.etag++
	it.value, it.etag = string(item.Value), m.etag

	it.expires = now.Add(item.TTL)
	switch hasTTL := item.TTL > 0; {
	case hasTTL && it.index < 0:
		heap.Push(&m.expiry, it)
	case hasTTL:
		heap.Fix(&m.expiry, it.index)
	case it.index >= 0:
		heap.Remove(&m.expiry, it.index)
	}
	return it.etag
}

func (m *Memory) remove(it *memoryItem) {
	delete(m.items, it.key)
	if it.index >= 0 {
		heap.Remove(&m.expiry, it.index)
	}
}

// free removes expired items on behalf of a call with n keys. It removes at
// most a few more than n: no call stands long for the others, and yet items
// are freed faster than they can be added.
func (m *Memory) free(now time.Time, n int) {
	for n += 16; n > 0 && len(m.expiry) > 0 && m.expiry[0].expired(now); n-- {
		m.remove(m.expiry[0])
	}
}

func (it *memoryItem) expired(now time.Time) bool {
	return it.index >= 0 && !now.Before(it.expires)
}

// accepts reports whether a write with the given ETag may replace it, which is
// nil where nothing is stored.
func (it *memoryItem) accepts(etag string) bool {
	switch etag {
	case "", ETagAny:
		return true
	case ETagNone:
		return it == nil
	default:
		return it != nil && formatETag(it.etag) == etag
	}
}

func formatETag(etag uint64) string { return strconv.FormatUint(etag, 10) }

func checkKeys(op string, keys []string) error {
	for _, key := range keys {
		if key == "" {
			return fmt.Errorf("state: %s: %w: empty key", op, ErrInvalid)
		}
	}
	return nil
}

// An expiryQueue is a heap of items, the next to expire first. Each item knows
// its place, so that a rewrite moves it instead of adding it once more.
type expiryQueue []*memoryItem

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].expires.Before(q[j].expires) }

func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *expiryQueue) Push(x any) {
	it := x.(*memoryItem)
	it.index = len(*q)
	*q = append(*q, it)
}

func (q *expiryQueue) Pop() any {
	last := len(*q) - 1
	it := (*q)[last]
	it.index = -1
	(*q)[last] = nil
	*q = (*q)[:last]
	return it
}
