package cosmos

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/state"
)

// lookahead is how far ahead of the time of a Claim it looks for the next one.
const lookahead = 30 * time.Second

const (
	// findTimeout bounds the queries of a Claim: those shards that have answered
	// do not wait for one that does not. It is not asked again for findPause.
	findTimeout = time.Second
	findPause   = 5 * time.Second

	// leastPage is the least that is asked for: items that cannot be read must
	// not fill a page.
	leastPage = 32
)

// A shard is one partition, and what is known of it: as of a time, nothing
// could be claimed before next. Times such as next are in Unix milliseconds.
type shard struct {
	name string

	mu     sync.Mutex
	at     time.Time // zero if nothing is known
	next   int64
	failed time.Time // when a query has, zero if the last one has not
	// For each query that is under way, the least that lower was told since it
	// was sent, which it may have missed.
	missed map[*int64]bool
}

func newShard(name string) *shard { return &shard{name: name, missed: make(map[*int64]bool)} }

// known returns next, if it is known well enough at now.
func (s *shard) known(now time.Time, refresh time.Duration) (next int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := now.Sub(s.failed); !s.failed.IsZero() && refresh > 0 && age >= 0 && age < findPause {
		return s.failed.Add(findPause).UnixMilli(), true
	}
	age := now.Sub(s.at)
	return s.next, !s.at.IsZero() && age >= 0 && age < refresh
}

// lower takes note that this process has stored what can be claimed at ready.
func (s *shard) lower(ready int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = min(s.next, ready)
	for m := range s.missed {
		*m = min(*m, ready)
	}
}

// ask takes note that a query is sent. Learn must be called with what it returns.
func (s *shard) ask() *int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(int64(math.MaxInt64))
	s.missed[m] = true
	return m
}

// learn takes note of what a query has found, unless at is zero, and of when it
// has failed, zero if it has not. It returns next with what it may have missed.
func (s *shard) learn(missed *int64, at time.Time, next int64, failed time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = failed
	delete(s.missed, missed)
	next = min(next, *missed)
	if !at.IsZero() {
		s.at, s.next = at, next
	}
	return next
}

// A candidate is an item that was found.
type candidate struct {
	item
	from int64 // when this process may claim it, as far as is known
	won  bool
}

// A look is what a Claim knows of a shard.
type look struct {
	shard  *shard
	missed *int64       // nil if it had not to ask
	found  []*candidate // in order of Ready
	last   int64        // Ready of the last one
	more   bool         // perhaps, from last on
	failed bool
	next   int64
}

// Claim implements [deadline.Store]. It asks only those partitions in which
// something may be due. What others have claimed meanwhile it leaves out, and
// goes on with what comes next. Where a part of the requests fail it returns
// the claims that were made all the same, and an error only if there are none.
func (d *Deadlines) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]deadline.Claim, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, max(lease/2, time.Second)) // a claim that comes late is of no use
	defer cancel()
	limit = max(limit, 0)

	finding, stop := context.WithTimeout(ctx, findTimeout)
	defer stop()
	looks := make([]*look, shards)
	for i, s := range d.shards {
		looks[i] = &look{shard: s}
	}
	errs := each(defaultParallel, looks, func(l *look) error {
		var known bool
		if l.next, known = l.shard.known(now, d.refresh); known && l.next > now.UnixMilli() {
			return nil
		}
		l.missed = l.shard.ask()
		// What comes first is spread evenly over the shards, most of the time.
		return d.find(finding, l, now, max(leastPage, limit/4+8)+1)
	})
	due := eligible(looks, now)
	if short := slices.DeleteFunc(slices.Clone(looks), func(l *look) bool { return !l.isShort(due, limit) }); len(short) > 0 {
		errs = append(errs, each(defaultParallel, short, func(l *look) error { return d.find(finding, l, now, limit+1) })...)
		due = eligible(looks, now)
	}

	var claims []deadline.Claim
	for len(claims) < limit && len(due) > 0 && ctx.Err() == nil {
		batch := due[:min(limit-len(claims), len(due))]
		due = due[len(batch):]
		errs = append(errs, each(defaultParallel, batch, func(c *candidate) error { return d.claim(ctx, c, now, lease) })...)
		for _, c := range batch {
			if c.won {
				claims = append(claims, deadline.Claim{Deadline: c.deadline(), Token: c.Token, Attempts: c.Attempts})
			}
		}
	}

	next := now.Add(lookahead).UnixMilli()
	for _, l := range looks {
		next = min(next, l.conclude(now))
	}
	if len(errs) > 0 {
		if len(claims) == 0 {
			err := errs[0]
			if caller.Err() == nil {
				err = notDeadline(err)
			}
			return nil, time.Time{}, fmt.Errorf("cosmos: claim: %w", err)
		}
	}
	return claims, time.UnixMilli(next), nil
}

