package deadline

import (
	"container/heap"
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"
)

// Memory is a [Store] in the memory of the process, for tests and for bots
// whose state is in memory too.
type Memory struct {
	mu      sync.Mutex
	byKey   map[string]*memoryEntry
	queue   queue // of those that are not parked
	counter uint64
}

type memoryEntry struct {
	key       string
	due       time.Time
	reference []byte    // in JSON, which is much smaller
	ready     time.Time // when it can be claimed: due, or the end of the lease
	token     uint64    // 0 if it is not claimed
	attempts  int
	parked    string
	index     int // in the queue, -1 if it is parked
}

func (e *memoryEntry) deadline() Deadline {
	d := Deadline{Key: e.key, Due: e.due}
	json.Unmarshal(e.reference, &d.Reference) // as it was encoded
	return d
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{byKey: make(map[string]*memoryEntry)} }

// Arm implements [Store].
func (m *Memory) Arm(ctx context.Context, d Deadline) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	reference, err := json.Marshal(d.Reference)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[d.Key]
	if e == nil {
		e = &memoryEntry{key: d.Key, index: -1}
		m.byKey[d.Key] = e
	}
	e.due, e.reference, e.token, e.attempts, e.parked = d.Due, reference, 0, 0, ""
	m.enqueue(e, d.Due)
	return nil
}

// enqueue puts e where it is claimed at ready. The caller holds m.mu.
func (m *Memory) enqueue(e *memoryEntry, ready time.Time) {
	e.ready = ready
	if e.index < 0 {
		heap.Push(&m.queue, e)
	} else {
		heap.Fix(&m.queue, e.index)
	}
}

// Claim implements [Store].
func (m *Memory) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]Claim, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var claims []Claim
	for len(claims) < limit && len(m.queue) > 0 && !m.queue[0].ready.After(now) {
		e := m.queue[0]
		m.counter++
		e.token = m.counter
		m.enqueue(e, now.Add(lease))
		claims = append(claims, Claim{e.deadline(), strconv.FormatUint(e.token, 36), e.attempts})
	}
	return claims, nil
}

// held calls change with the entry of a claim that is held.
func (m *Memory) held(ctx context.Context, c Claim, change func(*memoryEntry)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[c.Key]
	if e == nil || e.token == 0 || strconv.FormatUint(e.token, 36) != c.Token {
		return lost(c)
	}
	change(e)
	return nil
}

// Renew implements [Store].
func (m *Memory) Renew(ctx context.Context, c Claim, now time.Time, lease time.Duration) error {
	return m.held(ctx, c, func(e *memoryEntry) { m.enqueue(e, now.Add(lease)) })
}

// Finish implements [Store].
func (m *Memory) Finish(ctx context.Context, c Claim) error {
	return m.held(ctx, c, func(e *memoryEntry) {
		heap.Remove(&m.queue, e.index)
		delete(m.byKey, e.key)
	})
}

// Move implements [Store].
func (m *Memory) Move(ctx context.Context, c Claim, due time.Time, attempts int) error {
	return m.held(ctx, c, func(e *memoryEntry) {
		e.due, e.token, e.attempts = due, 0, attempts
		m.enqueue(e, due)
	})
}

// Park implements [Store].
func (m *Memory) Park(ctx context.Context, c Claim, reason string) error {
	return m.held(ctx, c, func(e *memoryEntry) {
		e.token, e.parked = 0, reason
		heap.Remove(&m.queue, e.index)
	})
}

// Next implements [Store].
func (m *Memory) Next(ctx context.Context) (time.Time, bool, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return time.Time{}, false, nil
	}
	return m.queue[0].ready, true, nil
}

// Entries implements [Store].
func (m *Memory) Entries(ctx context.Context, yield func(Entry) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	entries := make([]Entry, 0, len(m.byKey))
	for _, e := range m.byKey {
		entry := Entry{Deadline: e.deadline(), Attempts: e.attempts, Parked: e.parked}
		if e.token != 0 {
			entry.Leased = e.ready
		}
		entries = append(entries, entry)
	}
	m.mu.Unlock()
	for _, e := range entries {
		if !yield(e) {
			break
		}
	}
	return nil
}

// A queue is a heap by ready.
type queue []*memoryEntry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].ready.Before(q[j].ready) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	e := x.(*memoryEntry)
	e.index = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.index = -1
	return e
}
