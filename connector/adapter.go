package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/wire"
)

// Options are options of [New].
type Options struct {
	// AllowUnauthenticated accepts requests from anywhere and sends to any
	// serviceUrl that a request names, although nothing proves that either
	// belongs to a channel: whoever reaches the bot can talk to it as any
	// user, and have it send requests to hosts of the caller's choice. It is
	// for networks in which everybody may.
	AllowUnauthenticated bool

	// MaxBodyBytes is the size of the largest request body that is read. The
	// default, for 0 or less, is 256 KiB.
	MaxBodyBytes int64

	// Timeout bounds each attempt at a request to a channel, the reading of
	// the answer included. The default, for 0 or less, is 10 s.
	Timeout time.Duration

	// MaxAttempts is how often a request is made before its error is
	// returned; 1 means that none is repeated. The default, for 0 or less,
	// is 4.
	MaxAttempts int

	// Transport makes the requests to channels. The default, for nil, is one
	// of the adapter's own, which uses no proxy.
	Transport http.RoundTripper

	// Logger gets a warning for each activity other than a message that a
	// channel refuses, with its type and the status. The default, for nil, is
	// slog.Default().
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
	opts Options // with the defaults filled in
}

var _ core.Adapter = (*Adapter)(nil)

// New returns an adapter; nil options are the defaults.
func New(opts *Options) *Adapter {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.MaxBodyBytes <= 0 {
		o.MaxBodyBytes = defaultMaxBodyBytes
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxAttempts <= 0 {
		o.MaxAttempts = defaultMaxAttempts
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			DialContext:           (&net.Dialer{Timeout: o.Timeout / 2}).DialContext,
			TLSHandshakeTimeout:   o.Timeout / 2,
			ResponseHeaderTimeout: o.Timeout,
			ForceAttemptHTTP2:     true,
			MaxIdleConns:          256,
			MaxIdleConnsPerHost:   64, // a bot talks to few hosts, and to those a lot
			IdleConnTimeout:       90 * time.Second,
		}
	}
	return &Adapter{o}
}

// Close closes the connections to channels that are idle, if the transport can.
// The adapter can be used on.
func (a *Adapter) Close() {
	if t, ok := a.opts.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
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
// request comes from another machine, is for another host than this, or comes
// from a web page, or if the activity wants its replies sent to another
// machine; 413 if the body is too large; 400 if it is no activity. Fields that
// package schema has no place for are dropped; values that are no objects are
// held as package middleware's Value says.
func (a *Adapter) ParseRequest(ctx context.Context, r *http.Request) (schema.Activity, error) {
	if !a.opts.AllowUnauthenticated {
		if err := checkLocal(r); err != nil {
			return schema.Activity{}, &RequestError{http.StatusForbidden, err.Error()}
		}
	}
	body, err := wire.ReadAll(http.MaxBytesReader(nil, r.Body, a.opts.MaxBodyBytes), r.ContentLength)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return schema.Activity{}, &RequestError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", a.opts.MaxBodyBytes)}
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

// checkLocal refuses a request that no program on this machine has made. What
// a proxy or a tunnel passes on and what a browser sends for a web page comes
// from this machine too, but is as a rule for another host or from a page's
// origin.
func checkLocal(r *http.Request) error {
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	to := url.URL{Host: r.Host}
	switch {
	case !isLoopback(from):
		return errors.New("requests from other machines are not answered")
	case !isLoopback(to.Hostname()):
		return errors.New("requests are answered at localhost and its addresses only")
	case new(http.CrossOriginProtection).Check(r) != nil:
		return errors.New("requests from web pages are not answered")
	}
	return nil
}

// isLoopback reports whether host is localhost or a loopback address. Other
// names are not resolved: what they stand for can change.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// service parses a serviceUrl, and refuses one that must not be sent to.
func (a *Adapter) service(serviceURL string) (*url.URL, error) {
	u, err := url.Parse(serviceURL)
	switch {
	case serviceURL == "":
		return nil, errors.New("the activity has no serviceUrl")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil:
		return nil, errors.New("the serviceUrl is no http or https URL")
	case !a.opts.AllowUnauthenticated && !isLoopback(u.Hostname()):
		return nil, errors.New("the serviceUrl is not on this machine")
	}
	return u, nil
}

// ProcessActivity handles a message, an invoke or a conversationUpdate with a
// handler written for msbotbuilder-go, and sends what it returns; the empty
// activity means no reply. Activities of other types, and those for which an
// activity.HandlerFuncs has no function, are no error and get no reply. Package
// middleware does not use it: it sends by SendActivity.
func (a *Adapter) ProcessActivity(ctx context.Context, act schema.Activity, h activity.Handler) error {
	if !handles(h, act.Type) {
		return nil
	}
	reply, err := activity.PrepareActivityContext(h, &activity.TurnContext{Activity: act})
	if err != nil || reflect.ValueOf(reply).IsZero() {
		return err
	}
	_, err = a.SendActivity(ctx, reply)
	return err
}

// handles reports whether h has a function for activities of type t.
func handles(h activity.Handler, t schema.ActivityTypes) bool {
	if p, ok := h.(*activity.HandlerFuncs); ok {
		h = *p
	}
	funcs, ok := h.(activity.HandlerFuncs)
	switch t {
	case schema.Message:
		return !ok || funcs.OnMessageFunc != nil
	case schema.Invoke:
		return !ok || funcs.OnInvokeFunc != nil
	case schema.ConversationUpdate:
		return !ok || funcs.OnConversationUpdateFunc != nil
	}
	return false
}

// ProactiveMessage sends what the handler's OnMessage returns to a
// conversation. It replies to no activity, whatever the reference says.
func (a *Adapter) ProactiveMessage(ctx context.Context, ref schema.ConversationReference, h activity.Handler) error {
	ref.ActivityID = ""
	return a.ProcessActivity(ctx, activity.ApplyConversationReference(schema.Activity{Type: schema.Message}, ref, true), h)
}
