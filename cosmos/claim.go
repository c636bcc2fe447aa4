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

// lookahead is how far beyond now a Claim asks, so that it can say what is next.
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

// A shard is one partition, and what this process knows of it: a query at asOf has
// shown that nothing can be claimed before next. Times such as next are in Unix
// milliseconds.
type shard struct {
	name string

	mu     sync.Mutex
	asOf   time.Time // zero if nothing is known
	next   int64
	failed time.Time // when a query has, zero if the last one has not

	// missed maps each running query to the earliest ready time that this process
	// has stored after the query was sent. The query may not have seen that item.
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
	age := now.Sub(s.asOf)
	return s.next, !s.asOf.IsZero() && age >= 0 && age < refresh
}

// lower makes next no later than ready, because this process has stored an item
// that can be claimed then.
func (s *shard) lower(ready int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = min(s.next, ready)
	for m := range s.missed {
		*m = min(*m, ready)
	}
}

// ask must be called before a query is sent, and learn with what ask has returned.
func (s *shard) ask() *int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(int64(math.MaxInt64))
	s.missed[m] = true
	return m
}

// learn keeps next, which a query has found, unless asOf is zero, because the query
// has not answered for the whole shard; failed is when it has failed, zero if it
// has not. It returns the earlier of next and of what the query may have missed.
func (s *shard) learn(missed *int64, asOf time.Time, next int64, failed time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = failed
	delete(s.missed, missed)
	next = min(next, *missed)
	if !asOf.IsZero() {
		s.asOf, s.next = asOf, next
	}
	return next
}

// A candidate is an item that was found.
type candidate struct {
	item
	from int64 // when this process may claim it, as far as is known
	won  bool
}

// A finding is what a Claim has found in a shard.
type finding struct {
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

	quick, stop := context.WithTimeout(ctx, findTimeout)
	defer stop()
	findings := make([]*finding, shards)
	for i, s := range d.shards {
		findings[i] = &finding{shard: s}
	}
	errs := each(defaultParallel, findings, func(f *finding) error {
		var known bool
		if f.next, known = f.shard.known(now, d.refresh); known && f.next > now.UnixMilli() {
			return nil
		}
		f.missed = f.shard.ask()
		// What comes first is spread evenly over the shards, most of the time.
		return d.find(quick, f, now, max(leastPage, limit/4+8)+1)
	})
	due := eligible(findings, now)
	if short := slices.DeleteFunc(slices.Clone(findings), func(f *finding) bool { return !f.isShort(due, limit) }); len(short) > 0 {
		errs = append(errs, each(defaultParallel, short, func(f *finding) error { return d.find(quick, f, now, limit+1) })...)
		due = eligible(findings, now)
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
	for _, f := range findings {
		next = min(next, f.conclude(now))
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
func (d *Deadlines) find(ctx context.Context, f *finding, now time.Time, n int) error {
	parameters := []azcosmos.QueryParameter{{Name: "@n", Value: n}, {Name: "@until", Value: now.Add(lookahead).UnixMilli()}}
	f.found, f.last = nil, math.MaxInt64
	rows := 0
	err := d.container.query(ctx, f.shard.name, "SELECT TOP @n * FROM c WHERE c.ready <= @until ORDER BY c.ready", parameters, n, func(data []byte) bool {
		rows++
		c := &candidate{}
		if json.Unmarshal(data, &c.item) == nil { // else it must not keep the others from being claimed
			c.from = c.Ready + d.headStart(&c.item)
			f.found, f.last = append(f.found, c), c.Ready
		}
		return rows < n
	})
	f.more, f.failed = rows >= n, err != nil
	return err
}

// eligible returns what can be claimed at now, in order.
func eligible(findings []*finding, now time.Time) (due []*candidate) {
	for _, f := range findings {
		for _, c := range f.found {
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
func (f *finding) isShort(due []*candidate, limit int) bool {
	if !f.more || len(f.found) > limit || limit == 0 {
		return false
	}
	return len(due) < limit || f.last <= due[limit-1].Ready
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
func (f *finding) conclude(now time.Time) (next int64) {
	if f.missed == nil {
		return f.next
	}
	next = now.Add(lookahead).UnixMilli()
	for _, c := range f.found {
		next = min(next, c.from)
	}
	if f.more {
		next = min(next, f.last)
	}
	asOf, failed := now, time.Time{}
	if f.failed {
		failed = now
		next = min(next, now.Add(findPause).UnixMilli())
		asOf = time.Time{}
	}
	return f.shard.learn(f.missed, asOf, next, failed)
}
