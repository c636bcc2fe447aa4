package webhook

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/botlapse/botlapse/internal/outbound"
)

const (
	defaultSource  = "/botlapse"
	defaultTimeout = 20 * time.Second

	// maxAnswer bounds how much of an answer is read, in bytes.
	maxAnswer = 64 << 10

	// maxRetryAfter is the longest that a receiver may ask to wait.
	maxRetryAfter = 24 * time.Hour
)

var (
	// ErrGone reports an endpoint that wants no events any more.
	ErrGone = errors.New("webhook: the endpoint is gone")

	// ErrNotAllowed reports an endpoint whose host stands for an address to which
	// nothing may be sent, as it is not one of the public internet.
	ErrNotAllowed = outbound.ErrNotAllowed
)

// Options are options of [New].
type Options struct {
	// OldSecret, if not empty, is the secret that a new one takes the place of.
	// Requests are signed with both, until all receivers know the new one.
	OldSecret string

	// Source names the bot to a receiver that hears from several: the source of
	// the CloudEvent, a URI reference. The default, for "", is "/botlapse".
	Source string

	// AllowInsecure permits http URLs, by which anybody on the way can read the
	// events, and addresses that are not public: those of this machine and of
	// the networks that it is in.
	AllowInsecure bool

	// Timeout bounds an attempt to send an event, the reading of the answer
	// included. The default, for 0 or less, is 20 s.
	Timeout time.Duration

	// Transport makes the requests, and takes the place of the check of
	// addresses. The default, for nil, is a transport of the endpoint's own,
	// which uses no proxy.
	Transport http.RoundTripper
}

// An Endpoint is where events are sent to. It is safe for concurrent use.
type Endpoint struct {
	url       *url.URL
	sign      func(id, timestamp string, body []byte) []string // holds the keys where nothing prints them
	source    string
	timeout   time.Duration
	transport http.RoundTripper
	own       *http.Transport // the transport, if it is not from the options
	gone      atomic.Bool
}

// New returns an endpoint; nil options are the defaults. The secret, which the
// receiver knows too, is whsec_ and the base64 form of 24 to 64 random bytes.
// The error joins everything that is wrong with the arguments. It names neither
// the secret nor the URL, which may have a token in it.
func New(address, secret string, opts *Options) (*Endpoint, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Source = cmp.Or(o.Source, defaultSource)
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}

	var problems []error
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "https" && !(o.AllowInsecure && u.Scheme == "http") {
		problems = append(problems, errors.New("webhook: the URL must be https, with a host and without a user; http needs AllowInsecure"))
	}
	key, err := parseSecret("secret", secret)
	if err != nil {
		problems = append(problems, err)
	}
	keys := [][]byte{key}
	if o.OldSecret != "" {
		if key, err = parseSecret("OldSecret", o.OldSecret); err != nil {
			problems = append(problems, err)
		}
		keys = append(keys, key)
	}
	if _, err := url.Parse(o.Source); err != nil {
		problems = append(problems, fmt.Errorf("webhook: Source is %q: must be a URI reference", o.Source))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}

	e := &Endpoint{url: u, source: o.Source, timeout: o.Timeout, transport: o.Transport}
	e.sign = func(id, timestamp string, body []byte) []string { return sign(keys, id, timestamp, body) }
	if e.transport == nil {
		e.own = outbound.NewTransport(o.Timeout, !o.AllowInsecure)
		e.transport = e.own
	}
	return e, nil
}

// Send sends an event, once. The error is nil if it was answered with a status
// of 200 to 299: the receiver has it. Otherwise the event is to be sent again,
// later, unless the error is
//
//   - [ErrEvent]: this event can never be sent;
//   - [ErrGone]: no event is wanted any more. The receiver answered with status
//     410, now or before: Send makes no request after that, until there is a new
//     Endpoint.
//
// Both can be recognised by errors.Is, and so can [ErrNotAllowed], which may
// pass when the host gets another address. All but ErrEvent and the error of
// ctx are a [*SendError], which says how long the receiver asks to wait.
// Redirects are not followed, as they may lead anywhere: they are refusals.
//
// An event may have arrived although Send failed, because the answer was lost.
func (e *Endpoint) Send(ctx context.Context, event Event) error {
	body, err := encode(e.source, event)
	if err != nil {
		return err
	}
	failed := &SendError{Host: e.url.Host}
	if e.gone.Load() {
		failed.Status = http.StatusGone
		return failed
	}
	attempt, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(attempt, http.MethodPost, "", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	req.URL = e.url
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Header.Set(headerID, event.ID)
	req.Header.Set(headerTimestamp, timestamp)
	req.Header.Set(headerSignature, strings.Join(e.sign(event.ID, timestamp, body), " "))
	resp, err := e.transport.RoundTrip(req) // which follows no redirects
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case attempt.Err() != nil: // which must not pass for the error of ctx
		failed.Err = fmt.Errorf("no answer within %v", e.timeout)
		return failed
	default:
		failed.Err = err
		return failed
	}
	outbound.ReadAnswer(resp, maxAnswer) // the status says it all
	failed.Status = resp.StatusCode
	switch {
	case failed.Status >= 200 && failed.Status <= 299:
		return nil
	case failed.Status == http.StatusGone:
		e.gone.Store(true)
	case failed.Status == http.StatusTooManyRequests || failed.Status >= 500:
		failed.RetryAfter = min(outbound.RetryAfter(resp.Header), maxRetryAfter)
	}
	return failed
}

// String returns the host that events are sent to, and nothing secret.
func (e *Endpoint) String() string { return "webhook to " + e.url.Host }

// Close closes idle connections. It can be called more than once.
func (e *Endpoint) Close() {
	if e.own != nil {
		e.own.CloseIdleConnections()
	}
}

// A SendError reports that a receiver did not take an event.
type SendError struct {
	Host   string // the endpoint's
	Status int    // the HTTP status, 0 if there was no answer

	// RetryAfter is how long the receiver asks to wait before it is sent
	// anything: 24 hours at most, 0 if it does not ask. Only status 429 and those
	// from 500 on may ask.
	RetryAfter time.Duration

	Err error // why there was no answer; nil if there was one
}

// Error returns the host and what came of the request, in a few words: what a
// receiver makes of its answer does not fill logs.
func (e *SendError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("webhook: POST to %s: %.200s", e.Host, e.Err.Error())
	case e.RetryAfter > 0:
		return fmt.Sprintf("webhook: POST to %s: status %d, asks to wait %v", e.Host, e.Status, e.RetryAfter)
	}
	return fmt.Sprintf("webhook: POST to %s: status %d", e.Host, e.Status)
}

// Is reports whether target is [ErrGone] and the status was 410.
func (e *SendError) Is(target error) bool {
	return target == ErrGone && e.Status == http.StatusGone
}

// Unwrap returns Err.
func (e *SendError) Unwrap() error { return e.Err }
