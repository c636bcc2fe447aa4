package cosmos

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/internal/object"
	"github.com/botlapse/botlapse/state"
)

// DeadlinesOptions are options of [NewDeadlines].
type DeadlinesOptions struct {
	// KeySuffix is put at the end of the name of each partition, so that several
	// bots can share a container: each sees only the deadlines of its own. It
	// must be the same in all replicas of a bot, and have no character that ids
	// must not have.
	KeySuffix string

	// Parallel is how many requests one call makes at once. The default, for
	// 0, is 16.
	Parallel int

	// Refresh is for how long a Claim believes what an earlier one has found
	// out: that there is nothing to claim in a partition yet. So long a deadline
	// that another process has armed may go unnoticed, on top of its time; those
	// of the same process are known at once. The default, for 0, is 5 s. Negative
	// means that each Claim asks all partitions, and that no process gives way to
	// another one.
	Refresh time.Duration
}

const (
	// shards is in how many partitions deadlines are. All replicas must agree
	// on it, and it can never change.
	shards = 8

	defaultRefresh = 5 * time.Second

	// settleAttempts is how often a claim is settled that is still held, but of
	// a version that is not the current one.
	settleAttempts = 4
)

// Deadlines is a [deadline.Store] in a Cosmos DB container, for any number of
// processes. The container has the partition key /shard, an index on /ready and
// no default time to live: an [Initializer] makes one.
//
// A deadline is one item. The items of a bot are in 8 partitions, by a hash of
// the key, and are found by queries that each ask one of them. Every change but
// Arm is conditional on the version of the item, so that of all processes one
// has a claim, whatever the consistency level of the account. A claim ends by
// the clock of the process that asks for the next one: the clocks of replicas
// must agree to within a small part of the lease. Times are kept to the
// millisecond, rounded up: nothing is claimed early.
//
// A deadline is claimed by the process that armed it, if that asks in time;
// others give it a head start of up to half a second. What another process has
// armed is found by the first Claim after [DeadlinesOptions].Refresh, or 30 s
// before it is due.
//
// In request units of an item of 1 KB, to arm a deadline costs about 6, to claim
// it about 10, and to finish it about 6, or 10 to renew, move or park it. A query
// costs about 3: one for each partition in which something may be due, and for
// all 8 of them once in a Refresh, if Claim is called as often.
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
	parallel  int
	refresh   time.Duration
	instance  string // tells this one from those of other processes
	shards    [shards]*shard
	held      recent[holding] // by token
}

// NewDeadlines returns the deadlines in a container, to which it does not
// connect yet. It panics if the account is nil, a name is empty, or the suffix
// cannot be used.
func NewDeadlines(account *Account, database, container string, opts *DeadlinesOptions) *Deadlines {
	if account == nil || database == "" || container == "" {
		panic("cosmos: deadlines without account, database or container")
	}
	var o DeadlinesOptions
	if opts != nil {
		o = *opts
	}
	if escape(o.KeySuffix) != o.KeySuffix {
		panic("cosmos: the key suffix has characters that ids must not have")
	}
	d := &Deadlines{
		parallel: cmp.Or(max(o.Parallel, 0), defaultParallel),
		refresh:  cmp.Or(o.Refresh, defaultRefresh),
		instance: rand.Text(),
	}
	d.container.account, d.container.database, d.container.name = account, database, container
	d.container.fits = deadlinesLayout
	for i := range d.shards {
		d.shards[i] = newShard(strconv.Itoa(i) + o.KeySuffix)
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
	ID        string                       `json:"id"`
	Shard     string                       `json:"shard"`
	Key       string                       `json:"key"`
	Due       time.Time                    `json:"due"`
	Ready     int64                        `json:"ready,omitempty"` // when it can be claimed, in Unix milliseconds; 0 if it is parked
	Reference schema.ConversationReference `json:"reference"`
	App       string                       `json:"app,omitempty"`
	Token     string                       `json:"token,omitempty"` // of the claim; "" if there is none
	Attempts  int                          `json:"attempts,omitempty"`
	Parked    string                       `json:"parked,omitempty"`
	By        string                       `json:"by"` // the instance that has set Ready, but for a lease
	WriteID   string                       `json:"writeId,omitempty"`
	ETag      string                       `json:"_etag,omitempty"` // not written
}

func (it *item) deadline() deadline.Deadline {
	return deadline.Deadline{Key: it.Key, Due: it.Due, Reference: it.Reference, App: it.App}
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
	it := &item{ID: id, Shard: s.name, Key: dl.Key, Due: dl.Due.UTC(), Ready: milliseconds(dl.Due), Reference: dl.Reference, App: dl.App, By: d.instance}
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

// settle changes the item of a claim; a change of nil removes it. WriteID is the
// same whenever the same is to be done to a claim.
func (d *Deadlines) settle(ctx context.Context, verb string, c deadline.Claim, writeID string, change func(*item)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	failed := func(err error) error { return fmt.Errorf("cosmos: %s %q: %w", verb, c.Key, err) }
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

// Renew implements [deadline.Store].
func (d *Deadlines) Renew(ctx context.Context, c deadline.Claim, now time.Time, lease time.Duration) error {
	return d.settle(ctx, "renew", c, rand.Text(), func(it *item) { it.Ready = milliseconds(now.Add(lease)) })
}

// writeID returns what is the same whenever the same is to be done.
func writeID(what ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(what, "\x00")))
	return hex.EncodeToString(sum[:])
}

// Finish implements [deadline.Store].
func (d *Deadlines) Finish(ctx context.Context, c deadline.Claim) error {
	return d.settle(ctx, "finish", c, "finish "+c.Token, nil)
}

// Move implements [deadline.Store].
func (d *Deadlines) Move(ctx context.Context, c deadline.Claim, due time.Time, attempts int) error {
	return d.settle(ctx, "move", c, writeID("move", c.Token, due.String(), strconv.Itoa(attempts)), func(it *item) {
		it.Due, it.Ready, it.Token, it.Attempts, it.By = due.UTC(), milliseconds(due), "", attempts, d.instance
	})
}

// Park implements [deadline.Store].
func (d *Deadlines) Park(ctx context.Context, c deadline.Claim, reason string) error {
	return d.settle(ctx, "park", c, writeID("park", c.Token, reason), func(it *item) {
		it.Ready, it.Token, it.Parked = 0, "", reason
	})
}

// Entries implements [deadline.Store], by queries of one partition after the
// other.
func (d *Deadlines) Entries(ctx context.Context, yield func(deadline.Entry) bool) error {
	if err := ctx.Err(); err != nil {
		return err
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
			enough = !yield(e)
			return !enough
		})
		if err != nil {
			return fmt.Errorf("cosmos: list: %w", err)
		}
		if enough {
			break
		}
	}
	return nil
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
