package connector

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/outbound"
	"github.com/botlapse/botlapse/internal/wire"
)

const (
	// maxAnswer bounds how much of a channel's answer is read, and maxList of
	// one to a GET, in bytes.
	maxAnswer = 64 << 10
	maxList   = 4 << 20

	// Waits between attempts are random, up to baseWait, doubled each time
	// up to maxWait.
	baseWait = 500 * time.Millisecond
	maxWait  = 8 * time.Second

	// maxRetryAfter is the longest that a channel may ask to wait.
	maxRetryAfter = time.Minute
)

// A SendError reports a request that a channel refused.
type SendError struct {
	Method string // POST, PUT, DELETE or GET
	Host   string // the channel's
	Status int    // the HTTP status
	Code   string // the channel's error code, such as "BadArgument"; "" if it gave none
}

// Error returns all of it. It has nothing of the answer but the code.
func (e *SendError) Error() string {
	text := fmt.Sprintf("connector: %s to %s: status %d", e.Method, e.Host, e.Status)
	if e.Code != "" {
		text += " " + e.Code
	}
	return text
}

// Permanent reports whether it is of no use to send the activity again: the
// conversation is gone (404 for a new activity), the bot was removed from it or has
// been disabled (403), or the activity is one that the channel does not take (400,
// 413). With Refused it makes the error a SendError of package bot.
func (e *SendError) Permanent() bool {
	switch e.Status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge:
		return true
	}
	return e.Status == http.StatusNotFound && e.Method == http.MethodPost
}

// Refused reports true, because the channel has answered.
func (e *SendError) Refused() bool { return true }

// An unsentError is one of a request that was not sent. It is a SendError of package
// bot too.
type unsentError struct{ error }

func (e unsentError) Unwrap() error   { return e.error }
func (e unsentError) Refused() bool   { return true }
func (e unsentError) Permanent() bool { return false }

// SendActivity sends an addressed activity: one with serviceUrl and
// conversation, as package bot's Turn makes them. It returns the id
// that the channel gave it, "" if it gave none. An activity without type
// becomes a message.
//
// A request that the channel had no time for (status 412, 429, 502, 503 or
// 504), and one that did not reach it, is made again, up to
// Options.MaxAttempts times in all, after a random wait that grows or after as
// long as the channel asks for. It is not if that were more than a minute, or
// not before the deadline of ctx. A request whose answer was lost is not made
// again, as it may have been carried out, unless Options.RepeatLost is set. One
// that is refused with status 401 is made once more, with a new token.
//
// The error is a [*SendError] if there was an answer, a [*TokenError] if there
// was no token, and wraps [ErrNotAllowed] if nothing may be sent there. If ctx
// is done, it is also the error of ctx.
//
// A channel that does not know a type of activity answers with status 400 or
// 501. For a message that is an error; of others, which a bot can do without,
// it becomes a warning in the log.
func (a *Adapter) SendActivity(ctx context.Context, act schema.Activity) (id string, err error) {
	act.Type, act.ID = cmp.Or(act.Type, schema.Message), ""
	return a.send(ctx, &act, nil)
}

// SendRawActivity is [Adapter.SendActivity] for an activity that is written as
// JSON: raw is sent as it is. Of act it takes the type and the address:
// serviceUrl, conversation and replyToId.
func (a *Adapter) SendRawActivity(ctx context.Context, act schema.Activity, raw json.RawMessage) (id string, err error) {
	act.Type = cmp.Or(act.Type, schema.Message)
	return a.send(ctx, &act, raw)
}

