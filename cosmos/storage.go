package cosmos

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

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

const (
	defaultParallel = 16

	// attempts is how often a request is made, but for those that are refused
	// with status 429, which are repeated until the context ends, for
	// patience at most.
	attempts = 6
	patience = 30 * time.Second

	// Waits between attempts are random, up to baseWait, doubled each time up
	// to maxWait.
	baseWait = 100 * time.Millisecond
	maxWait  = 2 * time.Second

	// attemptTimeout bounds each attempt.
	attemptTimeout = 10 * time.Second

	// maxSessions is of how many keys the session tokens are kept, those that
	// were used last.
	maxSessions = 10000
)

// Storage is a [state.Storage] in a Cosmos DB container: one item for each
// key, in the form of the official SDKs, in a partition of its own.
//
// Each item of a call is read and written by itself; a Write is not all or
// nothing. Its error names every key that could not be written, and those
// that were; their eTags are returned beside it.
//
// Requests are repeated when the service is busy or cannot be reached, within
// the context. A write whose answer was lost is recognised when it is repeated:
// each writing has a number of its own, the field writeId of the item. Where
// even that cannot be found out in time, the error says that the write may have
// been done.
//
// The errors of all methods wrap those of the contract, [ErrTooLarge],
// [ErrClosed] or a *[StatusError]; see also [Retryable]. Storage is safe for
// concurrent use.
type Storage struct {
	account             *Account
	database, container string
	options             Options

	mu     sync.Mutex
	layout layout

	// The session tokens of writes, by id. When there are too many new ones,
	// the old ones are dropped, and the new ones become the old ones.
	sessions, oldSessions map[string]string
}

// A layout is where the container has the partition key.
type layout int

const (
	unknownLayout layout = iota
	byID
	legacy // without: the container is from before there were partitions
)

