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
	"slices"
	"strings"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/outbound"
	"github.com/botlapse/botlapse/internal/wire"
)

// ErrNotAllowed reports a serviceUrl, or an address that its host stands for,
// to which nothing may be sent.
var ErrNotAllowed = outbound.ErrNotAllowed

// Options are options of [New].
type Options struct {
	// App is the bot's registration in Azure. Without one, for nil, the
	// adapter has no credentials: it cannot tell who calls, and serves this
	// machine only.
	App *App

	// AllowUnauthenticated, without an App, accepts requests from anywhere and
	// sends to any serviceUrl that a request names, although nothing proves
	// that either belongs to a channel: whoever reaches the bot can talk to it
	// as any user, and have it send requests to hosts of the caller's choice.
	// It is for networks in which everybody may.
	AllowUnauthenticated bool

	// AllowedHosts, if not empty, are the only hosts of channels to which
	// anything is sent: names, or "*." and a name for all hosts below it.
	AllowedHosts []string

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

	// RepeatLost repeats a request whose answer was lost, although it may have
	// been carried out: the user may then see a message twice, but not miss it.
	RepeatLost bool

	// OperationsPerHour, if not 0, is how many requests are made for each
	// conversation in an hour; those beyond it wait, as long as their context
	// lets them. Teams takes 1800.
	OperationsPerHour int

	// Transport makes all requests: to channels, for tokens, and for the keys
	// of issuers. The default, for nil, is one for channels, which with an App
	// connects to public addresses only, and one for the rest. They use no
	// proxy.
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

// An Adapter is a core.Adapter. It is safe for concurrent use.
type Adapter struct {
	opts     Options // with the defaults filled in
	life     *life
	own      []*http.Transport // those that are not from the options
	verifier *verifier         // nil without credentials
	tokens   *tokenSource      // likewise
	pace     *pace             // nil for none
}

var _ core.Adapter = (*Adapter)(nil)

// New returns an adapter; nil options are the defaults. Its error joins
// everything that is wrong with the options.
func New(opts *Options) (*Adapter, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.App != nil {
		app := *o.App
		if app.Cloud.Login == "" {
			app.Cloud = PublicCloud()
		}
		o.App = &app
	}
	if err := o.check(); err != nil {
		return nil, err
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
	a := &Adapter{life: newLife()}
	trusted := o.Transport // to the addresses of the Cloud
	if o.Transport == nil {
		channels := outbound.NewTransport(o.Timeout, o.App != nil)
		o.Transport, a.own = channels, append(a.own, channels)
	}
	a.opts = o
	if o.OperationsPerHour > 0 {
		a.pace = newPace(o.OperationsPerHour)
	}
	if o.App == nil {
		return a, nil
	}
	if trusted == nil {
		t := outbound.NewTransport(keysTimeout, false)
		trusted, a.own = t, append(a.own, t)
	}
	client := &http.Client{
		Transport:     trusted,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	a.verifier = newVerifier(o.App, a.life, client)
	a.tokens = &tokenSource{app: o.App, client: client, life: a.life}
	return a, nil
}

// check returns everything that is wrong with the options.
func (o *Options) check() error {
	var problems []error
	if o.App != nil {
		problems = append(problems, o.App.check())
		if o.AllowUnauthenticated {
			problems = append(problems, errors.New("connector: AllowUnauthenticated is set, and an App, which authenticates"))
		}
	}
	if o.OperationsPerHour < 0 {
		problems = append(problems, fmt.Errorf("connector: OperationsPerHour is %d: must be 0 or more", o.OperationsPerHour))
	}
	for _, host := range o.AllowedHosts {
		if name := strings.TrimPrefix(host, "*."); name == "" || strings.ContainsAny(name, "*/:@ ") {
			problems = append(problems, fmt.Errorf("connector: AllowedHosts has %q: must be the name of a host, or *. and a name", host))
		}
	}
	return errors.Join(problems...)
}

// Close ends requests for tokens and keys that are under way, waits for their
// end, and closes idle connections. What needs a new token or key fails after
// it. Close can be called more than once.
func (a *Adapter) Close() {
	a.life.close()
	for _, t := range a.own {
		t.CloseIdleConnections()
	}
}

// Ready reports, by nil, that the tokens of channels can be checked, and that
// the bot can get a token of its own. It waits for both as long as ctx lets it.
// Without credentials there is nothing to wait for.
func (a *Adapter) Ready(ctx context.Context) error {
	if a.verifier == nil {
		return nil
	}
	_, err := a.tokens.get(ctx)
	return errors.Join(a.verifier.channel.ready(ctx), err)
}

// AppID returns the id of the app whose tokens requests must bring and sends carry,
// "" without credentials. It makes the adapter a bot.Authenticator.
func (a *Adapter) AppID() string {
	if a.opts.App == nil {
		return ""
	}
	return a.opts.App.ID
}

// ParseRequest checks that a request is authentic, and reads its activity.
//
// With credentials, the token in the request's one Authorization header must be
// signed by the Bot Framework or, as that of the Emulator, by Entra ID for the
// bot itself; it must be meant for this bot, and be valid now, give or take five
// minutes. That of the Bot Framework must also be for the activity's serviceUrl,
// and be signed by a key that is endorsed for the activity's channel. The body
// is read only if the token is good. Without credentials, the request must be
// local: made by a program on this machine.
//
// Its error is a [*RequestError]: 401 if the token is missing or bad; 403 if it
// is good, but not for this bot, serviceUrl or channel, or if the request is
// not local; 503 if tokens cannot be checked because there are no keys yet; 413
// if the body is too large; 400 if it is no activity, or is nested more than
// 100 levels deep, or has more than 10000 members and elements. Fields that
// package schema has no place for are dropped; values that are no objects are
// held as package bot's Value says. Names are exact: a field that is there
// twice, or beside another spelling of its name such as one in capitals, is an
// error, and so is an id or a name that is not valid Unicode. In texts, what is
// not becomes U+FFFD.
//
// The callerId is what the token proves, as in the official SDKs:
// "urn:botframework:azure" or, in Azure Government,
// "urn:botframework:azureusgov"; otherwise it is empty, whatever the activity
// says.
func (a *Adapter) ParseRequest(ctx context.Context, r *http.Request) (schema.Activity, error) {
	var id *identity
	var err error
	switch {
	case a.verifier != nil:
		if id, err = a.verifier.verify(ctx, r); err != nil {
			return schema.Activity{}, err
		}
	case !a.opts.AllowUnauthenticated:
		if err := checkLocal(r); err != nil {
			return schema.Activity{}, &RequestError{http.StatusForbidden, err.Error(), nil}
		}
	}
	body, err := wire.ReadBody(r, a.opts.MaxBodyBytes)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return schema.Activity{}, &RequestError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit), nil}
	} else if err != nil {
		return schema.Activity{}, &RequestError{http.StatusBadRequest, "the body could not be read", err}
	}
	act, err := body.Activity(a)
	if err != nil {
		return schema.Activity{}, &RequestError{http.StatusBadRequest, err.Error(), nil}
	}
	if act.Type == "" {
		return schema.Activity{}, &RequestError{http.StatusBadRequest, "the activity has no type", nil}
	}
	if id != nil {
		if err := id.check(&act); err != nil {
			return schema.Activity{}, err
		}
		act.CallerID = a.verifier.caller
	}
	if act.ServiceURL != "" {
		if _, err := a.service(act.ServiceURL); err != nil {
			return schema.Activity{}, &RequestError{http.StatusForbidden, err.Error(), nil}
		}
	}
	return act, nil
}

