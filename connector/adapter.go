package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/wire"
)

// Options are options of [New].
type Options struct {
	// AllowUnauthenticated accepts requests from any address and sends to any
	// serviceUrl that a request names, although nothing proves that either
	// belongs to a channel: whoever reaches the bot can talk to it as any
	// user, and have it send requests to hosts of the caller's choice. It is
	// for networks in which everybody may.
	AllowUnauthenticated bool

	// MaxBodyBytes is the size of the largest request body that is read. The
	// default, for 0, is 256 KiB.
	MaxBodyBytes int64

	// Timeout bounds each request to a channel. The default, for 0, is 10 s.
	Timeout time.Duration

	// MaxAttempts is how often a request is made before its error is
	// returned. The default, for 0, is 4.
	MaxAttempts int

	// Transport makes the requests to channels. The default, for nil, is one
	// of the adapter's own, which uses no proxy.
	Transport http.RoundTripper

	// Logger gets a warning for each activity other than a message that a
	// channel refuses. The default, for nil, is slog.Default().
	Logger *slog.Logger
}

const (
	defaultMaxBodyBytes = 256 << 10
	defaultTimeout      = 10 * time.Second
	defaultMaxAttempts  = 4
)

// An Adapter is a core.Adapter without credentials. It is safe for concurrent
// use.
type Adapter struct {
	allowAll    bool
	maxBody     int64
	timeout     time.Duration
	maxAttempts int
	client      *http.Client
	logger      *slog.Logger
}

var _ core.Adapter = (*Adapter)(nil)

// New returns an adapter; nil options are the defaults.
func New(opts *Options) *Adapter {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: cmp.Or(o.Timeout, defaultTimeout),
			ForceAttemptHTTP2:     true,
			MaxIdleConns:          256,
			MaxIdleConnsPerHost:   64, // a bot talks to few hosts, and to those a lot
			IdleConnTimeout:       90 * time.Second,
		}
	}
	return &Adapter{
		allowAll:    o.AllowUnauthenticated,
		maxBody:     cmp.Or(o.MaxBodyBytes, defaultMaxBodyBytes),
		timeout:     cmp.Or(o.Timeout, defaultTimeout),
		maxAttempts: cmp.Or(o.MaxAttempts, defaultMaxAttempts),
		client: &http.Client{
			Transport:     o.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		logger: cmp.Or(o.Logger, slog.Default()),
	}
}

// Close closes the connections to channels that are idle. The adapter can be
// used on.
func (a *Adapter) Close() {
	a.client.CloseIdleConnections()
}

// A RequestError reports a request that is not handled. Its text is one line
// that can be shown to the client.
type RequestError struct {
	Status int // the HTTP status to answer with
	Reason string
}

func (e *RequestError) Error() string { return e.Reason }

// HTTPStatus returns the status; package middleware answers with it.
func (e *RequestError) HTTPStatus() int { return e.Status }

// ParseRequest reads an activity. Its error is a [*RequestError]: 403 if the
// request comes from another machine, or if the activity wants its replies
// sent to one; 413 if the body is too large; 400 if it is no activity. Fields
// that package schema has no place for are dropped; values that are no objects
// are held as package middleware's Value says.
func (a *Adapter) ParseRequest(ctx context.Context, r *http.Request) (schema.Activity, error) {
	if !a.allowAll && !isLocal(r.RemoteAddr) {
		return schema.Activity{}, &RequestError{http.StatusForbidden, "requests are answered on this machine only"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, a.maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return schema.Activity{}, &RequestError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", a.maxBody)}
	} else if err != nil {
		return schema.Activity{}, &RequestError{http.StatusBadRequest, "the body could not be read"}
	}
	act, err := wire.Decode(body)
	if err != nil {
		return schema.Activity{}, &RequestError{http.StatusBadRequest, err.Error()}
	}
	if act.Type == "" {
		return schema.Activity{}, &RequestError{http.StatusBadRequest, "the activity has no type"}
	}
	if act.ServiceURL != "" {
		if _, err := a.service(act.ServiceURL); err != nil {
			return schema.Activity{}, &RequestError{http.StatusForbidden, err.Error()}
		}
	}
	return act, nil
}

// isLocal reports whether a request's remote address is of this machine.
func isLocal(remoteAddr string) bool {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// service parses a serviceUrl, and refuses one that must not be sent to.
func (a *Adapter) service(serviceURL string) (*url.URL, error) {
	u, err := url.Parse(serviceURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, errors.New("the serviceUrl is no http or https URL")
	}
	ip := net.ParseIP(u.Hostname())
	if !a.allowAll && !strings.EqualFold(u.Hostname(), "localhost") && (ip == nil || !ip.IsLoopback()) {
		return nil, errors.New("the serviceUrl is not on this machine")
	}
	return u, nil
}

// ProcessActivity handles an activity with a handler written for
// msbotbuilder-go, and sends what it returns; the empty activity means no
// reply. Package middleware does not use it: it sends by SendActivity.
func (a *Adapter) ProcessActivity(ctx context.Context, act schema.Activity, h activity.Handler) error {
	reply, err := activity.PrepareActivityContext(h, &activity.TurnContext{Activity: act})
	if err != nil || reply.Type == "" {
		return err
	}
	_, err = a.SendActivity(ctx, reply)
	return err
}

// ProactiveMessage sends what the handler's OnMessage returns to a
// conversation. It replies to no activity, whatever the reference says.
func (a *Adapter) ProactiveMessage(ctx context.Context, ref schema.ConversationReference, h activity.Handler) error {
	ref.ActivityID = ""
	return a.ProcessActivity(ctx, activity.ApplyConversationReference(schema.Activity{Type: schema.Message}, ref, true), h)
}
