package deadline

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
	"go.etcd.io/bbolt"
)

// Bolt is a [Store] in a bbolt database, for one process at a time. What its
// methods return without an error is on the disk. Calls that come at the same
// time share a transaction, for which one waits as long as the MaxBatchDelay of
// the database.
type Bolt struct{ db *bbolt.DB }

// The buckets: entries has a boltEntry for each key; ready has nothing but
// keys, each behind the time at which it can be claimed. Parked ones are not
// in it.
var (
	boltRoot    = []byte("deadline")
	boltEntries = []byte("entries")
	boltReady   = []byte("ready")
)

type boltEntry struct {
	Due       time.Time                    `json:"due"`
	Ready     time.Time                    `json:"ready"`
	Reference schema.ConversationReference `json:"reference"`
	App       string                       `json:"app,omitempty"`
	Token     uint64                       `json:"token,omitempty"`
	Attempts  int                          `json:"attempts,omitempty"`
	Parked    string                       `json:"parked,omitempty"`
}

// NewBolt returns the store in db, such as that of a bolt.Storage: state and
// deadlines are then in one file. It uses the bucket "deadline", and brings a
// MaxBatchDelay that was left as it is down to 2 ms, about what a commit takes.
func NewBolt(db *bbolt.DB) (*Bolt, error) {
	if db.MaxBatchDelay == defaultBatchDelay {
		db.MaxBatchDelay = 2 * time.Millisecond
	}
	err := db.Update(func(tx *bbolt.Tx) error {
		root, err := tx.CreateBucketIfNotExists(boltRoot)
		if err != nil {
			return err
		}
		if _, err := root.CreateBucketIfNotExists(boltEntries); err != nil {
			return err
		}
		_, err = root.CreateBucketIfNotExists(boltReady)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("deadline: open: %w", err)
	}
	return &Bolt{db}, nil
}

// update runs f in a transaction, perhaps more than once.
func (b *Bolt) update(ctx context.Context, verb string, f func(*boltTx) error) error {
	return run(ctx, verb, b.db.Batch, f)
}

func (b *Bolt) view(ctx context.Context, verb string, f func(*boltTx) error) error {
	return run(ctx, verb, b.db.View, f)
}

func run(ctx context.Context, verb string, transact func(func(*bbolt.Tx) error) error, f func(*boltTx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := transact(func(tx *bbolt.Tx) error {
		root := tx.Bucket(boltRoot)
		return f(&boltTx{root, root.Bucket(boltEntries), root.Bucket(boltReady)})
	})
	if err != nil {
		return fmt.Errorf("deadline: %s: %w", verb, err)
	}
	return nil
}

type boltTx struct{ root, entries, ready *bbolt.Bucket }

func (t *boltTx) get(key string) (*boltEntry, error) {
	data := t.entries.Get([]byte(key))
	if data == nil {
		return nil, nil
	}
	e := &boltEntry{}
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("entry %q: %w", key, err)
	}
	return e, nil
}

// put stores e under key; old is what was there, or nil.
func (t *boltTx) put(key string, old, e *boltEntry) error {
	if old != nil && old.Parked == "" {
		if err := t.ready.Delete(readyKey(old.Ready, key)); err != nil {
			return err
		}
	}
	if e == nil {
		return t.entries.Delete([]byte(key))
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if e.Parked == "" {
		if err := t.ready.Put(readyKey(e.Ready, key), []byte{}); err != nil {
			return err
		}
	}
	return t.entries.Put([]byte(key), data)
}

const readySize = 8

// defaultBatchDelay is what bbolt.Open sets.
const defaultBatchDelay = 10 * time.Millisecond

// readyKey sorts by time.
func readyKey(ready time.Time, key string) []byte {
	out := binary.BigEndian.AppendUint64(make([]byte, 0, readySize+len(key)), uint64(nanoseconds(ready)))
	return append(out, key...)
}

// Arm implements [Store].
func (b *Bolt) Arm(ctx context.Context, d Deadline) error {
	return b.update(ctx, "arm", func(t *boltTx) error {
		old, err := t.get(d.Key)
		if err != nil {
			old = nil // what cannot be read is replaced
		}
		return t.put(d.Key, old, &boltEntry{Due: d.Due, Ready: d.Due, Reference: d.Reference, App: d.App})
	})
}

// Claim implements [Store].
func (b *Bolt) Claim(ctx context.Context, after, now time.Time, lease time.Duration, limit int) (claims []Claim, next time.Time, err error) {
	from := []byte{}
	if !after.IsZero() {
		from = readyKey(after.Add(1), "")
	}
	err = b.view(ctx, "claim", func(t *boltTx) error {
		next = t.next(from)
		return nil
	})
	if err != nil || next.IsZero() || next.After(now) || limit <= 0 {
		return nil, next, err // nothing to write
	}
	err = b.update(ctx, "claim", func(t *boltTx) error {
		claims = nil // it may be run again
		var keys []string
		last := readyKey(now, "")
		c := t.ready.Cursor()
		for k, _ := c.Seek(from); k != nil && len(keys) < limit && bytes.Compare(k[:readySize], last) <= 0; k, _ = c.Next() {
			keys = append(keys, string(k))
		}
		for _, k := range keys {
			key := k[readySize:]
			e, err := t.get(key)
			if err != nil || e == nil || k != string(readyKey(e.Ready, key)) { // it must not keep the others from being claimed
				if err := t.ready.Delete([]byte(k)); err != nil {
					return err
				}
				continue
			}
			changed := *e
			if changed.Token, err = t.root.NextSequence(); err != nil {
				return err
			}
			changed.Ready = now.Add(lease)
			if err := t.put(key, e, &changed); err != nil {
				return err
			}
			claims = append(claims, Claim{Deadline{key, e.Due, e.Reference, e.App}, strconv.FormatUint(changed.Token, 36), e.Attempts})
		}
		next = t.next(from)
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return claims, next, nil
}

// next returns the first time at or behind from, a key of ready, at which
// something can be claimed, zero for none.
func (t *boltTx) next(from []byte) time.Time {
	k, _ := t.ready.Cursor().Seek(from)
	if k == nil {
		return time.Time{}
	}
	return fromNanoseconds(int64(binary.BigEndian.Uint64(k)))
}

// held calls change with the entry of a claim that is held; it returns what is
// stored instead, nil for nothing.
func (b *Bolt) held(ctx context.Context, verb string, c Claim, change func(e boltEntry) *boltEntry) error {
	return b.update(ctx, verb, func(t *boltTx) error {
		e, err := t.get(c.Key)
		if err != nil {
			return err
		}
		if e == nil || e.Token == 0 || strconv.FormatUint(e.Token, 36) != c.Token {
			return lost(c)
		}
		return t.put(c.Key, e, change(*e))
	})
}

// Renew implements [Store].
func (b *Bolt) Renew(ctx context.Context, c Claim, now time.Time, lease time.Duration) error {
	return b.held(ctx, "renew", c, func(e boltEntry) *boltEntry {
		e.Ready = now.Add(lease)
		return &e
	})
}

// Finish implements [Store].
func (b *Bolt) Finish(ctx context.Context, c Claim) error {
	return b.held(ctx, "finish", c, func(boltEntry) *boltEntry { return nil })
}

// Move implements [Store].
func (b *Bolt) Move(ctx context.Context, c Claim, due time.Time, attempts int) error {
	return b.held(ctx, "move", c, func(e boltEntry) *boltEntry {
		e.Due, e.Ready, e.Token, e.Attempts = due, due, 0, attempts
		return &e
	})
}

// Park implements [Store].
func (b *Bolt) Park(ctx context.Context, c Claim, reason string) error {
	return b.held(ctx, "park", c, func(e boltEntry) *boltEntry {
		e.Token, e.Parked = 0, reason
		return &e
	})
}

// Entries implements [Store].
func (b *Bolt) Entries(ctx context.Context, yield func(Entry) bool) error {
	return b.view(ctx, "list", func(t *boltTx) error {
		c := t.entries.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			var e boltEntry
			if err := json.Unmarshal(v, &e); err != nil { // it is not claimed any more
				e.Parked = "corrupt: " + err.Error()
			}
			entry := Entry{Deadline: Deadline{string(k), e.Due, e.Reference, e.App}, Attempts: e.Attempts, Parked: e.Parked}
			if e.Token != 0 {
				entry.Leased = e.Ready
			}
			if !yield(entry) {
				return nil
			}
		}
		return nil
	})
}