// checkLocal refuses a request that no program on this machine has made. What
// a proxy or a tunnel passes on and what a browser sends for a web page comes
// from this machine too, but is as a rule for another host or from a page's
// origin.
func checkLocal(r *http.Request) error {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return errors.New("requests that were passed on are not answered")
		}
	}
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

// service parses a serviceUrl, and refuses one that must not be sent to. Which
// addresses its host stands for, and whether those may be sent to, is seen when
// it is connected to.
func (a *Adapter) service(serviceURL string) (*url.URL, error) {
	u, err := url.Parse(serviceURL)
	switch {
	case serviceURL == "":
		return nil, errors.New("the activity has no serviceUrl")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil:
		return nil, outbound.NotAllowed("the serviceUrl is no http or https URL")
	case a.opts.App != nil && u.Scheme != "https":
		return nil, outbound.NotAllowed("the serviceUrl is no https URL")
	case a.opts.App == nil && !a.opts.AllowUnauthenticated && !isLoopback(u.Hostname()):
		return nil, outbound.NotAllowed("the serviceUrl is not on this machine")
	case !a.allows(u.Hostname()):
		return nil, outbound.NotAllowed("the serviceUrl is at none of the allowed hosts")
	}
	return u, nil
}

// allows reports whether a host is one of the AllowedHosts.
func (a *Adapter) allows(host string) bool {
	return len(a.opts.AllowedHosts) == 0 || slices.ContainsFunc(a.opts.AllowedHosts, func(allowed string) bool {
		domain, below := strings.CutPrefix(allowed, "*")
		if below {
			return len(host) > len(domain) && strings.EqualFold(host[len(host)-len(domain):], domain)
		}
		return strings.EqualFold(host, allowed)
	})
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
