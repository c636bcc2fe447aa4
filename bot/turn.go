package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/object"
	"github.com/botlapse/botlapse/internal/redact"
	"github.com/botlapse/botlapse/internal/wire"
)

// Values of the activity protocol that package schema does not name.
const (
	deliveryExpectReplies schema.DeliveryModes = "expectReplies"
	typeInvokeResponse    schema.ActivityTypes = "invokeResponse"
	channelEmulator                            = "emulator"
)

// ErrTurnEnded reports a send on a turn that is over. Use [Adapter.Continue]
// to write to the conversation later.
var ErrTurnEnded = errors.New("the turn has ended")

// A Handler handles one turn. Its error fails the turn: nothing that the turn
// changed is saved, and the channel is told that the activity was not handled.
type Handler func(ctx context.Context, turn *Turn) error

// A Middleware surrounds a handler with something done before or after it.
// It may decide not to call next at all. It is called once, and the handler
// that it returns must be safe for concurrent use.
type Middleware func(next Handler) Handler

// A Turn is one activity on its way through the bot, and the way to answer it.
// Its methods are safe for concurrent use.
type Turn struct {
	// Activity is the incoming activity. For a proactive turn it is an event
	// called "ContinueConversation" that the adapter has made.
	//
	// Where the wire has a value, channelData or card action value that is no
	// JSON object, the map has it under the empty key; see [Value].
	Activity schema.Activity

	// Raw is the activity as it was received, for what package schema has no
	// fields for. With package connector as the base, it says the same as
	// Activity to whoever reads it by exact names, as maps do; it has no
	// callerId, which is the base's to tell. It is nil where there was no HTTP
	// request, or the request did not come through [Adapter.HTTPHandler].
	Raw json.RawMessage

	adapter   *Adapter
	handler   Handler
	arrived   time.Time
	proactive bool
	checked   bool  // Activity has ids only, and Raw the rest
	buffer    bool  // replies go into the HTTP response
	beside    bool  // does not wait for other turns of its conversation
	outer     *Turn // in whose context it runs, nil for none

	mu        sync.Mutex
	ended     bool
	responded bool
	replies   []json.RawMessage // activities
	invoke    *invokeResponse
	values    map[any]any
	onSent    []func(schema.Activity)

	// What decides whether the turn can be acknowledged before its end, or be
	// given up.
	ctx          context.Context // that it runs in
	began        time.Time       // when it had waited for the turns before it; zero until then
	sending      int             // sends that are under way, also of turns in this one
	sent         bool            // something that the user would get twice
	unsent       bool            // the last send has failed
	acknowledged bool
	givenUp      bool
	outlasting   context.CancelFunc // ends what outlasts the turn; nil for none
}

// decode decodes an activity that was only checked when it arrived, because a
// turn that waits should hold not much more than the bytes it came in.
func decode(next Handler) Handler {
	return func(ctx context.Context, turn *Turn) error {
		if turn.checked {
			a, err := wire.Decode(turn.Raw)
			if err != nil {
				return fmt.Errorf("bot: %w", err) // which Check would have found
			}
			a.CallerID = turn.Activity.CallerID
			turn.Activity, turn.checked = a, false
		}
		return next(ctx, turn)
	}
}

type invokeResponse struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body,omitempty"`
	err    error           // why there is none
}

func newInvokeResponse(status int, body any) *invokeResponse {
	r := &invokeResponse{Status: status}
	if body != nil {
		if r.Body, r.err = json.Marshal(body); r.err != nil {
			r.err = fmt.Errorf("bot: invoke response: %w", r.err)
		}
	}
	if status < 200 || status > 599 {
		r.err = fmt.Errorf("bot: invoke response with status %d", status)
	}
	return r
}

// Value returns what [Turn.SetValue] has set for key, nil if it has set nothing.
func (t *Turn) Value(key any) any {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.values[key]
}

// SetValue keeps a value for the rest of the turn, so that middleware can tell
// handlers what it has found out. The key must be comparable. As with
// context.WithValue it should be of a type of one's own, so that packages do
// not meet.
func (t *Turn) SetValue(key, value any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.values == nil {
		t.values = make(map[any]any)
	}
	t.values[key] = value
}

