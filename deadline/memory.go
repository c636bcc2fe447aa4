package deadline

import (
	"container/heap"
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// Memory is a [Store] in the memory of the process, for tests and for bots
// whose state is in memory too.
type Memory struct {
	mu      sync.Mutex
	byKey   map[string]*memoryEntry
	counter uint64

	// Those that are not parked are in one of two heaps: in late if they are
	// ready until boundary, in fresh if later.
	fresh, late queue
	boundary    int64
}

// A memoryEntry is small, for there may be millions: what many references have
// in common is kept once, and the id of the conversation is a part of the key.
type memoryEntry struct {
	key          string
	due          int64 // in Unix nanoseconds
	ready        int64 // when it can be claimed: due, or the end of the lease
	common       unique.Handle[memoryCommon]
	conversation string // its id
	user         string // its fields, as encodeUser puts them
	index        int    // in the queue
	queue        *queue // nil if it is parked
	rest         *memoryRest
}

type memoryCommon struct {
	reference schema.ConversationReference
	app       string
}

// A memoryRest is what most entries have not. It is not changed.
type memoryRest struct {
	token    uint64 // 0 if it is not claimed
	attempts int
	parked   string
}

var noRest = &memoryRest{}

func (e *memoryEntry) deadline() Deadline {
	common := e.common.Value()
	ref := common.reference
	ref.Conversation.ID = e.conversation
	ref.User = decodeUser(e.user)
	return Deadline{Key: e.key, Due: fromNanoseconds(e.due), Reference: ref, App: common.app}
}

// setReference keeps a reference.
func (e *memoryEntry) setReference(ref schema.ConversationReference, app string) {
	e.user, e.conversation = encodeUser(ref.User), ref.Conversation.ID
	if i := strings.Index(e.key, e.conversation); i >= 0 {
		e.conversation = e.key[i : i+len(e.conversation)]
	}
	ref.User, ref.Conversation.ID = schema.ChannelAccount{}, ""
	e.common = unique.Make(memoryCommon{ref, app})
}

// encodeUser puts the fields of an account one behind the other, each with its
// length ahead, which takes less than JSON.
func encodeUser(u schema.ChannelAccount) string {
	var b []byte
	for _, field := range []string{u.ID, u.Name, u.AadObjectID, string(u.Role)} {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	return string(b)
}

func decodeUser(encoded string) schema.ChannelAccount {
	var fields [4]string
	for i := range fields {
		n, size := binary.Uvarint([]byte(encoded[:min(len(encoded), binary.MaxVarintLen64)]))
		fields[i] = encoded[size : size+int(n)]
		encoded = encoded[size+int(n):]
	}
	return schema.ChannelAccount{ID: fields[0], Name: fields[1], AadObjectID: fields[2], Role: schema.RoleTypes(fields[3])}
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{byKey: make(map[string]*memoryEntry)} }

// Arm implements [Store].
func (m *Memory) Arm(ctx context.Context, d Deadline) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[d.Key]
	if e == nil {
		e = &memoryEntry{key: d.Key}
	}
	e.setReference(d.Reference, d.App)
	m.byKey[d.Key] = e
	e.due, e.rest = nanoseconds(d.Due), noRest
	m.enqueue(e, e.due)
	return nil
}

// enqueue puts e where it is claimed at ready. The caller holds m.mu.
func (m *Memory) enqueue(e *memoryEntry, ready int64) {
	e.ready = ready
	q := &m.fresh
	if ready <= m.boundary {
		q = &m.late
	}
	if e.queue == q {
		heap.Fix(q, e.index)
		return
	}
	dequeue(e)
	e.queue = q
	heap.Push(q, e)
}

// dequeue takes e out of its queue, if it is in one.
func dequeue(e *memoryEntry) {
	if e.queue != nil {
		heap.Remove(e.queue, e.index)
		e.queue = nil
	}
}

// split moves the boundary. As it goes with the time, each entry is moved once
// at most; but it may be set back. The caller holds m.mu.
func (m *Memory) split(boundary int64) {
	back := boundary < m.boundary
	m.boundary = boundary
	if back {
		for _, e := range slices.Clone(m.late) {
			m.enqueue(e, e.ready)
		}
	}
	for len(m.fresh) > 0 && m.fresh[0].ready <= boundary {
		m.enqueue(m.fresh[0], m.fresh[0].ready)
	}
}

// first returns the entry that comes first, of those ready later than after
// unless that is zero; nil if there is none. The caller holds m.mu.
func (m *Memory) first(after time.Time) *memoryEntry {
	switch {
	case after.IsZero() && len(m.late) > 0:
		return m.late[0]
	case len(m.fresh) > 0:
		return m.fresh[0]
	}
	return nil
}

// Claim implements [Store].
func (m *Memory) Claim(ctx context.Context, after, now time.Time, lease time.Duration, limit int) (claims []Claim, next time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !after.IsZero() {
		m.split(nanoseconds(after))
	}
	for {
		e := m.first(after)
		if e == nil {
			return claims, time.Time{}, nil
		}
		if len(claims) >= limit || e.ready > nanoseconds(now) {
			return claims, fromNanoseconds(e.ready), nil
		}
		m.counter++
		e.rest = &memoryRest{token: m.counter, attempts: e.rest.attempts}
		m.enqueue(e, nanoseconds(now.Add(lease)))
		claims = append(claims, Claim{e.deadline(), strconv.FormatUint(m.counter, 36), e.rest.attempts})
	}
}

// held calls change with the entry of a claim that is held.
func (m *Memory) held(ctx context.Context, c Claim, change func(*memoryEntry)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[c.Key]
	if e == nil || e.rest.token == 0 || strconv.FormatUint(e.rest.token, 36) != c.Token {
		return lost(c)
	}
	change(e)
	return nil
}

// Renew implements [Store].
func (m *Memory) Renew(ctx context.Context, c Claim, now time.Time, lease time.Duration) error {
	return m.held(ctx, c, func(e *memoryEntry) { m.enqueue(e, nanoseconds(now.Add(lease))) })
}

// Finish implements [Store].
func (m *Memory) Finish(ctx context.Context, c Claim) error {
	return m.held(ctx, c, func(e *memoryEntry) {
		dequeue(e)
		delete(m.byKey, e.key)
	})
}

// Move implements [Store].
func (m *Memory) Move(ctx context.Context, c Claim, due time.Time, attempts int) error {
	return m.held(ctx, c, func(e *memoryEntry) {
		e.due, e.rest = nanoseconds(due), &memoryRest{attempts: attempts}
		m.enqueue(e, e.due)
	})
}

// Park implements [Store].
func (m *Memory) Park(ctx context.Context, c Claim, reason string) error {
	return m.held(ctx, c, func(e *memoryEntry) {
		e.rest = &memoryRest{attempts: e.rest.attempts, parked: reason}
		dequeue(e)
	})
}

// Entries implements [Store].
func (m *Memory) Entries(ctx context.Context, yield func(Entry) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	entries := make([]Entry, 0, len(m.byKey))
	for _, e := range m.byKey {
		entry := Entry{Deadline: e.deadline(), Attempts: e.rest.attempts, Parked: e.rest.parked}
		if e.rest.token != 0 {
			entry.Leased = fromNanoseconds(e.ready)
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
