package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/state"
)

// The deadlines are in the bucket "deadlines", in which each queue has a bucket
// of its name with two buckets in it:
//
//	"entries"  key → version, time, attempts, size of the reason, reason, data
//	"due"      time, key → nothing; for the deadlines that are not parked
//
// Numbers are as in "state", but times are microseconds since 1970. A version is never used again in its queue: it
// tells a claim that the deadline was armed anew.
var (
	deadlinesBucket = []byte("deadlines")
	entriesBucket   = []byte("entries")
	dueBucket       = []byte("due")
)

// listed is how many deadlines All reads at once.
const listed = 256

// Deadlines is a queue of deadlines in the file of a [Storage], a
// [deadline.Store]. [Storage.Deadlines] returns one. It is safe for concurrent use.
//
// What Arm and Settle return without an error is on the disk. They share their
// transactions with the writes of the storage and with each other, and what their
// errors mean is as with [Storage.Write].
//
// Claims are in memory, because nobody else has the file: who opens it finds
// nothing claimed. A claim, and to prolong it, costs no write.
type Deadlines struct {
	storage *Storage
	name    []byte

	mu      sync.Mutex
	claims  map[string]lease // by key
	counter uint64
}

// A lease is a claim that is held, or was when its lease ended.
type lease struct {
	token   string
	version uint64 // of the entry that is claimed
	until   uint64
}

// Deadlines returns the queue of a name, the same one each time. Bots that share
// the file, and scopes of one bot, have a queue each. It panics if the name is
// empty.
func (s *Storage) Deadlines(name string) *Deadlines {
	if name == "" {
		panic("bolt: deadlines without a name")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.queues[name]
	if d == nil {
		d = &Deadlines{storage: s, name: []byte(name), claims: make(map[string]lease)}
		if s.queues == nil {
			s.queues = make(map[string]*Deadlines)
		}
		s.queues[name] = d
	}
	return d
}

// A queue is what a transaction sees of the deadlines.
type queue struct{ entries, due *bbolt.Bucket }

// queueOf returns the queue in a transaction, nil if nothing was ever armed.
func (d *Deadlines) queueOf(tx *bbolt.Tx) *queue {
	b := tx.Bucket(deadlinesBucket)
	if b != nil {
		b = b.Bucket(d.name)
	}
	if b == nil {
		return nil
	}
	return &queue{b.Bucket(entriesBucket), b.Bucket(dueBucket)}
}

// create makes the buckets that are missing.
func (d *Deadlines) create(tx *bbolt.Tx) (*queue, error) {
	b, err := tx.CreateBucketIfNotExists(deadlinesBucket)
	if err != nil {
		return nil, err
	}
	if b, err = b.CreateBucketIfNotExists(d.name); err != nil {
		return nil, err
	}
	entries, err := b.CreateBucketIfNotExists(entriesBucket)
	if err != nil {
		return nil, err
	}
	due, err := b.CreateBucketIfNotExists(dueBucket)
	return &queue{entries, due}, err
}

// An entry is a stored deadline. Its slices are valid until the end of the
// transaction.
type entry struct {
	version, due uint64
	attempts     uint32
	parked, data []byte
}

const entryHeaderSize = 8 + timeSize + 4 + 4

var errEntry = errors.New("the deadline is damaged")

// get returns the deadline of a key. There is none if version is 0.
func (q *queue) get(key []byte) (e entry, err error) {
	b := q.entries.Get(key)
	if b == nil {
		return e, nil
	}
	return decodeEntry(b)
}

func decodeEntry(b []byte) (e entry, err error) {
	if len(b) < entryHeaderSize {
		return e, errEntry
	}
	e.version, e.due = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	e.attempts = binary.BigEndian.Uint32(b[16:])
	rest, size := b[entryHeaderSize:], binary.BigEndian.Uint32(b[20:])
	if uint64(size) > uint64(len(rest)) {
		return entry{}, errEntry
	}
	e.parked, e.data = rest[:size], rest[size:]
	return e, nil
}

// put stores e under key in place of old, with a version of its own.
func (q *queue) put(key []byte, old, e entry) (version uint64, err error) {
	if err := q.unlist(key, old); err != nil {
		return 0, err
	}
	if version, err = q.entries.NextSequence(); err != nil {
		return 0, err
	}
	b := make([]byte, 0, entryHeaderSize+len(e.parked)+len(e.data))
	b = binary.BigEndian.AppendUint64(b, version)
	b = binary.BigEndian.AppendUint64(b, e.due)
	b = binary.BigEndian.AppendUint32(b, e.attempts)
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.parked)))
	b = append(append(b, e.parked...), e.data...)
	if err := q.entries.Put(key, b); err != nil || len(e.parked) > 0 {
		return version, err
	}
	return version, q.due.Put(expiryKey(e.due, key), nil)
}

