package cosmos

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/internal/object"
	"github.com/botlapse/botlapse/state"
)

// DeadlinesOptions are options of [NewDeadlines].
type DeadlinesOptions struct {
	// Queue is the name of the queue. Scopes of one bot, each with deadlines of
	// its own, can share a container under different names. The default, for "",
	// is a queue like any other.
	Queue string

	// KeySuffix is put at the end of the name of each partition, so that several
	// bots can share a container: each sees only the deadlines of its own. It
	// must be the same in all replicas of a bot.
	//
	// Queue and KeySuffix must not have characters that ids must not have.
	KeySuffix string
}

const (
	// shards is in how many partitions deadlines are. All replicas must agree
	// on it, and it can never change.
	shards = 8

	// refresh is for how long a Claim believes what an earlier one has found out:
	// that there is nothing to claim in a partition yet.
	refresh = 5 * time.Second

	// settleAttempts is how often a claim is settled that is still held, but of
	// a version that is not the current one.
	settleAttempts = 4
)

// Deadlines is a [deadline.Store] in a Cosmos DB container, for any number of
// processes. The container has the partition key /shard, an index on /ready and
// no default time to live: an [Initializer] makes one.
//
// A deadline is one item. The items of a queue are in 8 partitions, by a hash of
// the key, and are found by queries that each ask one of them. Every change but
// Arm is conditional on the version of the item, so that of all processes one
// has a claim, whatever the consistency level of the account. A claim ends by
// the clock of the process that asks for the next one: the clocks of replicas
// must agree to within a small part of the lease. Times are kept to the
// millisecond, rounded up: nothing is claimed early.
//
// A deadline is claimed by the process that armed it, if that asks in time;
// others give it a head start of up to half a second. What another process has
// armed is found within 5 s, and before it is due if it was armed 30 s before.
//
// In request units of an item of 1 KB, to arm a deadline costs about 6, to claim
// it about 10, and to remove it about 6, or 10 to settle it otherwise. A query
// costs about 3: one for each partition in which something may be due, and for
// all 8 of them once in 5 s, if Claim is called as often.
//
// Of an account with several write regions, all replicas must write to the same
// one: versions are compared within a region.
//
// A claim is to be settled through the Deadlines that made it. Through another
// one of the same container it works too, at the cost of a read; but where
// reads may be behind (with the consistency level Session or less), it may be
// said to be lost while it is not.
//
// Requests are repeated as those of [Storage] are. A change whose answer was
// lost is recognised when it is repeated, also by a later call with the same
// claim. If that cannot be found out in time, the error says that it may have
// been done. A claim that may have been made, but not for certain, is not
// returned: the deadline is claimed again when the lease has ended.
//
// The errors of all methods wrap [deadline.ErrLost], [state.ErrInvalid] for a
// key that is empty or not UTF-8, [ErrNoContainer], [ErrTooLarge], [ErrClosed] or
// a *[StatusError]; see also [Retryable]. Deadlines is safe for concurrent use.
type Deadlines struct {
	container container
	refresh   time.Duration // negative: each Claim asks all partitions, and gives way to nobody
	instance  string        // tells this one from those of other processes
	shards    [shards]*shard
	held      recent[holding] // by token
}

// NewDeadlines returns the deadlines in a container, to which it does not
// connect yet. It panics if the account is nil, a name is empty, or the options
// cannot be used.
func NewDeadlines(account *Account, database, container string, opts *DeadlinesOptions) *Deadlines {
	if account == nil || database == "" || container == "" {
		panic("cosmos: deadlines without account, database or container")
	}
	var o DeadlinesOptions
	if opts != nil {
		o = *opts
	}
	if escape(o.KeySuffix) != o.KeySuffix || escape(o.Queue) != o.Queue {
		panic("cosmos: the key suffix or the queue has characters that ids must not have")
	}
	partition := o.KeySuffix
	if o.Queue != "" {
		partition += "/" + o.Queue // which no suffix has
	}
	d := &Deadlines{refresh: refresh, instance: rand.Text()}
	d.container.account, d.container.database, d.container.name = account, database, container
	d.container.fits = deadlinesLayout
	for i := range d.shards {
		d.shards[i] = newShard(strconv.Itoa(i) + partition)
	}
	return d
}

// deadlinesLayout returns the layout of a container for deadlines.
func deadlinesLayout(p *azcosmos.ContainerProperties) (layout, error) {
	return partitioned, errors.Join(checkDeadlines(p)...)
}