// find asks a shard for what comes first, a number of items.
func (d *Deadlines) find(ctx context.Context, l *look, now time.Time, n int) error {
	parameters := []azcosmos.QueryParameter{{Name: "@n", Value: n}, {Name: "@until", Value: now.Add(lookahead).UnixMilli()}}
	l.found, l.last = nil, math.MaxInt64
	rows := 0
	err := d.container.query(ctx, l.shard.name, "SELECT TOP @n * FROM c WHERE c.ready <= @until ORDER BY c.ready", parameters, n, func(data []byte) bool {
		rows++
		c := &candidate{}
		if json.Unmarshal(data, &c.item) == nil { // else it must not keep the others from being claimed
			c.from = c.Ready + d.headStart(&c.item)
			l.found, l.last = append(l.found, c), c.Ready
		}
		return rows < n
	})
	l.more, l.failed = rows >= n, err != nil
	return err
}

// eligible returns what can be claimed at now, in order.
func eligible(looks []*look, now time.Time) (due []*candidate) {
	for _, l := range looks {
		for _, c := range l.found {
			if c.from <= now.UnixMilli() {
				due = append(due, c)
			}
		}
	}
	slices.SortFunc(due, func(a, b *candidate) int { return cmp.Or(cmp.Compare(a.Ready, b.Ready), cmp.Compare(a.ID, b.ID)) })
	return due
}

// isShort reports whether there may be more in the shard that is among the first
// ones, as many as limit, of what is due.
func (l *look) isShort(due []*candidate, limit int) bool {
	if !l.more || len(l.found) > limit || limit == 0 {
		return false
	}
	return len(due) < limit || l.last <= due[limit-1].Ready
}

// claim claims an item, unless somebody has changed it.
func (d *Deadlines) claim(ctx context.Context, c *candidate, now time.Time, lease time.Duration) error {
	it := c.item
	it.Token, it.Ready = rand.Text(), milliseconds(now.Add(lease))
	it.WriteID = it.Token
	etag, err := d.write(ctx, &it, c.ETag)
	if err != nil && !errors.Is(err, state.ErrConflict) {
		return err
	}
	c.from = it.Ready // also if somebody else has claimed it, for about as long
	if err == nil {
		c.item, c.won = it, true
		d.held.set(it.Token, holding{item: &it, etag: etag})
	}
	return nil
}

// conclude returns when there may be something to claim in the shard, and keeps
// that for later.
func (l *look) conclude(now time.Time) (next int64) {
	if l.missed == nil {
		return l.next
	}
	next = now.Add(lookahead).UnixMilli()
	for _, c := range l.found {
		next = min(next, c.from)
	}
	if l.more {
		next = min(next, l.last)
	}
	at, failed := now, time.Time{}
	if l.failed {
		failed = now
		next = min(next, now.Add(findPause).UnixMilli())
		at = time.Time{} // nothing is known
	}
	return l.shard.learn(l.missed, at, next, failed)
}