// unlist takes e out of those that come due.
func (q *queue) unlist(key []byte, e entry) error {
	if e.version == 0 || len(e.parked) > 0 {
		return nil
	}
	return q.due.Delete(expiryKey(e.due, key))
}

// Arm implements [deadline.Store].
func (d *Deadlines) Arm(ctx context.Context, dl deadline.Deadline) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if dl.Key == "" || len(dl.Key) > maxKeySize {
		return fmt.Errorf("bolt: arm %.40q: %w: key of %d bytes", dl.Key, state.ErrInvalid, len(dl.Key))
	}
	key := []byte(dl.Key)
	var version uint64
	err := d.storage.do(ctx, &call{verb: "arm", keys: []string{dl.Key}, apply: func(_ *call, tx *bbolt.Tx, _ *file) (int, error) {
		q, err := d.create(tx)
		if err != nil {
			return 0, err
		}
		old, err := q.get(key)
		if err != nil {
			old = entry{} // what cannot be read is replaced
		}
		version, err = q.put(key, old, entry{due: microseconds(dl.Due), data: dl.Data})
		return 1, err
	}})
	if err == nil {
		d.cancel(dl.Key, version)
	}
	return err
}

// Claim implements [deadline.Store].
func (d *Deadlines) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) (claims []deadline.Claim, next time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	at, until := uint64(max(now.UnixMicro(), 0)), microseconds(now.Add(lease))
	first := uint64(math.MaxUint64) // when there may be something more
	err = d.view("claim", func(q *queue) {
		c := q.due.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			due, key := binary.BigEndian.Uint64(k), k[timeSize:]
			if due > at {
				first = min(first, due)
				break
			}
			e, err := q.get(key)
			if err != nil || e.version == 0 || e.due != due {
				continue // it must not keep the others from being claimed
			}
			token, held := d.take(string(key), e.version, at, until, len(claims) < limit)
			if held > at {
				first = min(first, held)
				continue
			}
			if token == "" {
				first = min(first, due)
				break
			}
			claims = append(claims, deadline.Claim{
				Deadline: deadline.Deadline{Key: string(key), Due: fromMicroseconds(due), Data: bytes.Clone(e.data)},
				Token:    token,
				Attempts: int(e.attempts),
			})
		}
	})
	if err == nil && len(claims) > 0 {
		claims, err = d.verify(claims)
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	if first < math.MaxUint64 {
		next = fromMicroseconds(first)
	}
	return claims, next, nil
}

// view calls f with the queue, if anything was ever armed.
func (d *Deadlines) view(verb string, f func(q *queue)) error {
	err := d.storage.db.View(func(tx *bbolt.Tx) error {
		if q := d.queueOf(tx); q != nil {
			f(q)
		}
		return nil
	})
	if err != nil {
		return failed(verb, nil, err)
	}
	return nil
}

// verify returns those of the claims whose deadlines are as they were claimed: others
// were changed after the transaction had begun in which they were found.
func (d *Deadlines) verify(claims []deadline.Claim) ([]deadline.Claim, error) {
	err := d.view("claim", func(q *queue) {
		claims = slices.DeleteFunc(claims, func(c deadline.Claim) bool {
			l, ok := d.holds(c)
			e, err := q.get([]byte(c.Key))
			if ok && err == nil && e.version == l.version {
				return false
			}
			d.forget(c)
			return true
		})
	})
	return claims, err
}

// take claims a version of a deadline, if it may, and if nobody holds that or a
// later one at the time. Held is until when somebody does.
func (d *Deadlines) take(key string, version, at, until uint64, may bool) (token string, held uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.claims[key]; ok && l.version >= version && l.until > at {
		return "", l.until
	}
	if !may {
		return "", 0
	}
	d.counter++
	token = strconv.FormatUint(d.counter, 36)
	d.claims[key] = lease{token, version, until}
	return token, 0
}

