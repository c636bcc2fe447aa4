package bot

import (
	"context"
	"net/http"

	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/wire"
)

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