// checkDeadlines returns what is wrong with a container for deadlines.
func checkDeadlines(p *azcosmos.ContainerProperties) (problems []error) {
	if paths := p.PartitionKeyDefinition.Paths; len(paths) != 1 || paths[0] != "/shard" {
		problems = append(problems, fmt.Errorf("the partition key is %s: it must be /shard, and cannot be changed; use another container", strings.Join(paths, ", ")))
	}
	if ttl := p.DefaultTimeToLive; ttl != nil && *ttl > 0 {
		problems = append(problems, fmt.Errorf("it has %s: deadlines would disappear; switch its time to live off, or use another container", ttlText(ttl)))
	}
	if !indexesReady(p.IndexingPolicy) {
		problems = append(problems, errors.New("it has no index on /ready, by which deadlines are found; give it the indexing mode consistent, with the path /ready/? included, or use another container"))
	}
	return problems
}

// indexesReady reports whether the field ready can be ordered by. Of the paths
// that cover it, the longest decides.
func indexesReady(p *azcosmos.IndexingPolicy) bool {
	if p == nil {
		return true
	}
	covering := []string{"/*", "/ready/*", "/ready/?"}
	included, excluded := -1, -1
	for _, path := range p.IncludedPaths {
		included = max(included, slices.Index(covering, strings.ReplaceAll(path.Path, `"`, "")))
	}
	for _, path := range p.ExcludedPaths {
		excluded = max(excluded, slices.Index(covering, strings.ReplaceAll(path.Path, `"`, "")))
	}
	return p.Automatic && !strings.EqualFold(string(p.IndexingMode), "none") && included > excluded
}

// An item is a deadline as it is stored.
type item struct {
	ID       string    `json:"id"`
	Shard    string    `json:"shard"`
	Key      string    `json:"key"`
	Due      time.Time `json:"due"`
	Ready    int64     `json:"ready,omitempty"` // when it can be claimed, in Unix milliseconds; 0 if it is parked
	Data     []byte    `json:"data,omitempty"`
	Token    string    `json:"token,omitempty"` // of the claim; "" if there is none
	Attempts int       `json:"attempts,omitempty"`
	Parked   string    `json:"parked,omitempty"`
	By       string    `json:"by"` // the instance that has set Ready, but for a lease
	WriteID  string    `json:"writeId,omitempty"`
	ETag     string    `json:"_etag,omitempty"` // not written
}

func (it *item) deadline() deadline.Deadline {
	return deadline.Deadline{Key: it.Key, Due: it.Due, Data: bytes.Clone(it.Data)}
}

// milliseconds rounds t up. It is never 0.
func milliseconds(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return max(ms, 1)
}

// place returns where the deadline of a key is stored.
func (d *Deadlines) place(key string) (s *shard, id string, err error) {
	switch {
	case key == "":
		return nil, "", fmt.Errorf("%w: empty key", state.ErrInvalid)
	case !utf8.ValidString(key):
		return nil, "", fmt.Errorf("%w: the key is not UTF-8", state.ErrInvalid)
	}
	sum := sha256.Sum256([]byte(key))
	return d.shards[sum[0]%shards], hex.EncodeToString(sum[:]), nil
}

// write writes an item under the condition of etag.
func (d *Deadlines) write(ctx context.Context, it *item, etag string) (string, error) {
	it.ETag = ""
	data, err := object.Marshal(it)
	if err != nil {
		return "", fmt.Errorf("%w: %w", state.ErrInvalid, err)
	}
	return d.container.write(ctx, it.Shard, it.ID, data, etag, func(found []byte) trace {
		if found != nil && field(found, "writeId") == it.WriteID {
			return current
		}
		return notDone // or somebody has changed it since, and so ended the claim
	})
}

// Arm implements [deadline.Store] by one request, whatever is stored. When it is
// repeated after a lost answer, it also takes the place of what somebody has
// written meanwhile.
func (d *Deadlines) Arm(ctx context.Context, dl deadline.Deadline) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, id, err := d.place(dl.Key)
	if err != nil {
		return fmt.Errorf("cosmos: arm %q: %w", dl.Key, err)
	}
	it := &item{ID: id, Shard: s.name, Key: dl.Key, Due: dl.Due.UTC(), Ready: milliseconds(dl.Due), Data: dl.Data, By: d.instance}
	_, err = d.write(ctx, it, "")
	s.lower(it.Ready) // also if it is an error: it may be there
	if err != nil {
		return fmt.Errorf("cosmos: arm %q: %w", dl.Key, err)
	}
	return nil
}

// A holding is what is known of a claim that this process has made.
type holding struct {
	item  *item // which is not changed
	etag  string
	tried string // the writeId of a change that may have been made, though it failed
}

// load returns the item of a deadline, nil if there is none.
func (d *Deadlines) load(ctx context.Context, s *shard, id string) (*item, string, error) {
	data, etag, err := d.container.read(ctx, s.name, id)
	if data == nil || err != nil {
		return nil, "", err
	}
	it := &item{}
	if err := json.Unmarshal(data, it); err != nil {
		return nil, "", fmt.Errorf("%w: %w", state.ErrCorrupt, err)
	}
	return it, etag, nil
}

