package connector

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/botlapse/botlapse/internal/object"
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
	var keysURL string
	if err := s.get(ctx, s.metadata, func(r *object.Reader) {
		for range r.Members(metadataNames) {
			keysURL = r.ID()
		}
	}); err != nil {
		return nil, err
	}
	from, to := parseURL(s.metadata), parseURL(keysURL)
	if to == nil || to.Scheme != "https" && to.Scheme != from.Scheme {
		return nil, fmt.Errorf("the metadata of %s leads to no keys", from.Host)
	}
	k := &keys{byID: make(map[string]*key), fetched: time.Now()}
	if err := s.get(ctx, keysURL, func(r *object.Reader) {
		for range r.Members(keySetNames) {
			for range r.Elements() {
				if id, found := parseKey(r.Raw()); found != nil {
					k.byID[id] = found
				}
			}
		}
	}); err != nil {
		return nil, err
	}
	if len(k.byID) == 0 {
		return nil, fmt.Errorf("%s has no RSA keys", to.Host)
	}
	return k, nil
}

var (
	metadataNames = object.NewNames("jwks_uri")
	keySetNames   = object.NewNames("keys")
	keyNames      = object.NewNames("kty", "use", "kid", "n", "e", "endorsements")
)

// parseKey returns nil for a key that is of no use.
func parseKey(data []byte) (id string, k *key) {
	var kty, use, n, e string
	var endorsements []string
	r := object.NewReader(data)
	for name := range r.Members(keyNames) {
		switch name {
		case "kty":
			kty = r.ID()
		case "use":
			use = r.ID()
		case "kid":
			id = r.ID()
		case "n":
			n = r.ID()
		case "e":
			e = r.ID()
		case "endorsements":
			for range r.Elements() {
				endorsements = append(endorsements, r.ID())
			}
		}
	}
	if r.End("the key") != nil || kty != "RSA" || use == "enc" {
		return "", nil
	}
	modulus, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		return "", nil
	}
	exponent, err := base64.RawURLEncoding.DecodeString(e)
	if err != nil || len(exponent) > 4 { // as many bytes as crypto/rsa takes
		return "", nil
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Uint64())}
	if public.N.BitLen() < minKeyBits {
		return "", nil
	}
	return id, &key{public, endorsements}
}

// get reads a JSON document. Redirects are not followed.
func (s *keySet) get(ctx context.Context, address string, read func(*object.Reader)) error {
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
	}
	r := object.NewReader(data)
	read(&r)
	if err := r.End("the document"); err != nil {
		return fmt.Errorf("%s: %w", req.URL.Host, err)
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
