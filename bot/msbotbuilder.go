package bot

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/wire"
)

// This file has what exists only because of msbotbuilder-go: the face of a
// core.Adapter, its handlers, and sending through a base that has no more.

var _ core.Adapter = (*Adapter)(nil)

// ParseRequest reads an activity from an HTTP request, through the base
// adapter, which also checks that it is authentic.
func (a *Adapter) ParseRequest(ctx context.Context, req *http.Request) (schema.Activity, error) {
	bounded := *req
	bounded.Body = http.MaxBytesReader(nil, req.Body, cmp.Or(a.MaxBodyBytes, defaultMaxBodyBytes))
	return a.base.ParseRequest(ctx, &bounded)
}

// ProcessActivity is [Adapter.Process] for a handler written for
// msbotbuilder-go; see [HandleActivity]. It cannot answer an invoke, and sends
// replies to an activity that expects them in the HTTP response as messages of
// their own; for both, use [Adapter.HTTPHandler].
func (a *Adapter) ProcessActivity(ctx context.Context, act schema.Activity, h activity.Handler) error {
	return a.Process(ctx, act, HandleActivity(h))
}

// ProactiveMessage is [Adapter.Continue] for a handler written for
// msbotbuilder-go: it sends what the handler's OnMessage returns. It does not
// wait for the turns of the conversation: such handlers call it within one, and
// have no context that would tell.
func (a *Adapter) ProactiveMessage(ctx context.Context, ref schema.ConversationReference, h activity.Handler) error {
	turn := proactiveTurn(ref, func(ctx context.Context, turn *Turn) error {
		act := turn.Activity
		act.Type, act.Name = schema.Message, ""
		reply, err := h.OnMessage(&activity.TurnContext{Activity: act})
		if err != nil || wire.IsZero(&reply) {
			return err
		}
		_, err = turn.Send(ctx, reply)
		return err
	})
	turn.beside = true
	return a.run(ctx, turn)
}

// DeleteActivity deletes an activity that the bot has sent, through the base
// adapter.
func (a *Adapter) DeleteActivity(ctx context.Context, activityID string, ref schema.ConversationReference) error {
	return a.base.DeleteActivity(ctx, activityID, ref)
}

// UpdateActivity replaces an activity that the bot has sent, through the base
// adapter.
func (a *Adapter) UpdateActivity(ctx context.Context, act schema.Activity) error {
	return a.base.UpdateActivity(ctx, act)
}

// HandleActivity turns a handler written for msbotbuilder-go into a Handler.
// What it returns is sent; the empty activity means no reply. Activities of
// types that the old interface does not know, and those for which an
// activity.HandlerFuncs has no function, are no error and get no reply. An
// invoke that was handled is answered with 200, or, if the handler returned an
// activity of type invokeResponse, with the status and body in its value.
func HandleActivity(h activity.Handler) Handler {
	if h == nil {
		panic("bot: nil activity.Handler")
	}
	return func(ctx context.Context, turn *Turn) error {
		on := callback(h, turn.Activity.Type)
		if on == nil {
			return nil
		}
		reply, err := on(&activity.TurnContext{Activity: turn.Activity})
		if err != nil {
			return err
		}
		if turn.Activity.Type == schema.Invoke {
			turn.SetInvokeResponse(http.StatusOK, nil)
		}
		if wire.IsZero(&reply) {
			return nil
		}
		_, err = turn.Send(ctx, reply)
		return err
	}
}

// callback returns the method of h for activities of type t, nil if there is none.
func callback(h activity.Handler, t schema.ActivityTypes) func(*activity.TurnContext) (schema.Activity, error) {
	if p, ok := h.(*activity.HandlerFuncs); ok {
		h = *p
	}
	funcs, ok := h.(activity.HandlerFuncs)
	switch t {
	case schema.Message:
		if !ok || funcs.OnMessageFunc != nil {
			return h.OnMessage
		}
	case schema.Invoke:
		if !ok || funcs.OnInvokeFunc != nil {
			return h.OnInvoke
		}
	case schema.ConversationUpdate:
		if !ok || funcs.OnConversationUpdateFunc != nil {
			return h.OnConversationUpdate
		}
	}
	return nil
}

// sendPlain delivers by all that core.Adapter has: it sends what a handler returns.
func (a *Adapter) sendPlain(ctx context.Context, act schema.Activity) error {
	return a.base.ProcessActivity(ctx, schema.Activity{Type: schema.Message}, activity.HandlerFuncs{
		OnMessageFunc: func(*activity.TurnContext) (schema.Activity, error) { return withCard(act), nil },
	})
}

// withCard turns suggested actions into a card where their values are no
// objects: only a card, whose content is untyped, passes through msbotbuilder-go
// as it should.
func withCard(act schema.Activity) schema.Activity {
	actions := act.SuggestedActions.Actions
	if !slices.ContainsFunc(actions, func(c schema.CardAction) bool { _, ok := c.Value[""]; return ok }) {
		return act
	}
	buttons := make([]map[string]any, len(actions))
	for i, c := range actions {
		buttons[i] = map[string]any{"type": c.Type, "title": c.Title, "value": c.Value}
		if v, ok := c.Value[""]; ok {
			buttons[i]["value"] = v
		}
	}
	act.SuggestedActions = schema.SuggestedActions{}
	act.Attachments = append(slices.Clip(act.Attachments), schema.Attachment{
		ContentType: "application/vnd.microsoft.card.hero",
		Content:     map[string]any{"buttons": buttons},
	})
	return act
}
