package cosmos

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
)

// AccountOptions are options of [NewAccount].
type AccountOptions struct {
	// Key is the account key.
	Key string

	// Credential gets the tokens of an account without Key. The default, for
	// nil, is azidentity.DefaultAzureCredential.
	Credential azcore.TokenCredential

	// PreferredRegions are the regions that the account is read from, the
	// first one that can be reached.
	PreferredRegions []string

	// Transport makes the requests. The default, for nil, is one of the
	// account's own, with up to 64 idle connections.
	Transport policy.Transporter
}

const (
	// connectTimeout is how long an account that cannot be reached is tried.
	connectTimeout = 10 * time.Second

	// discoveryTimeout bounds each try.
	discoveryTimeout = 5 * time.Second

	// connectPause is how long after that it is not tried again.
	connectPause = time.Second
)

// ErrClosed reports a request to an account that is closed.
var ErrClosed = errors.New("account closed")

// An Account is a Cosmos DB account. It is safe for concurrent use.
//
// A client of azcosmos looks for the account's regions before its first request. That
// heeds no deadline, and if it fails, all requests of the client fail for five minutes.
// So an Account looks for the regions before it makes requests: with a new client for
// each attempt, for 10 s at most.
type Account struct {
	options    AccountOptions
	endpoint   string
	credential azcosmos.KeyCredential
	requests   policy.Transporter
	own        *http.Transport // nil if requests is not the account's own

	ctx    context.Context
	cancel context.CancelFunc
	active sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	client  *azcosmos.Client // nil until the account was reached
	pending *connection      // while it is being reached
	failed  *connection      // the last one that could not
	at      time.Time        // when failed had ended
}

// A connection is one attempt to reach the account.
type connection struct {
	done   chan struct{} // closed when the rest is set
	client *azcosmos.Client
	err    error
}