// Logger returns the adapter's logger, which names in each line the turn's channel
// and, by a hash, the conversation. Errors that it is given should have gone through
// [Turn.Redact].
func (t *Turn) Logger() *slog.Logger {
	logger := slog.Default()
	if t.adapter != nil {
		logger = t.adapter.logger()
	}
	return logger.With("channel", t.Activity.ChannelID, "conversation", redact.Hash(t.stateKey()))
}

// isWithin reports whether t runs in the context of other, or of a turn that does.
func (t *Turn) isWithin(other *Turn) bool {
	for t = t.outer; t != nil; t = t.outer {
		if t == other {
			return true
		}
	}
	return false
}

// stateKey returns the key of the conversation's state; "" without a conversation.
func (t *Turn) stateKey() string {
	if t.Activity.Conversation.ID == "" {
		return ""
	}
	return t.Activity.ChannelID + "/conversations/" + t.Activity.Conversation.ID
}

// Redact returns the text of an error for a log, which is not to say who talks:
// storages name the key of the state.
func (t *Turn) Redact(err error) string {
	a := &t.Activity
	conversation := t.stateKey()
	var user, private string
	if a.From.ID != "" {
		user, private = a.ChannelID+"/users/"+a.From.ID, conversation+"/users/"+a.From.ID
	}
	return redact.Text(err.Error(), private, user, conversation) // the longest one first
}

// Value returns a map that stands for a value of any JSON type, in the places
// where package schema has only maps: an activity's Value and ChannelData and
// a card action's Value and ChannelData. An object stands for itself; Value is
// for the rest:
//
//	schema.CardAction{Type: schema.ImBack, Title: "Car", Value: bot.Value("Car")}
//
// In an incoming activity the value is found under the empty key.
func Value(v any) map[string]any {
	return map[string]any{"": v}
}

// Adapter returns the adapter that runs the turn.
func (t *Turn) Adapter() *Adapter { return t.adapter }

// Arrived returns when the activity arrived, before it waited for its turn.
func (t *Turn) Arrived() time.Time { return t.arrived }

// Proactive reports whether no incoming activity caused the turn.
func (t *Turn) Proactive() bool { return t.proactive }

// Committed reports whether the turn is to be seen through even if that takes
// long, since another delivery of its activity would do something twice or will
// not come: the bot has sent something but traces and typing, in the turn or in one
// within it, or the channel takes the activity for handled (see
// [Adapter.AckAfter]). Replies that are to be in the HTTP response have not been
// sent yet.
func (t *Turn) Committed() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent || t.acknowledged || t.outer.Committed()
}

// Outlast returns a context for what must be done at the end of the turn although
// its time is over or its client has gone. It has the values of ctx, the turn's
// context, and is done a grace after the deadline of ctx, or a grace from now if
// that has none or is done already; but at once if the turn is given up
// ([ErrGivenUp]).
func (t *Turn) Outlast(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || ctx.Err() != nil {
		deadline = time.Now()
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(grace))
	for t.outer != nil {
		t = t.outer
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.givenUp {
		cancel()
	}
	if before := t.outlasting; before == nil {
		t.outlasting = cancel
	} else {
		t.outlasting = func() { before(); cancel() }
	}
	return ctx, cancel
}

// Responded reports whether the bot has sent something in this turn. Traces do
// not count.
func (t *Turn) Responded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.responded
}

// Reference returns what is needed to write to the conversation later, with
// [Adapter.Continue]. It can be stored as JSON.
func (t *Turn) Reference() schema.ConversationReference {
	a := &t.Activity
	ref := schema.ConversationReference{
		ActivityID:   a.ID,
		User:         a.From,
		Bot:          a.Recipient,
		Conversation: a.Conversation,
		ChannelID:    a.ChannelID,
		ServiceURL:   a.ServiceURL,
	}
	// Direct Line cannot reply to the conversationUpdate by which it begins.
	if a.Type == schema.ConversationUpdate &&
		(strings.EqualFold(a.ChannelID, "directline") || strings.EqualFold(a.ChannelID, "webchat")) {
		ref.ActivityID = ""
	}
	return ref
}

