package cosmos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/internal/object"
	"github.com/botlapse/botlapse/state"
)

// Options are options of [New].
type Options struct {
	// KeySuffix is put at the end of every id, so that several bots can share
	// a container. As in the official SDKs, ids are then not cut to 255
	// characters. It must be such that escaping does not change it.
	KeySuffix string

	// Parallel is how many requests one call makes at once. The default, for
	// 0, is 16.
	Parallel int
}

const defaultParallel = 16

// Storage is a [state.Storage] in a Cosmos DB container: one item for each
// key, in the form of the official SDKs, in a partition of its own.
//
// Each item of a call is read and written by itself; a Write is not all or
// nothing. Its error names every key that could not be written, and those
// that were; their eTags are returned beside it.
//
// Requests are repeated when the service is busy or cannot be reached, within
// the context. A write whose answer was lost is recognised when it is repeated,
// even if others have written on top of it since, by the field writeIds of the
// item: up to 8 ids, of the last write of each Storage. The eTag that Write
// returns is then no longer the current one. So a write that may have been done
// is repeated until that is known, for up to 3 min. Where it cannot be found out,
// as when a bot in another language has written the item since, the error says
// that the write may have been done, and does not wrap [state.ErrConflict].
//
// ETags are those of the service, with what writeIds has before the last quote.
//
// The errors of all methods wrap those of the contract, [ErrTooLarge],
// [ErrClosed] or a *[StatusError]; see also [Retryable]. Storage is safe for
// concurrent use.
type Storage struct {
	container container // in which each item is a partition
	options   Options
	writer    string   // begins the ids of its writes
	underWay  sync.Map // by id, whether a write that has no answer yet was carried out
}

// New returns the storage in a container, to which it does not connect yet. It
// panics if the account is nil, a name is empty, or the suffix cannot be used.
func New(account *Account, database, container string, opts *Options) *Storage {
	if account == nil || database == "" || container == "" {
		panic("cosmos: storage without account, database or container")
	}
	s := &Storage{writer: newWriter()}
	s.container.account, s.container.database, s.container.name = account, database, container
	s.container.fits, s.container.persistent = storageLayout, true
	if opts != nil {
		s.options = *opts
	}
	if escape(s.options.KeySuffix) != s.options.KeySuffix {
		panic("cosmos: the key suffix has characters that ids must not have")
	}
	if s.options.Parallel <= 0 {
		s.options.Parallel = defaultParallel
	}
	return s
}

// storageLayout returns the layout of a container for state.
func storageLayout(p *azcosmos.ContainerProperties) (layout, error) {
	switch paths := p.PartitionKeyDefinition.Paths; {
	case len(paths) == 1 && paths[0] == "/id":
		return partitioned, nil
	case len(paths) == 1 && paths[0] == "/_partitionKey", len(paths) == 0:
		return legacy, nil
	default:
		return unknownLayout, fmt.Errorf("the partition key is %s: it must be /id", strings.Join(paths, ", "))
	}
}

// An envelope is an item.
type envelope struct {
	ID       string          `json:"id"`
	RealID   string          `json:"realId"`
	Document json.RawMessage `json:"document"`
	WriteIDs string          `json:"writeIds,omitempty"`
	TTL      int64           `json:"ttl,omitempty"` // in seconds
}

// Read implements [state.Storage].
func (s *Storage) Read(ctx context.Context, keys []string) (map[string]state.Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ids := make(map[string]string, len(keys))
	for _, key := range keys {
		id, err := s.itemID(key)
		if err != nil {
			return nil, fmt.Errorf("cosmos: read %q: %w", key, err)
		}
		ids[key] = id
	}
	items := make(map[string]state.Item, len(keys))
	var mu sync.Mutex
	errs := each(s.options.Parallel, slices.Collect(maps.Keys(ids)), func(key string) error {
		found, tag, err := s.read(ctx, ids[key])
		if err != nil {
			return fmt.Errorf("cosmos: read %q: %w", key, err)
		}
		if found != nil && found.RealID == key {
			mu.Lock()
			defer mu.Unlock()
			items[key] = state.Item{Value: found.Document, ETag: tag}
		}
		return nil
	})
	if len(errs) > 0 {
		return nil, join(errs)
	}
	return items, nil
}