// send posts act, or raw instead, unless that is nil.
func (a *Adapter) send(ctx context.Context, act *schema.Activity, raw json.RawMessage) (id string, err error) {
	u, err := a.activities(act.ServiceURL, act.Conversation.ID, act.ReplyToID)
	if err != nil {
		return "", err
	}
	var answer []byte
	if raw != nil {
		answer, err = a.do(ctx, http.MethodPost, u, act.Conversation.ID, raw)
	} else {
		answer, err = a.doActivity(ctx, http.MethodPost, u, act)
	}
	var refused *SendError
	if errors.As(err, &refused) && act.Type != schema.Message &&
		(refused.Status == http.StatusBadRequest || refused.Status == http.StatusNotImplemented) {
		cmp.Or(a.opts.Logger, slog.Default()).LogAttrs(ctx, slog.LevelWarn, "the channel refused an activity",
			slog.String("type", string(act.Type)), slog.Int("status", refused.Status))
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var resource struct{ ID string }
	if len(answer) > 0 && json.Unmarshal(answer, &resource) != nil {
		return "", nil // it was sent; what the channel says about it is its affair
	}
	return resource.ID, nil
}

// UpdateActivity replaces an activity that was sent, the one of act's id, by
// act. It repeats requests and fails like [Adapter.SendActivity].
func (a *Adapter) UpdateActivity(ctx context.Context, act schema.Activity) error {
	if act.ID == "" {
		return errNoActivityID
	}
	u, err := a.activities(act.ServiceURL, act.Conversation.ID, act.ID)
	if err == nil {
		_, err = a.doActivity(ctx, http.MethodPut, u, &act)
	}
	return err
}

// DeleteActivity deletes an activity that was sent to the conversation of ref.
// It repeats requests and fails like [Adapter.SendActivity].
func (a *Adapter) DeleteActivity(ctx context.Context, activityID string, ref schema.ConversationReference) error {
	if activityID == "" {
		return errNoActivityID
	}
	u, err := a.activities(ref.ServiceURL, ref.Conversation.ID, activityID)
	if err == nil {
		_, err = a.do(ctx, http.MethodDelete, u, ref.Conversation.ID, nil)
	}
	return err
}

var (
	errNoActivityID   = errors.New("connector: the activity has no id")
	errNoConversation = errors.New("connector: the activity has no conversation id")
)

// activities returns the URL of a conversation's activities, or of one of them
// if activityID is not empty.
func (a *Adapter) activities(serviceURL, conversationID, activityID string) (*url.URL, error) {
	if conversationID == "" {
		return nil, errNoConversation
	}
	if activityID == "" {
		return a.resource(serviceURL, conversationID, "activities")
	}
	return a.resource(serviceURL, conversationID, "activities", activityID)
}

// resource returns the URL of a path below a channel's conversations. Its
// segments stay that, whatever characters they have.
func (a *Adapter) resource(serviceURL string, segments ...string) (*url.URL, error) {
	u, err := a.service(serviceURL)
	if err != nil {
		return nil, fmt.Errorf("connector: %w", err)
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/") + "/v3/conversations"
	for _, s := range segments {
		path += "/" + escape(s)
	}
	target := &url.URL{Scheme: u.Scheme, Host: u.Host, RawPath: path}
	if target.Path, err = url.PathUnescape(path); err != nil {
		return nil, fmt.Errorf("connector: %w", outbound.NotAllowed("the serviceUrl is no http or https URL"))
	}
	return target, nil
}

// escape encodes a path segment. Dots alone would be taken for a step up.
func escape(id string) string {
	if id == "." || id == ".." {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}

// doActivity is do for a request with an activity in its body.
func (a *Adapter) doActivity(ctx context.Context, method string, u *url.URL, act *schema.Activity) ([]byte, error) {
	body, err := wire.Encode(act)
	if err != nil {
		return nil, fmt.Errorf("connector: encode the activity: %w", err)
	}
	return a.do(ctx, method, u, act.Conversation.ID, body)
}

// do makes a request until it is answered for good, and returns the body of
// the answer.
func (a *Adapter) do(ctx context.Context, method string, u *url.URL, conversation string, body []byte) ([]byte, error) {
	limit := baseWait // of the random wait
	refused := ""     // the token that the channel did not accept
	for attempt := 1; ; attempt++ {
		if a.pace != nil {
			if err := a.pace.wait(ctx, conversation); err != nil {
				return nil, fmt.Errorf("connector: %s to %s: paced: %w", method, u.Host, err)
			}
		}
		token := ""
		if a.tokens != nil {
			var err error
			if token, err = a.tokens.get(ctx); err != nil {
				return nil, err
			}
		}
		answer, after, err := a.try(ctx, method, u, token, body)
		if token != "" && refused == "" && isStatus(err, http.StatusUnauthorized) {
			refused = token
			a.tokens.drop(token)
			attempt--
			continue
		}
		switch {
		case err == nil:
			return answer, nil
		case method == http.MethodDelete && attempt > 1 && isStatus(err, http.StatusNotFound):
			return nil, nil // by an attempt whose answer was lost
		case ctx.Err() != nil:
			return nil, because(err, ctx.Err())
		case after < 0 || after > maxRetryAfter || attempt >= a.opts.MaxAttempts:
			return nil, err
		}
		wait := max(after, rand.N(limit))
		limit = min(2*limit, maxWait)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
			return nil, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, because(err, ctx.Err())
		}
	}
}

func isStatus(err error, status int) bool {
	refused := (*SendError)(nil)
	return errors.As(err, &refused) && refused.Status == status
}

// because adds the error of a context to one that it led to, unless it is there.
func because(err, cause error) error {
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// try makes a request once. If it fails, after is how long to wait at least
// before it is repeated, negative if it must not be.
func (a *Adapter) try(ctx context.Context, method string, u *url.URL, token string, body []byte) (answer []byte, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "", bytes.NewReader(body))
	if err != nil {
		return nil, -1, fmt.Errorf("connector: %s to %s: %w", method, u.Host, err)
	}
	req.URL = u // as it is; written and parsed again it might be another
	req.Header.Set("Accept", "application/json")
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	var connected atomic.Bool
	if len(a.own) > 0 { // others may not say
		req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}))
	}
	resp, err := a.opts.Transport.RoundTrip(req) // which follows no redirects
	if err != nil {
		after = -1
		op := (*net.OpError)(nil)
		unsent := errors.As(err, &op) && op.Op == "dial" || len(a.own) > 0 && !connected.Load()
		if (unsent || a.opts.RepeatLost) && !errors.Is(err, ErrNotAllowed) {
			after = 0
		}
		if err = fmt.Errorf("connector: %s to %s: %w", method, u.Host, err); unsent {
			err = unsentError{err}
		}
		return nil, after, err
	}
	most := int64(maxAnswer)
	if method == http.MethodGet {
		most = maxList
	}
	answer, err = outbound.ReadAnswer(resp, most)
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		if method == http.MethodGet && err != nil {
			return nil, 0, fmt.Errorf("connector: %s to %s: %w", method, u.Host, err)
		}
		return answer, 0, nil // even if the rest was lost: it was carried out
	}
	refused := &SendError{Method: method, Host: u.Host, Status: resp.StatusCode}
	if err == nil {
		refused.Code = errorCode(answer)
	}
	switch resp.StatusCode {
	case http.StatusPreconditionFailed, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, outbound.RetryAfter(resp.Header), refused
	}
	return nil, -1, refused
}

// errorCode returns the error code of an answer, if it looks like one: an
// answer may be anything, and the code goes into logs.
func errorCode(answer []byte) string {
	var e struct{ Error struct{ Code string } }
	if json.Unmarshal(answer, &e) != nil || len(e.Error.Code) > 64 {
		return ""
	}
	for _, c := range e.Error.Code {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return ""
		}
	}
	return e.Error.Code
}