// Send sends activities to the conversation, one after the other, and returns
// the ids that the channel gave them. An id is empty if the channel gave none,
// which is always so for an activity that asked for its replies in the HTTP
// response (expectReplies), and with a base adapter that is no [Sender].
//
// Send addresses each activity: it sets the conversation, serviceUrl,
// channelId, from and recipient, and replyToId and locale unless the activity
// has them or there is nothing to reply to. An activity without type becomes a message; a
// message without inputHint gets acceptingInput. A trace goes to the emulator
// only. An activity of type invokeResponse sets the invoke response.
//
// At the first activity that cannot be sent, Send returns the ids so far and
// the error. After the turn it fails with [ErrTurnEnded].
func (t *Turn) Send(ctx context.Context, activities ...schema.Activity) ([]string, error) {
	ids := make([]string, 0, len(activities))
	for _, a := range activities {
		id, err := t.send(ctx, &a)
		if err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// SendText sends a message and returns the id that the channel gave it, under
// the conditions of [Turn.Send].
func (t *Turn) SendText(ctx context.Context, text string) (id string, err error) {
	return t.send(ctx, &schema.Activity{Type: schema.Message, Text: text})
}

// SendRaw sends an activity that is written as a JSON object, for what
// schema.Activity cannot hold, such as mentions, and returns the id that the
// channel gave it:
//
//	turn.SendRaw(ctx, json.RawMessage(`{"text":"<at>Ada</at>","entities":[{"type":"mention",…}]}`))
//
// It is addressed and completed like one of [Turn.Send]; all else goes out as it
// is. SendRaw fails with [ErrNoRawSender] if the base adapter cannot do that,
// unless the activity of the turn asked for its replies in the HTTP response.
func (t *Turn) SendRaw(ctx context.Context, raw json.RawMessage) (id string, err error) {
	o, err := object.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("bot: send: the activity is %w", err)
	}
	text := func(name string) string { s, _ := object.String(o.Get(name)); return s }
	a := schema.Activity{
		Type:      schema.ActivityTypes(text("type")),
		Name:      text("name"),
		ReplyToID: text("replyToId"),
		Locale:    text("locale"),
		InputHint: schema.InputHints(text("inputHint")),
	}
	t.complete(&a)
	completed, err := wire.Encode(&a)
	if err != nil {
		return "", fmt.Errorf("bot: send %s: %w", a.Type, err)
	}
	own, _ := object.ParseValid(completed)
	o.Filter(func(name string) bool {
		return !slices.ContainsFunc(completedFields, func(field string) bool { return strings.EqualFold(name, field) })
	})
	for name, value := range own.All {
		o.Set(name, value)
	}
	if a.Type == typeInvokeResponse {
		json.Unmarshal(o.Get("value"), &a.Value) // what is no object is none
	}
	return t.deliver(ctx, &a, o.Encode())
}

// completedFields are those that complete sets, and id, which is the channel's
// to give.
var completedFields = []string{"id", "type", "inputHint", "channelId", "serviceUrl", "conversation", "from", "recipient", "replyToId", "locale"}

// send sends a, which it may change.
func (t *Turn) send(ctx context.Context, a *schema.Activity) (id string, err error) {
	t.complete(a)
	return t.deliver(ctx, a, nil)
}

// deliver sends a completed activity: as raw, unless that is nil.
func (t *Turn) deliver(ctx context.Context, a *schema.Activity, raw json.RawMessage) (id string, err error) {
	reply := raw
	if t.buffer && reply == nil && a.Type != typeInvokeResponse {
		if reply, err = wire.Encode(a); err != nil {
			return "", fmt.Errorf("bot: send %s: %w", a.Type, err)
		}
	}

	goesOut, taken := false, false
	t.mu.Lock()
	switch {
	case t.ended:
		err = ErrTurnEnded
	case t.givenUp:
		err = ErrGivenUp
	case a.Type == typeInvokeResponse:
		t.invoke = invokeResponseOf(a.Value)
		t.responded = true
	case t.buffer:
		t.replies = append(t.replies, reply)
		t.responded = t.responded || a.Type != schema.Trace
		taken = true
	case a.Type == schema.Trace && t.Activity.ChannelID != channelEmulator:
	default:
		goesOut = true
		t.sending++
	}
	t.mu.Unlock()
	if goesOut {
		if err = t.outer.beginSend(); err == nil {
			id, err = t.adapter.send(ctx, a, raw)
			t.outer.endSend(a.Type, err)
		}
		taken = err == nil
		t.mu.Lock()
		t.sending--
		t.note(a.Type, err)
		t.responded = t.responded || taken && a.Type != schema.Trace
		t.mu.Unlock()
	}
	if err != nil {
		return "", fmt.Errorf("bot: send %s: %w", a.Type, err)
	}
	if taken {
		t.tellSent(*a)
	}
	return id, nil
}

// beginSend counts a send in that a turn makes which runs in t, unless t was given
// up.
func (t *Turn) beginSend() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.givenUp {
		return ErrGivenUp
	}
	if err := t.outer.beginSend(); err != nil {
		return err
	}
	t.sending++
	return nil
}