// New returns the storage in a container, to which it does not connect yet. It
// panics if the account is nil, a name is empty, or the suffix cannot be used.
func New(account *Account, database, container string, opts *Options) *Storage {
	if account == nil || database == "" || container == "" {
		panic("cosmos: storage without account, database or container")
	}
	s := &Storage{account: account, database: database, container: container, sessions: make(map[string]string)}
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

// An envelope is an item.
type envelope struct {
	ID       string          `json:"id"`
	RealID   string          `json:"realId"`
	Document json.RawMessage `json:"document"`
	WriteID  string          `json:"writeId,omitempty"`
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
	errs := s.each(slices.Collect(maps.Keys(ids)), func(key string) error {
		found, etag, err := s.read(ctx, ids[key])
		if err != nil {
			return fmt.Errorf("cosmos: read %q: %w", key, err)
		}
		if found != nil && found.RealID == key {
			mu.Lock()
			defer mu.Unlock()
			items[key] = state.Item{Value: found.Document, ETag: etag}
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
		envelopes[key] = &envelope{ID: id, RealID: key, Document: item.Value, WriteID: rand.Text(), TTL: seconds(item.TTL)}
	}
	etags := make(map[string]string, len(items))
	var mu sync.Mutex
	errs := s.each(slices.Sorted(maps.Keys(items)), func(key string) error {
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
	return join(s.each(slices.Sorted(maps.Keys(ids)), func(key string) error {
		err := s.retry(ctx, ids[key], func(ctx context.Context, c *azcosmos.ContainerClient, o *azcosmos.ItemOptions) (azcosmos.ItemResponse, error) {
			return c.DeleteItem(ctx, azcosmos.NewPartitionKeyString(ids[key]), ids[key], o)
		}, nil)
		if err != nil && !isAbsent(err) {
			return fmt.Errorf("cosmos: delete %q: %w", key, err)
		}
		return nil
	}))
}

// each calls do for all keys, several at a time, and returns their errors.
func (s *Storage) each(keys []string, do func(key string) error) (errs []error) {
	if len(keys) == 1 {
		if err := do(keys[0]); err != nil {
			return []error{err}
		}
		return nil
	}
	var mu sync.Mutex
	var calls sync.WaitGroup
	places := make(chan struct{}, s.options.Parallel)
	for _, key := range keys {
		places <- struct{}{}
		calls.Go(func() {
			defer func() { <-places }()
			if err := do(key); err != nil {
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

// read returns the item called id, nil if there is none.
func (s *Storage) read(ctx context.Context, id string) (*envelope, string, error) {
	var resp azcosmos.ItemResponse
	err := s.retry(ctx, id, func(ctx context.Context, c *azcosmos.ContainerClient, o *azcosmos.ItemOptions) (azcosmos.ItemResponse, error) {
		o.SessionToken = s.session(id)
		return c.ReadItem(ctx, azcosmos.NewPartitionKeyString(id), id, o)
	}, &resp)
	if isAbsent(err) {
		return nil, "", nil
	} else if err != nil {
		return nil, "", err
	}
	found, err := decode(resp.Value)
	return found, string(resp.ETag), err
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
	if json.Unmarshal(fields["writeId"], &e.WriteID) != nil {
		e.WriteID = ""
	}
	return e, nil
}

// write writes an item under the condition of etag.
func (s *Storage) write(ctx context.Context, e *envelope, etag string) (string, error) {
	data, err := encode(e)
	if err != nil {
		return "", err
	}
	key := azcosmos.NewPartitionKeyString(e.ID)
	conditional, unknown := true, false
	var resp azcosmos.ItemResponse
	err = s.retry(ctx, e.ID, func(ctx context.Context, c *azcosmos.ContainerClient, o *azcosmos.ItemOptions) (resp azcosmos.ItemResponse, err error) {
		switch etag {
		case "", state.ETagAny:
			conditional = false
			resp, err = c.UpsertItem(ctx, key, data, o)
		case state.ETagNone:
			resp, err = c.CreateItem(ctx, key, data, o)
		default:
			o.IfMatchEtag = (*azcore.ETag)(&etag)
			resp, err = c.ReplaceItem(ctx, key, e.ID, data, o)
		}
		sends := ctx.Value(sendsKey{}).(*atomic.Int32)
		unknown = unknown || err != nil && (isUnknown(err) || ctx.Err() != nil || sends.Load() > 1) // azcosmos repeats some too
		return resp, err
	}, &resp)
	refused := isAbsent(err) && conditional
	switch statusOf(err) {
	case http.StatusConflict, http.StatusPreconditionFailed:
		refused = true
	case http.StatusRequestEntityTooLarge:
		return "", fmt.Errorf("%w: %w", tooLarge(len(data)), err)
	}
	switch {
	case err == nil:
		return string(resp.ETag), nil
	case refused && unknown:
		// Perhaps an earlier attempt was carried out, and its answer lost.
		found, current, readErr := s.read(ctx, e.ID)
		if readErr != nil {
			return "", fmt.Errorf("%w (it may have been written)", readErr)
		}
		if found != nil && found.WriteID == e.WriteID {
			return current, nil
		}
		return "", fmt.Errorf("%w: %w (it may have been written, and overwritten)", state.ErrConflict, err)
	case refused:
		return "", fmt.Errorf("%w: %w", state.ErrConflict, err)
	case unknown:
		return "", fmt.Errorf("%w (it may have been written)", err)
	}
	return "", err
}

// encode writes an item. The document stays as it is.
func encode(e *envelope) ([]byte, error) {
	if !json.Valid(e.Document) || !utf8.Valid(e.Document) {
		return nil, fmt.Errorf("%w: the value is not JSON in UTF-8", state.ErrInvalid)
	}
	document := e.Document
	e.Document = json.RawMessage("null")
	defer func() { e.Document = document }()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return nil, err
	}
	head, tail, _ := bytes.Cut(bytes.TrimSpace(buf.Bytes()), []byte(`"document":null`))
	return slices.Concat(head, []byte(`"document":`), document, tail), nil
}

// An operation is one request for an item.
type operation func(ctx context.Context, c *azcosmos.ContainerClient, o *azcosmos.ItemOptions) (azcosmos.ItemResponse, error)

// retry carries out an operation on the item called id, as often as it takes.
func (s *Storage) retry(ctx context.Context, id string, do operation, resp *azcosmos.ItemResponse) error {
	begin, limit := time.Now(), baseWait
	for attempt := 1; ; {
		r, err := s.try(ctx, do)
		if len(r.Value) == 0 { // not of a read, which may be older than what is known
			s.learn(id, r, err)
		}
		if err == nil {
			if resp != nil {
				*resp = r
			}
			return nil
		}
		err = explain(err)
		if ctx.Err() != nil {
			return because(err, ctx.Err())
		}
		err = notDeadline(err)
		wait := max(retryAfter(err), mathrand.N(limit))
		limit = min(2*limit, maxWait)
		switch {
		case !isTransient(err) || errors.Is(err, errUnreachable): // which was tried for long enough
			return err
		case statusOf(err) == http.StatusTooManyRequests:
			if time.Since(begin)+wait > patience {
				return err
			}
		default:
			if attempt++; attempt > attempts {
				return err
			}
			if substatusOf(err) == sessionNotAvailable && attempt == attempts {
				s.forgetSession(id) // which may be of a container that was made anew
			}
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return because(err, ctx.Err())
		}
	}
}

// because adds the error of a context to one that it led to, unless it is there.
func because(err, cause error) error {
	if errors.Is(err, cause) {
		return cause
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// try carries out an operation once.
func (s *Storage) try(ctx context.Context, do operation) (azcosmos.ItemResponse, error) {
	client, err := s.account.connect(ctx)
	if err != nil {
		return azcosmos.ItemResponse{}, err
	}
	c, err := client.NewContainer(s.database, s.container)
	if err != nil {
		return azcosmos.ItemResponse{}, err
	}
	l, err := s.locate(ctx, c)
	if err != nil {
		return azcosmos.ItemResponse{}, err
	}
	if l == legacy {
		ctx = context.WithValue(ctx, legacyKey{}, true)
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, sendsKey{}, new(atomic.Int32)), attemptTimeout)
	defer cancel()
	resp, err := do(ctx, c, &azcosmos.ItemOptions{})
	if statusOf(err) == http.StatusNotFound && substatusOf(err) == ownerNotFound {
		s.mu.Lock()
		s.layout = unknownLayout
		s.mu.Unlock()
		return resp, fmt.Errorf("%w: container %q in database %q is gone: %w", ErrNoContainer, s.container, s.database, explain(err))
	}
	return resp, err
}

// locate finds out where the container has the partition key, once.
func (s *Storage) locate(ctx context.Context, c *azcosmos.ContainerClient) (layout, error) {
	s.mu.Lock()
	l := s.layout
	s.mu.Unlock()
	if l != unknownLayout {
		return l, nil
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := c.Read(ctx, nil)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return l, fmt.Errorf("%w: there is no container %q in database %q: %w", ErrNoContainer, s.container, s.database, explain(err))
	case statusOf(err) == http.StatusForbidden:
		l = byID // it may be used, but not looked at
	case err != nil:
		return l, err
	default:
		switch paths := resp.ContainerProperties.PartitionKeyDefinition.Paths; {
		case len(paths) == 1 && paths[0] == "/id":
			l = byID
		case len(paths) == 1 && paths[0] == "/_partitionKey", len(paths) == 0:
			l = legacy
		default:
			return l, fmt.Errorf("cosmos: container %q has the partition key %s: it must be /id", s.container, strings.Join(paths, ", "))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.layout = l
	return l, nil
}

// ErrNoContainer reports that the container or its database does not exist. An
// [Initializer] makes them.
var ErrNoContainer = errors.New("no such container")

// isAbsent reports whether what was asked for does not exist.
func isAbsent(err error) bool {
	return statusOf(err) == http.StatusNotFound && substatusOf(err) != sessionNotAvailable && !errors.Is(err, ErrNoContainer)
}

// learn keeps the session token of an answer.
func (s *Storage) learn(id string, resp azcosmos.ItemResponse, err error) {
	var token string
	var refused *azcore.ResponseError
	switch {
	case err == nil && resp.SessionToken != nil:
		token = *resp.SessionToken
	case errors.As(err, &refused) && refused.RawResponse != nil &&
		(refused.StatusCode == http.StatusPreconditionFailed || refused.StatusCode == http.StatusConflict || isAbsent(err)):
		token = refused.RawResponse.Header.Get("x-ms-session-token")
	}
	if token == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepSession(id, token)
}

// keepSession makes id one of those that were used last. The caller holds s.mu.
func (s *Storage) keepSession(id, token string) {
	if len(s.sessions) >= maxSessions/2 {
		s.sessions, s.oldSessions = make(map[string]string), s.sessions
	}
	s.sessions[id] = token
}

func (s *Storage) forgetSession(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
	delete(s.oldSessions, id)
}

func (s *Storage) session(id string) *string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.sessions[id]
	if !ok {
		if token, ok = s.oldSessions[id]; !ok {
			return nil
		}
		s.keepSession(id, token)
	}
	return &token
}