// NewAccount returns the account at endpoint, such as
// https://bot.documents.azure.com, which it does not connect to yet. Its error
// joins everything that is wrong. Tokens are not sent over plain http.
func NewAccount(endpoint string, opts *AccountOptions) (*Account, error) {
	a := &Account{endpoint: strings.TrimSuffix(strings.TrimSpace(endpoint), "/")}
	if opts != nil {
		a.options = *opts
	}
	var problems []error
	u, err := url.Parse(a.endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		problems = append(problems, errors.New("cosmos: the endpoint must be an https URL without path, or an http one for emulators"))
	}
	if a.options.Key != "" {
		if a.options.Credential != nil {
			problems = append(problems, errors.New("cosmos: both Key and Credential are set: only one of them can be used"))
		}
		key := strings.TrimSpace(a.options.Key)
		if _, err := base64.StdEncoding.DecodeString(key); err != nil {
			problems = append(problems, errors.New("cosmos: the account key must be base64"))
		} else if a.credential, err = azcosmos.NewKeyCredential(key); err != nil {
			problems = append(problems, errors.New("cosmos: the account key cannot be used"))
		}
	} else {
		if err == nil && u.Scheme == "http" {
			problems = append(problems, errors.New("cosmos: the endpoint must be https, unless there is an account key: a token would be sent in clear"))
		}
		if a.options.Credential == nil {
			if a.options.Credential, err = azidentity.NewDefaultAzureCredential(nil); err != nil {
				problems = append(problems, errors.New("cosmos: there is neither an account key nor an Azure credential"))
			}
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	if a.requests = a.options.Transport; a.requests == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConns, own.MaxIdleConnsPerHost = 256, 64
		own.HTTP2 = &http.HTTP2Config{SendPingTimeout: attemptTimeout / 4, PingTimeout: attemptTimeout / 4} // to notice a dead connection
		a.requests, a.own = &http.Client{Transport: own}, own
	}
	return a, nil
}

// Close ends attempts to reach the account and waits for their end. Later
// requests fail with [ErrClosed]. Close can be called more than once.
func (a *Account) Close() {
	a.mu.Lock()
	a.closed = true
	client := a.client
	a.client = nil
	a.mu.Unlock()
	a.cancel()
	a.active.Wait()
	if client != nil {
		client.Close()
	}
	if a.own != nil {
		a.own.CloseIdleConnections()
	}
}

// connect returns a client that has reached the account.
func (a *Account) connect(ctx context.Context) (*azcosmos.Client, error) {
	a.mu.Lock()
	if a.client != nil {
		defer a.mu.Unlock()
		return a.client, nil
	}
	if a.closed {
		defer a.mu.Unlock()
		return nil, ErrClosed
	}
	if a.failed != nil && time.Since(a.at) < connectPause {
		defer a.mu.Unlock()
		return nil, a.failed.err
	}
	c := a.pending
	if c == nil {
		c = &connection{done: make(chan struct{})}
		a.pending = c
		a.active.Go(func() { a.run(c) })
	}
	a.mu.Unlock()
	select {
	case <-c.done:
		return c.client, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run reaches the account, or gives up.
func (a *Account) run(c *connection) {
	ctx, cancel := context.WithTimeout(a.ctx, connectTimeout)
	defer cancel()
	pause := 50 * time.Millisecond
	for {
		c.client, c.err = a.discover(ctx)
		if c.err == nil || !isTransient(c.err) && statusOf(c.err) != http.StatusNotFound {
			break
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
			continue
		case <-ctx.Done():
		}
		break
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		c.client, c.err = nil, ErrClosed
	}
	a.client, a.pending, a.failed = c.client, nil, nil
	if c.err != nil {
		if !a.closed {
			c.err = fmt.Errorf("%w: %w", errUnreachable, notDeadline(c.err))
		}
		a.failed, a.at = c, time.Now()
	}
	close(c.done)
}

// discover returns a new client that has found the account's regions.
func (a *Account) discover(ctx context.Context) (*azcosmos.Client, error) {
	client, err := a.newClient()
	if err != nil {
		return nil, err
	}
	database, err := client.NewDatabase("x")
	if err != nil {
		return nil, err
	}
	// Of this request, the transport answers all but the discovery.
	if _, err = database.Read(context.WithValue(ctx, discoveryKey{}, true), nil); err != nil {
		client.Close()
		return nil, explain(err)
	}
	return client, nil
}

// notDeadline returns err, or errNoAnswer if it is that an attempt took too
// long: no deadline of the caller's has passed.
func notDeadline(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return errNoAnswer
	}
	return err
}

func (a *Account) newClient() (*azcosmos.Client, error) {
	o := &azcosmos.ClientOptions{PreferredRegions: a.options.PreferredRegions}
	o.Transport = &transport{a.requests, a.ctx}
	o.Retry.MaxRetries = -1 // Storage does that, and knows what may be repeated
	if a.options.Key != "" {
		return azcosmos.NewClientWithKey(a.endpoint, a.credential, o)
	}
	return azcosmos.NewClient(a.endpoint, a.options.Credential, o)
}

// What the transport must know of a request is in its context.
type (
	discoveryKey struct{} // it is for the discovery only
	legacyKey    struct{} // its item has no partition key
	bodyKey      struct{} // the []byte that is sent instead of its body
	sendsKey     struct{} // the *atomic.Int32 that counts how often it is sent
)

// A transport makes the requests of one client.
type transport struct {
	next policy.Transporter
	life context.Context // of the account
}

func (t *transport) Do(r *http.Request) (*http.Response, error) {
	next := t.next
	switch {
	case r.URL.Path == "" || r.URL.Path == "/":
		// azcosmos takes the deadline from these, so that they would outlast
		// the request that they are for, and the account.
		ctx, cancel := context.WithTimeout(r.Context(), discoveryTimeout)
		stop := context.AfterFunc(t.life, cancel)
		resp, err := next.Do(r.WithContext(ctx))
		if err != nil {
			stop()
			cancel()
			return nil, err
		}
		resp.Body = &closer{resp.Body, func() { stop(); cancel() }}
		return resp, nil
	case r.Context().Value(discoveryKey{}) != nil:
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"id":"x"}`)), Request: r}, nil
	case r.Context().Value(legacyKey{}) != nil:
		r.Header.Set("x-ms-documentdb-partitionkey", "[{}]")
	}
	if sends, ok := r.Context().Value(sendsKey{}).(*atomic.Int32); ok {
		sends.Add(1)
	}
	if body, ok := r.Context().Value(bodyKey{}).([]byte); ok {
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return next.Do(r)
}

// A closer calls done after Close.
type closer struct {
	io.ReadCloser
	done func()
}

func (c *closer) Close() error {
	defer c.done()
	return c.ReadCloser.Close()
}
