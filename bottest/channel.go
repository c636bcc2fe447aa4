package bottest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/internal/wire"
)

// A Channel is a channel in memory: it keeps what bots send. A bot sends to it
// in one of two ways. As a core.Adapter and a [bot.Sender] it is the base of a
// bot.Adapter. As an http.RoundTripper it is the transport of a client, such as
// those of core.AdapterSetting and of connector.Options; it then also gives out
// the tokens that msbotbuilder-go asks for.
//
// The zero value is an empty channel that accepts everything. It must not be
// copied. Its methods are safe for concurrent use.
type Channel struct {
	step func() error // of the process that sends by this end; nil for none
	log  *log         // of the channel whose end this is; nil for its own
	own  log
}

var (
	_ core.Adapter      = (*Channel)(nil)
	_ bot.Sender        = (*Channel)(nil)
	_ http.RoundTripper = (*Channel)(nil)
)

// A log is what a channel has received.
type log struct {
	mu      sync.Mutex
	answer  func(context.Context, schema.Activity) error
	sent    int      // how many activities were accepted
	entries []*entry // those that nobody has taken, in the order of the wire
}

// An entry is an activity that the bot has sent, or its answer to a request.
type entry struct {
	activity schema.Activity // of an answer, only the conversation and who is in it
	answer   bool
	text     string // as it is in a transcript, without what stands before it
}

func (c *Channel) shared() *log {
	if c.log != nil {
		return c.log
	}
	return &c.own
}

// Answers has f say what becomes of each activity that the bot sends: if it
// returns an error, the activity was not delivered, and the bot gets that
// error. Over HTTP, a *connector.SendError is answered with its status. F may
// wait, and then should obey ctx. Nil, as at the start, accepts everything.
func (c *Channel) Answers(f func(ctx context.Context, a schema.Activity) error) {
	l := c.shared()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = f
}

// Refuses has the channel refuse what the bot sends, with an HTTP status such
// as 403 or 503. The bot gets a *connector.SendError.
func (c *Channel) Refuses(status int) {
	c.Answers(func(context.Context, schema.Activity) error {
		return &connector.SendError{Method: http.MethodPost, Host: "channel", Status: status}
	})
}

// Delays has the channel take the time d to accept an activity. A channel that
// hangs is one that takes longer than the bot waits.
func (c *Channel) Delays(d time.Duration) {
	c.Answers(func(ctx context.Context, _ schema.Activity) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// Sent returns what the bot has sent since the last call, in the order of the
// wire. An activity that the bot has updated is there a second time, with the
// type messageUpdate; for one that it has deleted there is a messageDelete.
func (c *Channel) Sent() []schema.Activity { return activities(c.take(isActivity)) }

func isActivity(e *entry) bool { return !e.answer }

// take removes the entries for which f holds.
func (c *Channel) take(f func(*entry) bool) (taken []*entry) {
	l := c.shared()
	l.mu.Lock()
	defer l.mu.Unlock()
	var rest []*entry
	for _, e := range l.entries {
		if f(e) {
			taken = append(taken, e)
		} else {
			rest = append(rest, e)
		}
	}
	l.entries = rest
	return taken
}

func activities(entries []*entry) []schema.Activity {
	var as []schema.Activity
	for _, e := range entries {
		as = append(as, e.activity)
	}
	return as
}

func (c *Channel) add(e *entry) (n int) {
	l := c.shared()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	if !e.answer {
		l.sent++
	}
	return l.sent
}

// SendActivity takes an activity of the bot's, and gives it an id.
func (c *Channel) SendActivity(ctx context.Context, a schema.Activity) (id string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if c.step != nil {
		if err := c.step(); err != nil {
			return "", err
		}
	}
	text, err := textOf(a)
	if err != nil {
		return "", err
	}
	l := c.shared()
	l.mu.Lock()
	answer := l.answer
	l.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, a); err != nil {
			return "", err
		}
	}
	return fmt.Sprint("sent-", c.add(&entry{activity: a, text: text})), nil
}

// ParseRequest reads an activity, whoever sends it.
func (c *Channel) ParseRequest(_ context.Context, r *http.Request) (schema.Activity, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return schema.Activity{}, err
	}
	a, err := wire.Decode(data)
	if err != nil {
		return schema.Activity{}, &connector.RequestError{Status: http.StatusBadRequest, Reason: err.Error()}
	}
	return a, nil
}

// ProcessActivity has h handle an activity, and sends what it returns; the
// empty activity means nothing.
func (c *Channel) ProcessActivity(ctx context.Context, a schema.Activity, h activity.Handler) error {
	reply, err := activity.PrepareActivityContext(h, &activity.TurnContext{Activity: a})
	if err != nil || wire.IsZero(&reply) {
		return err
	}
	_, err = c.SendActivity(ctx, reply)
	return err
}

// ProactiveMessage sends what the OnMessage of h returns to a conversation.
func (c *Channel) ProactiveMessage(ctx context.Context, ref schema.ConversationReference, h activity.Handler) error {
	return c.ProcessActivity(ctx, activity.ApplyConversationReference(schema.Activity{Type: schema.Message}, ref, true), h)
}

// DeleteActivity takes a messageDelete.
func (c *Channel) DeleteActivity(ctx context.Context, id string, ref schema.ConversationReference) error {
	a := activity.ApplyConversationReference(schema.Activity{Type: schema.MessageDelete}, ref, true)
	a.ID = id
	_, err := c.SendActivity(ctx, a)
	return err
}

// UpdateActivity takes a messageUpdate.
func (c *Channel) UpdateActivity(ctx context.Context, a schema.Activity) error {
	a.Type = schema.MessageUpdate
	_, err := c.SendActivity(ctx, a)
	return err
}

// RoundTrip answers requests as the connector service of a channel does, at
// whatever address, and as the login service does, at one that ends in /token.
func (c *Channel) RoundTrip(r *http.Request) (*http.Response, error) {
	var data []byte
	if r.Body != nil {
		defer r.Body.Close()
		var err error
		if data, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	status, answer, err := c.serve(r, data)
	if refused := (*connector.SendError)(nil); errors.As(err, &refused) {
		status = refused.Status
	} else if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: status,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(strings.NewReader(answer)),
		Request:    r,
	}, nil
}

func (c *Channel) serve(r *http.Request, data []byte) (status int, answer string, err error) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		return http.StatusOK, `{"token_type":"Bearer","access_token":"token","expires_in":86400}`, nil
	}
	_, path, _ := strings.Cut(r.URL.EscapedPath(), "/v3/conversations/") // ids may have slashes
	conversation, path, _ := strings.Cut(path, "/")
	activities, id, _ := strings.Cut(path, "/")
	if activities != "activities" {
		return http.StatusNotFound, "{}", nil
	}
	conversation, err = url.PathUnescape(conversation)
	if err == nil {
		id, err = url.PathUnescape(id)
	}
	if err != nil {
		return http.StatusBadRequest, "{}", nil
	}
	if r.Method == http.MethodDelete {
		return http.StatusOK, "{}", c.DeleteActivity(r.Context(), id, schema.ConversationReference{Conversation: schema.ConversationAccount{ID: conversation}})
	}
	a, err := wire.Decode(data)
	if err != nil {
		return http.StatusBadRequest, "{}", nil
	}
	if r.Method == http.MethodPut {
		a.ID = id
		return http.StatusOK, "{}", c.UpdateActivity(r.Context(), a)
	}
	id, err = c.SendActivity(r.Context(), a)
	return http.StatusCreated, fmt.Sprintf(`{"id":%q}`, id), err
}
