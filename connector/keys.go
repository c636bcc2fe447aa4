package connector

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
)

const (
	// keysMaxAge is how old keys become before they are fetched again.
	keysMaxAge = 24 * time.Hour

	// keysInterval is the shortest time between two fetches while there are
	// keys: a request can name an unknown key whenever it likes.
	keysInterval = time.Minute

	// keysRetry is the shortest time between two fetches while there are none.
	keysRetry = 2 * time.Second

	// keysPatience is how long a request waits for a key that is not known.
	keysPatience = 2 * time.Second

	// keysTimeout bounds a fetch of metadata and keys.
	keysTimeout = 10 * time.Second

	// maxKeys bounds the metadata and the keys, each, in bytes.
	maxKeys = 1 << 20

	// minKeyBits is the size of the smallest RSA key that is accepted.
	minKeyBits = 2048
)

var (
	errUnknownKey = errors.New("unknown key")
	errNoKeys     = errors.New("no keys")
)

// A keySet holds the public keys of one issuer, which its metadata leads to.
//
// Keys are fetched on first use, again when they are a day old, and for a key
// that is not among them. The first fetch is waited for, and one of keys that
// are two days old for a moment. While a later one is under way or fails, the
// keys that are there serve on, however old.
type keySet struct {
	metadata string
	client   *http.Client
	life     *life

	keys atomic.Pointer[keys]

	mu      sync.Mutex
	tried   time.Time     // when the last fetch ended
	err     error         // of the last fetch
	pending chan struct{} // while a fetch is under way; closed after
}

type keys struct {
	byID    map[string]*key
	fetched time.Time
}

type key struct {
	public       *rsa.PublicKey
	endorsements []string // the channels that it signs for
}

// find returns the key called id. Its error is errUnknownKey, one that wraps
// errNoKeys, or that of ctx.
func (s *keySet) find(ctx context.Context, id string) (*key, error) {
	if k := s.keys.Load(); k == nil {
		if err := wait(ctx, s.refresh(keysRetry)); err != nil {
			return nil, err
		}
	} else if found := k.byID[id]; found != nil {
		age := time.Since(k.fetched)
		if age < keysMaxAge {
			return found, nil
		}
		done := s.refresh(keysInterval)
		if age < 2*keysMaxAge {
			return found, nil
		}
		// After a long silence the key may have been withdrawn long ago.
		short, cancel := context.WithTimeout(ctx, keysPatience)
		defer cancel()
		if wait(short, done) != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	} else {
		// Nobody may hold a place for long by naming keys that do not exist.
		short, cancel := context.WithTimeout(ctx, keysPatience)
		defer cancel()
		if wait(short, s.refresh(keysInterval)) != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	k := s.keys.Load()
	if k == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", errNoKeys, s.err)
	}
	if found := k.byID[id]; found != nil {
		return found, nil
	}
	return nil, errUnknownKey
}

// ready reports, by nil, that there are keys. It waits for the first ones.
func (s *keySet) ready(ctx context.Context) error {
	if s.keys.Load() == nil {
		if _, err := s.find(ctx, ""); err != nil && !errors.Is(err, errUnknownKey) {
			return err
		}
	}
	return nil
}

// refresh begins a fetch unless one is under way or ended less than interval
// ago. It returns a channel that is closed when there is nothing to wait for.
func (s *keySet) refresh(interval time.Duration) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending != nil {
		return s.pending
	}
	done := make(chan struct{})
	if !s.tried.IsZero() && time.Since(s.tried) < interval {
		close(done)
		return done
	}
	if !s.life.begin() {
		s.err = errClosed
		close(done)
		return done
	}
	s.pending = done
	go func() {
		defer s.life.end()
		ctx, cancel := context.WithTimeout(s.life.ctx, keysTimeout)
		defer cancel()
		fetched, err := s.fetch(ctx)
		if err == nil {
			s.keys.Store(fetched)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err, s.pending, s.tried = err, nil, time.Now()
		close(done)
	}()
	return done
}

// fetch gets the metadata and the keys that it leads to.
func (s *keySet) fetch(ctx context.Context) (*keys, error) {
	var metadata struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := s.get(ctx, s.metadata, &metadata); err != nil {
		return nil, err
	}
	from, to := parseURL(s.metadata), parseURL(metadata.KeysURL)
	if to == nil || to.Scheme != "https" && to.Scheme != from.Scheme {
		return nil, fmt.Errorf("the metadata of %s leads to no keys", from.Host)
	}
	var set struct{ Keys []json.RawMessage }
	if err := s.get(ctx, metadata.KeysURL, &set); err != nil {
		return nil, err
	}
	k := &keys{byID: make(map[string]*key), fetched: time.Now()}
	for _, data := range set.Keys {
		if id, found := parseKey(data); found != nil {
			k.byID[id] = found
		}
	}
	if len(k.byID) == 0 {
		return nil, fmt.Errorf("%s has no RSA keys", to.Host)
	}
	return k, nil
}

// parseKey returns nil for a key that is of no use.
func parseKey(data json.RawMessage) (id string, k *key) {
	var more struct{ Endorsements []string }
	parsed, err := jwkset.NewJWKFromRawJSON(data, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipAll: true})
	if err != nil || json.Unmarshal(data, &more) != nil {
		return "", nil
	}
	public, ok := parsed.Key().(*rsa.PublicKey)
	if !ok || public.N.BitLen() < minKeyBits || parsed.Marshal().USE == jwkset.UseEnc {
		return "", nil
	}
	return parsed.Marshal().KID, &key{public, more.Endorsements}
}

// get reads a JSON document. Redirects are not followed.
func (s *keySet) get(ctx context.Context, address string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return errors.New("the address of the metadata or the keys is no URL")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", req.URL.Host, resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxKeys+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", req.URL.Host, err)
	case len(data) > maxKeys:
		return fmt.Errorf("%s: more than %d bytes", req.URL.Host, maxKeys)
	case json.Unmarshal(data, v) != nil:
		return fmt.Errorf("%s: the document is not what it should be", req.URL.Host)
	}
	return nil
}

// parseURL returns nil if s is no URL of a host.
func parseURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return nil
	}
	return u
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A life owns goroutines.
type life struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	ended  bool
	active sync.WaitGroup
}

func newLife() *life {
	ctx, cancel := context.WithCancel(context.Background())
	return &life{ctx: ctx, cancel: cancel}
}

// begin counts a goroutine in, unless the life has ended.
func (l *life) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.active.Add(1)
	}
	return !l.ended
}

func (l *life) end() { l.active.Done() }

// close cancels the goroutines and waits for them.
func (l *life) close() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.cancel()
	l.active.Wait()
}