// Write implements [state.Storage].
func (s *Storage) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	envelopes := make(map[string]*envelope, len(items))
	for key, item := range items {
		id, err := s.itemID(key)
		switch {
		case err != nil:
			return nil, fmt.Errorf("cosmos: write %q: %w", key, err)
		case item.TTL < 0:
			return nil, fmt.Errorf("cosmos: write %q: %w: negative TTL %v", key, state.ErrInvalid, item.TTL)
		}
		envelopes[key] = &envelope{ID: id, RealID: key, Document: item.Value, TTL: seconds(item.TTL)}
	}
	etags := make(map[string]string, len(items))
	var mu sync.Mutex
	errs := each(s.options.Parallel, slices.Sorted(maps.Keys(items)), func(key string) error {
		etag, err := s.write(ctx, envelopes[key], items[key].ETag)
		if err != nil {
			return fmt.Errorf("cosmos: write %q: %w", key, err)
		}
		mu.Lock()
		defer mu.Unlock()
		etags[key] = etag
		return nil
	})
	if len(errs) == 0 {
		return etags, nil
	}
	err := join(errs)
	if len(etags) > 0 {
		err = fmt.Errorf("%w (written were %q)", err, slices.Sorted(maps.Keys(etags)))
	}
	return etags, err
}

// Delete implements [state.Storage]. When it is repeated after a lost answer, it
// also deletes what somebody has written meanwhile.
func (s *Storage) Delete(ctx context.Context, keys []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ids := make(map[string]string, len(keys))
	for _, key := range keys {
		id, err := s.itemID(key)
		if err != nil {
			return fmt.Errorf("cosmos: delete %q: %w", key, err)
		}
		ids[key] = id
	}
	return join(each(s.options.Parallel, slices.Sorted(maps.Keys(ids)), func(key string) error {
		_, err := s.container.remove(ctx, ids[key], ids[key], "")
		if err != nil && !isAbsent(err) {
			return fmt.Errorf("cosmos: delete %q: %w", key, err)
		}
		return nil
	}))
}

// each calls do with all of a list, several at a time, and returns its errors.
func each[T any](parallel int, list []T, do func(T) error) (errs []error) {
	if len(list) == 1 {
		if err := do(list[0]); err != nil {
			return []error{err}
		}
		return nil
	}
	var mu sync.Mutex
	var calls sync.WaitGroup
	places := make(chan struct{}, parallel)
	for _, v := range list {
		places <- struct{}{}
		calls.Go(func() {
			defer func() { <-places }()
			if err := do(v); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	calls.Wait()
	return errs
}

// join joins errors, in the order of their texts.
func join(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// seconds rounds a TTL up.
func seconds(ttl time.Duration) int64 {
	const most = 1<<31 - 1
	n := int64(ttl / time.Second)
	if ttl%time.Second > 0 {
		n++
	}
	return min(n, most)
}

// read returns the item called id and its tag, nil if there is none.
func (s *Storage) read(ctx context.Context, id string) (*envelope, string, error) {
	data, etag, err := s.container.read(ctx, id, id)
	if data == nil || err != nil {
		return nil, "", err
	}
	found, err := decode(data)
	if err != nil {
		return nil, "", err
	}
	return found, joinTag(etag, found.WriteIDs), nil
}

// decode reads an item. What it has besides is the affair of others.
func decode(data []byte) (*envelope, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil || fields["document"] == nil {
		return nil, fmt.Errorf("%w: the item has no document", state.ErrCorrupt)
	}
	e := &envelope{Document: fields["document"]}
	if json.Unmarshal(fields["realId"], &e.RealID) != nil {
		e.RealID = "" // of no key
	}
	if json.Unmarshal(fields["writeIds"], &e.WriteIDs) != nil {
		e.WriteIDs = ""
	}
	return e, nil
}

// write writes an item under the condition of a tag.
func (s *Storage) write(ctx context.Context, e *envelope, tag string) (string, error) {
	etag, before := splitTag(tag)
	if etag == state.ETagNone {
		before = noItem
	}
	w := s.begin(before)
	defer s.underWay.Delete(w.id)
	e.WriteIDs = w.after
	data, err := encode(e)
	if err != nil {
		return "", err
	}
	etag, err = s.container.write(ctx, e.ID, e.ID, data, etag, func(item []byte) trace {
		return s.trace(w, field(item, "writeIds"))
	})
	if err != nil {
		return "", err
	}
	if etag == "" {
		etag = strconv.Quote(w.id) // which no item has
	}
	return joinTag(etag, w.after), nil
}

// encode writes an item.
func encode(e *envelope) ([]byte, error) {
	if !json.Valid(e.Document) || !utf8.Valid(e.Document) {
		return nil, fmt.Errorf("%w: the value is not JSON in UTF-8", state.ErrInvalid)
	}
	return object.Marshal(e)
}