// Settle implements [deadline.Store].
func (d *Deadlines) Settle(ctx context.Context, c deadline.Claim, o deadline.Outcome) error {
	// A write id is the same whenever the same is to be done to a claim.
	attempts := strconv.Itoa(o.Attempts)
	switch {
	case !o.Held.IsZero():
		return d.settle(ctx, c, rand.Text(), func(it *item) { it.Ready = milliseconds(o.Held) })
	case !o.Due.IsZero():
		return d.settle(ctx, c, writeID("move", c.Token, o.Due.String(), attempts), func(it *item) {
			it.Due, it.Ready, it.Token, it.Attempts, it.By = o.Due.UTC(), milliseconds(o.Due), "", o.Attempts, d.instance
		})
	case o.Parked != "":
		return d.settle(ctx, c, writeID("park", c.Token, o.Parked, attempts), func(it *item) {
			it.Ready, it.Token, it.Attempts, it.Parked = 0, "", o.Attempts, o.Parked
		})
	}
	return d.settle(ctx, c, writeID("remove", c.Token), nil)
}

// writeID returns what is the same whenever the same is to be done.
func writeID(what ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(what, "\x00")))
	return hex.EncodeToString(sum[:])
}

// settle changes the item of a claim; a change of nil removes it.
func (d *Deadlines) settle(ctx context.Context, c deadline.Claim, writeID string, change func(*item)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	failed := func(err error) error { return fmt.Errorf("cosmos: settle %q: %w", c.Key, err) }
	s, id, err := d.place(c.Key)
	if err != nil {
		return failed(err)
	}
	h, _ := d.held.get(c.Token)
	for range settleAttempts {
		if h.item == nil {
			it, etag, err := d.load(ctx, s, id)
			switch {
			case err != nil:
				return failed(err)
			case h.tried == writeID && (change == nil && it == nil || it != nil && it.WriteID == writeID):
				d.held.forget(c.Token)
				return nil // it had been done
			case it == nil || it.Token != c.Token || c.Token == "":
				d.held.forget(c.Token)
				return failed(deadline.ErrLost)
			}
			h.item, h.etag = it, etag
		}
		it, etag, unknown := *h.item, "", false
		if change == nil {
			it.Token = ""
			unknown, err = d.container.remove(ctx, s.name, id, h.etag)
		} else {
			it.WriteID = writeID
			change(&it)
			etag, err = d.write(ctx, &it, h.etag)
			if it.Ready > 0 {
				s.lower(it.Ready) // also if it is an error: it may be there
			}
			unknown = err != nil
		}
		if unknown {
			h.tried = writeID
		}
		switch {
		case err == nil && it.Token == "":
			d.held.forget(c.Token)
			return nil
		case err == nil:
			d.held.set(c.Token, holding{item: &it, etag: etag})
			return nil
		case !errors.Is(err, state.ErrConflict):
			d.held.set(c.Token, h)
			return failed(err)
		}
		h.item = nil
	}
	return failed(fmt.Errorf("%w: others change it all the time", state.ErrConflict))
}

// All implements [deadline.Store], by queries of one partition after the other.
func (d *Deadlines) All(ctx context.Context) iter.Seq2[deadline.Entry, error] {
	return func(yield func(deadline.Entry, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(deadline.Entry{}, err)
			return
		}
		for _, s := range d.shards {
			enough := false
			err := d.container.query(ctx, s.name, "SELECT * FROM c", nil, -1, func(data []byte) bool {
				var it item
				if err := json.Unmarshal(data, &it); err != nil { // it is not claimed any more
					it.Parked = "corrupt: " + err.Error()
				}
				e := deadline.Entry{Deadline: it.deadline(), Attempts: it.Attempts, Parked: it.Parked}
				if it.Token != "" {
					e.Leased = time.UnixMilli(it.Ready)
				}
				enough = !yield(e, nil)
				return !enough
			})
			if err != nil {
				yield(deadline.Entry{}, fmt.Errorf("cosmos: list: %w", err))
			}
			if enough || err != nil {
				return
			}
		}
	}
}

// Ready reports, by nil, that the container can be read. It reads an item that is
// not there, for one request unit.
func (d *Deadlines) Ready(ctx context.Context) error {
	if _, _, err := d.container.read(ctx, d.shards[0].name, "ready"); err != nil {
		return fmt.Errorf("cosmos: deadlines: %w", err)
	}
	return nil
}

// headStart returns how long others leave a deadline to the one that armed it:
// not all equally long, lest they fight for it.
func (d *Deadlines) headStart(it *item) int64 {
	const least, most = 100, 500 // milliseconds
	if it.By == d.instance || d.refresh < 0 {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(it.ID + d.instance))
	return least + int64(h.Sum32()%(most-least+1))
}