// holds returns the lease of a claim, if it is held.
func (d *Deadlines) holds(c deadline.Claim) (l lease, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, ok = d.claims[c.Key]
	return l, ok && l.token == c.Token
}

// prolong holds a claim until a time. It reports false if the claim is lost.
func (d *Deadlines) prolong(c deadline.Claim, until uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, ok := d.claims[c.Key]
	if !ok || l.token != c.Token {
		return false
	}
	l.until = until
	d.claims[c.Key] = l
	return true
}

// forget drops a claim that is over.
func (d *Deadlines) forget(c deadline.Claim) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claims[c.Key].token == c.Token {
		delete(d.claims, c.Key)
	}
}

// cancel drops the claim of a version before this one.
func (d *Deadlines) cancel(key string, version uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claims[key].version < version {
		delete(d.claims, key)
	}
}

// Settle implements [deadline.Store].
func (d *Deadlines) Settle(ctx context.Context, c deadline.Claim, o deadline.Outcome) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	lost := fmt.Errorf("bolt: settle %q: %w", c.Key, deadline.ErrLost)
	if !o.Held.IsZero() {
		if !d.prolong(c, microseconds(o.Held)) {
			return lost
		}
		return nil
	}
	err := d.storage.do(ctx, &call{verb: "settle", keys: []string{c.Key}, apply: func(call *call, tx *bbolt.Tx, _ *file) (int, error) {
		l, ok := d.holds(c)
		q := d.queueOf(tx)
		if !ok || q == nil {
			call.err = lost
			return 0, nil
		}
		key := []byte(c.Key)
		e, err := q.get(key)
		if err != nil {
			return 0, err
		}
		if e.version != l.version { // perhaps changed by a call before this one in the transaction
			call.err = lost
			return 0, nil
		}
		changed := entry{due: e.due, attempts: uint32(o.Attempts), parked: []byte(o.Parked), data: bytes.Clone(e.data)}
		switch {
		case !o.Due.IsZero():
			changed.due = microseconds(o.Due)
		case o.Parked == "":
			return 1, errors.Join(q.unlist(key, e), q.entries.Delete(key))
		}
		_, err = q.put(key, e, changed)
		return 1, err
	}})
	if err == nil || errors.Is(err, deadline.ErrLost) {
		d.forget(c)
	}
	return err
}

// All implements [deadline.Store]. It reads some hundred deadlines at once.
func (d *Deadlines) All(ctx context.Context) iter.Seq2[deadline.Entry, error] {
	return func(yield func(deadline.Entry, error) bool) {
		var after []byte
		for {
			entries, err := d.read(ctx, after)
			if err != nil {
				yield(deadline.Entry{}, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			if len(entries) < listed {
				return
			}
			after = []byte(entries[len(entries)-1].Key)
		}
	}
}

// read returns the deadlines whose keys come after one, some of them.
func (d *Deadlines) read(ctx context.Context, after []byte) (entries []deadline.Entry, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = d.view("list", func(q *queue) {
		c := q.entries.Cursor()
		k, v := c.Seek(after)
		if k != nil && bytes.Equal(k, after) {
			k, v = c.Next()
		}
		for ; k != nil && len(entries) < listed; k, v = c.Next() {
			e, err := decodeEntry(v)
			if err != nil { // it is not claimed
				e = entry{parked: []byte("corrupt: " + err.Error())}
			}
			found := deadline.Entry{
				Deadline: deadline.Deadline{Key: string(k), Due: fromMicroseconds(e.due), Data: bytes.Clone(e.data)},
				Attempts: int(e.attempts),
				Parked:   string(e.parked),
			}
			d.mu.Lock()
			if l, ok := d.claims[found.Key]; ok && l.version == e.version {
				found.Leased = fromMicroseconds(l.until)
			}
			d.mu.Unlock()
			entries = append(entries, found)
		}
	})
	return entries, err
}

// microseconds rounds t up, so that nothing comes due early.
func microseconds(t time.Time) uint64 {
	us := t.UnixMicro()
	if t.After(time.UnixMicro(us)) {
		us++
	}
	return uint64(max(us, 0))
}

func fromMicroseconds(us uint64) time.Time { return time.UnixMicro(int64(us)) }