// endSend counts a send out that a turn has made which runs in t.
func (t *Turn) endSend(of schema.ActivityTypes, err error) {
	for ; t != nil; t = t.outer {
		t.mu.Lock()
		t.sending--
		t.note(of, err)
		t.mu.Unlock()
	}
}

// note takes note of a send that has ended. The caller holds t.mu.
func (t *Turn) note(of schema.ActivityTypes, err error) {
	t.unsent = err != nil
	t.sent = t.sent || err == nil && of != schema.Trace && of != schema.Typing
}

// OnSent has f called with each activity that the turn sends from now on, when the
// channel has taken it, or when it is among the replies that go into the HTTP
// response. Of what [Turn.SendRaw] sends, f gets the type, the name and the address.
func (t *Turn) OnSent(f func(schema.Activity)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onSent = append(t.onSent, f)
}

func (t *Turn) tellSent(a schema.Activity) {
	t.mu.Lock()
	listeners := t.onSent
	t.mu.Unlock()
	for _, f := range listeners {
		f(a)
	}
}

// complete gives an outgoing activity a type and an input hint if it has none,
// and addresses it.
func (t *Turn) complete(a *schema.Activity) {
	if a.Type == "" {
		a.Type = schema.Message
	}
	if a.Type == schema.Message && a.InputHint == "" {
		a.InputHint = schema.AcceptingInput
	}
	ref := t.Reference()
	a.ChannelID = ref.ChannelID
	a.ServiceURL = ref.ServiceURL
	a.Conversation = ref.Conversation
	a.From = ref.Bot
	a.Recipient = ref.User
	if a.ReplyToID == "" {
		a.ReplyToID = ref.ActivityID
	}
	if a.Locale == "" {
		a.Locale = t.Activity.Locale
	}
}

// SetInvokeResponse sets the HTTP status and, encoded as JSON, the body by
// which an invoke is answered; a nil body is none. The last one set counts.
// An invoke for which none is set is answered with 501. The answer needs
// [Adapter.HTTPHandler]: [Adapter.ProcessActivity] has no way to give it. A
// status that is none from 200 to 599, and a body that has no JSON form, fail
// the turn.
func (t *Turn) SetInvokeResponse(status int, body any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.invoke = newInvokeResponse(status, body)
}

// invokeResponseOf reads the value of an activity of type invokeResponse.
func invokeResponseOf(value map[string]any) *invokeResponse {
	code := 200
	switch status := value["status"].(type) {
	case int:
		code = status
	case float64:
		code = int(status)
	}
	return newInvokeResponse(code, value["body"])
}

// failure returns what has gone wrong although the handler has succeeded: the
// turn was given up, or its invoke response has no JSON form.
func (t *Turn) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.givenUp:
		return fmt.Errorf("bot: %w", ErrGivenUp)
	case t.invoke != nil:
		return t.invoke.err
	}
	return nil
}

// answer returns what the HTTP response has to hold.
func (t *Turn) answer() answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return answer{t.replies, t.invoke}
}

// setAnswer makes a the answer, as if this turn had given it.
func (t *Turn) setAnswer(a answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.replies, t.invoke = a.replies, a.invoke
}

func (t *Turn) hasEnded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// end makes later sends fail.
func (t *Turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}
