package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/redact"
	"github.com/botlapse/botlapse/internal/wire"
	"github.com/botlapse/botlapse/state"
)

// retryAfter is what a busy or closing bot asks of the channel, in seconds.
const retryAfter = "2"

// HTTPHandler returns a handler for the bot's messaging endpoint: each POST is
// a turn, handled by h. It answers with
//
//   - 200 when the turn has succeeded, without a body; for an activity that
//     expects its replies in the response, with {"activities": […]}; for an
//     invoke, with the status and body that were set, 501 if none was;
//   - 200 after [Adapter.AckAfter], while the turn goes on, unless it waits for
//     the storage, for the channel, or for other turns of the conversation;
//   - 400 if the body is no activity, or lacks an id that state is kept under,
//     401 or 403 if it is not authentic, 405 if the method is not POST, 408 if
//     the body takes longer than [Adapter.ReadTimeout], 413 if it is too large;
//   - 503 if too many turns wait, of the conversation or in all (see
//     [Adapter.MaxTurns]), or after Close;
//   - 500 if the turn failed, or was given up ([ErrGivenUp]). The reason is
//     logged, and not told.
//
// A turn goes on if the client goes away.
func (a *Adapter) HTTPHandler(h Handler) http.Handler {
	if h == nil {
		panic("bot: nil Handler")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if limit := cmp.Or(a.ReadTimeout, defaultReadTimeout); limit > 0 {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit)) // if it can
		}
		// Before it answers, net/http reads what is left of the body. A slow sender
		// whose request is refused would hold us up by that, so the connection is
		// closed, unless the body is read.
		w.Header().Set("Connection", "close")
		if !a.enter() {
			a.refuse(w, r, &refusal{http.StatusServiceUnavailable, "busy"})
			return
		}
		turn, err := a.receive(w, r)
		if err != nil {
			a.requests.Add(-1)
			a.refuse(w, r, err)
			return
		}
		turn.handler = h
		kind := turn.Activity.Type // before anybody changes it
		ctx, giveUp := context.WithCancelCause(context.WithoutCancel(r.Context()))
		done := make(chan error, 1)
		go func() {
			err := errors.New("bot: the handler ended its goroutine")
			defer giveUp(nil)
			defer func() {
				a.requests.Add(-1)
				a.log(ctx, turn, err)
				done <- err
			}()
			growStack(0)
			err = a.run(ctx, turn)
		}()
		acknowledged, err := a.await(turn, turn.buffer || kind == schema.Invoke, done, giveUp)
		if acknowledged {
			w.WriteHeader(http.StatusOK)
			return
		}
		a.answer(w, turn, kind, err)
	})
}

// enter counts a request in, unless there are too many.
func (a *Adapter) enter() bool {
	limit := int64(cmp.Or(a.MaxTurns, defaultMaxTurns))
	if a.requests.Add(1) > limit && limit > 0 {
		a.requests.Add(-1)
		return false
	}
	return true
}

// growStack makes the stack of a new goroutine as large as a turn needs, at once.
// A stack that grows step by step is copied each time, which takes a twentieth of
// a turn.
//
//go:noinline
func growStack(i int) byte {
	var frame [7 << 10]byte
	return frame[i]
}

// receive reads the turn's activity from a request.
func (a *Adapter) receive(w http.ResponseWriter, r *http.Request) (*Turn, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, &refusal{http.StatusMethodNotAllowed, "use POST"}
	}
	req := *r
	body := wire.NewBody(w, r, cmp.Or(a.MaxBodyBytes, defaultMaxBodyBytes), a.base)
	req.Body = body
	act, err := a.parse(&req)
	if err == nil || body.WasRead() {
		if _, readErr := body.Bytes(); readErr != nil {
			err = fmt.Errorf("%w: %w", errUnread, readErr)
		} else {
			w.Header().Del("Connection")
		}
	}
	arrived := time.Now()
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{http.StatusRequestTimeout, "the body took too long"}
	case errors.Is(err, errUnread):
		return nil, &refusal{http.StatusBadRequest, "the body could not be read"}
	case err != nil:
		return nil, err
	case act.Type == "":
		return nil, &refusal{http.StatusBadRequest, "the activity has no type"}
	}
	raw, _ := body.Bytes()
	http.NewResponseController(w).SetReadDeadline(time.Time{}) // the turn may take longer
	return &Turn{
		Activity: act,
		Raw:      raw,
		arrived:  arrived,
		checked:  body.WasChecked(),
		buffer:   act.DeliveryMode == deliveryExpectReplies,
	}, nil
}

