package deadline

import (
	"container/heap"
	"context"
	"iter"
	"strconv"
	"sync"
	"time"
)

// Memory is a [Store] in the memory of the process, for tests and for bots
// whose state is in memory too. Each is a queue of its own. The zero Memory is
// empty.
type Memory struct {
	mu      sync.Mutex
	byKey   map[string]*memoryEntry
	queue   queue // those that are not parked
	counter uint64
}

// A memoryEntry is small, for there may be millions.
type memoryEntry struct {
	key, data string
	due       int64 // in Unix nanoseconds
	ready     int64 // when it can be claimed: due, or the end of the lease
	index     int   // in the queue, -1 if it is parked
	rest      *memoryRest
}

// A memoryRest is what most entries have not. It is not changed.
type memoryRest struct {
	token    uint64 // 0 if it is not claimed
	attempts int
	parked   string
}

var noRest = &memoryRest{}

func (e *memoryEntry) deadline() Deadline {
	return Deadline{Key: e.key, Due: fromNanoseconds(e.due), Data: []byte(e.data)}
}

// NewMemory returns an empty queue.
func NewMemory() *Memory { return &Memory{} }

// Arm implements [Store].
func (m *Memory) Arm(ctx context.Context, d Deadline) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[d.Key]
	if e == nil {
		if m.byKey == nil {
			m.byKey = make(map[string]*memoryEntry)
		}
		e = &memoryEntry{key: d.Key, index: -1}
		m.byKey[d.Key] = e
	}
	e.data, e.due, e.rest = string(d.Data), nanoseconds(d.Due), noRest
	m.enqueue(e, e.due)
	return nil
}

// enqueue puts e where it is claimed at ready. The caller holds m.mu.
func (m *Memory) enqueue(e *memoryEntry, ready int64) {
	e.ready = ready
	if e.index >= 0 {
		heap.Fix(&m.queue, e.index)
	} else {
		heap.Push(&m.queue, e)
	}
}

// dequeue takes e out of the queue. The caller holds m.mu.
func (m *Memory) dequeue(e *memoryEntry) {
	heap.Remove(&m.queue, e.index)
	e.index = -1
}

// Claim implements [Store].
func (m *Memory) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) (claims []Claim, next time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) > 0 {
		e := m.queue[0]
		if len(claims) >= limit || e.ready > nanoseconds(now) {
			return claims, fromNanoseconds(e.ready), nil
		}
		m.counter++
		e.rest = &memoryRest{token: m.counter, attempts: e.rest.attempts}
		m.enqueue(e, nanoseconds(now.Add(lease)))
		claims = append(claims, Claim{e.deadline(), strconv.FormatUint(m.counter, 36), e.rest.attempts})
	}
	return nil, time.Time{}, nil
}

// Settle implements [Store].
func (m *Memory) Settle(ctx context.Context, c Claim, o Outcome) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[c.Key]
	if e == nil || e.rest.token == 0 || strconv.FormatUint(e.rest.token, 36) != c.Token {
		return lost(c)
	}
	switch {
	case !o.Held.IsZero():
		m.enqueue(e, nanoseconds(o.Held))
	case !o.Due.IsZero():
		e.due, e.rest = nanoseconds(o.Due), &memoryRest{attempts: o.Attempts}
		m.enqueue(e, e.due)
	case o.Parked != "":
		e.rest = &memoryRest{attempts: o.Attempts, parked: o.Parked}
		m.dequeue(e)
	default:
		m.dequeue(e)
		delete(m.byKey, e.key)
	}
	return nil
}

// All implements [Store].
func (m *Memory) All(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(Entry{}, err)
			return
		}
		for _, e := range m.entries() {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (m *Memory) entries() []Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries := make([]Entry, 0, len(m.byKey))
	for _, e := range m.byKey {
		entry := Entry{Deadline: e.deadline(), Attempts: e.rest.attempts, Parked: e.rest.parked}
		if e.rest.token != 0 {
			entry.Leased = fromNanoseconds(e.ready)
		}
		entries = append(entries, entry)
	}
	return entries
}

// A queue is a heap by ready.
type queue []*memoryEntry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].ready < q[j].ready }
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
	return e
}