// errUnread reports a body that could not be read to its end.
var errUnread = errors.New("body not read")

// parse has the base adapter read the activity. That of msbotbuilder-go panics
// at some tokens.
func (a *Adapter) parse(r *http.Request) (act schema.Activity, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("bot: panic in ParseRequest: %v", v)
		}
	}()
	return a.base.ParseRequest(r.Context(), r)
}

// A refusal is an error that says what the HTTP response is.
type refusal struct {
	status int
	line   string
}

func (r *refusal) Error() string      { return r.line }
func (r *refusal) HTTPStatus() int    { return r.status }
func (r *refusal) HTTPReason() string { return r.line }

// refuse answers a request that is no turn.
func (a *Adapter) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, line := http.StatusUnauthorized, "not authentic"
	var known StatusError
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	var badTime *time.ParseError
	switch {
	case errors.As(err, &known):
		status, line = known.HTTPStatus(), known.HTTPReason()
	case errors.As(err, &syntax), errors.As(err, &mismatch), errors.As(err, &badTime),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		status, line = http.StatusBadRequest, "the body is no activity in JSON"
	}
	a.logger().LogAttrs(r.Context(), slog.LevelWarn, "request refused",
		slog.Int("status", status), slog.Any("error", err))
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	}
	http.Error(w, line, status)
}

// answer answers the request of a turn that has ended. The activity had the
// given type.
func (a *Adapter) answer(w http.ResponseWriter, turn *Turn, kind schema.ActivityTypes, err error) {
	switch {
	case errors.Is(err, ErrBusy), errors.Is(err, ErrClosed):
		w.Header().Set("Retry-After", retryAfter)
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	case errors.Is(err, state.ErrMissingID) && len(missingIDs(turn)) > 0:
		http.Error(w, "the activity lacks "+strings.Join(missingIDs(turn), ", "), http.StatusBadRequest)
		return
	case err != nil:
		http.Error(w, "the turn failed", http.StatusInternalServerError)
		return
	}
	answer := turn.answer()
	status := http.StatusOK
	var body []byte
	switch invoke := answer.invoke; {
	case turn.buffer:
		body, err = answer.encode()
	case kind != schema.Invoke:
	case invoke == nil:
		http.Error(w, "not implemented", http.StatusNotImplemented)
		return
	default:
		status, body, err = invoke.Status, invoke.Body, invoke.err
	}
	if err != nil {
		a.log(context.Background(), turn, err)
		http.Error(w, "the turn failed", http.StatusInternalServerError)
		return
	}
	if body != nil {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(status)
	w.Write(body)
}

// An answer is what the HTTP response to a delivery holds.
type answer struct {
	replies []json.RawMessage
	invoke  *invokeResponse
}

// encode writes the body that answers an activity which expects its replies in
// the response. As in the official SDKs an invoke response is one of them.
func (a *answer) encode() ([]byte, error) {
	replies, invoke := a.replies, a.invoke
	if invoke != nil {
		encoded, err := wire.Encode(&schema.Activity{Type: typeInvokeResponse, Value: Value(invoke)})
		if err != nil || invoke.err != nil {
			return nil, errors.Join(err, invoke.err)
		}
		replies = append(slices.Clip(replies), encoded)
	}
	body := []byte(`{"activities":[`)
	for i, r := range replies {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, r...)
	}
	return append(body, `]}`...), nil
}

// missingIDs names the fields of the activity that state keys are made of and
// that are empty.
func missingIDs(turn *Turn) []string {
	var missing []string
	for _, field := range []struct{ name, value string }{
		{"channelId", turn.Activity.ChannelID},
		{"conversation.id", turn.Activity.Conversation.ID},
		{"from.id", turn.Activity.From.ID},
	} {
		if field.value == "" {
			missing = append(missing, field.name)
		}
	}
	return missing
}

// log writes one line about a turn that came by HTTP.
func (a *Adapter) log(ctx context.Context, turn *Turn, err error) {
	level, message := slog.LevelDebug, "turn"
	if err != nil {
		level, message = slog.LevelError, "turn failed"
	}
	logger := a.logger()
	if !logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("channel", turn.Activity.ChannelID),
		slog.String("conversation", redact.Hash(turn.stateKey())),
		slog.String("type", string(turn.Activity.Type)),
		slog.Duration("took", time.Since(turn.arrived)),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", turn.Redact(err)))
		var p *PanicError
		if errors.As(err, &p) {
			attrs = append(attrs, slog.String("stack", string(p.Stack)))
		}
	}
	logger.LogAttrs(ctx, level, message, attrs...)
}
