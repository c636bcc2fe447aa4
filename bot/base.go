package bot

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// This file has what a base adapter may be able to do beyond core.Adapter. The
// adapter of package connector can do all of it.

// A Sender is a base adapter that can deliver an addressed activity and tell
// the id that the channel gave it, "" if it gave none. [NewAdapter] prefers it
// to core.Adapter's ProcessActivity, which does not tell.
type Sender interface {
	SendActivity(ctx context.Context, a schema.Activity) (id string, err error)
}

// A RawSender is a base adapter that can deliver an activity as JSON, for
// [Turn.SendRaw]. The activity a has the address, which raw has too, and the
// type; raw is what goes to the channel.
type RawSender interface {
	SendRawActivity(ctx context.Context, a schema.Activity, raw json.RawMessage) (id string, err error)
}

// An Authenticator is a base adapter that says for which app it lets requests in.
// Conversations that were stored while it let in anybody are not written to by
// themselves, because their serviceUrl would be sent the app's token: see
// [Adapter.AppID].
type Authenticator interface {
	// AppID returns the id of the app whose tokens ParseRequest demands, and
	// with whose tokens the base sends. It is "" if requests need no token.
	AppID() string
}

// A StatusError is an error of a base's ParseRequest that says how
// [Adapter.HTTPHandler] answers the request: with a status, and with a line that
// its client may read. Any other error is answered with 401, or with 400 if it
// is one of package encoding/json.
type StatusError interface {
	error
	HTTPStatus() int
	HTTPReason() string
}

// A SendError is an error of a send that tells what has become of the activity.
// Of an error that is none, nobody knows whether the activity has arrived.
type SendError interface {
	error

	// Refused reports whether it is certain that the channel has not taken the
	// activity: it has said so, or it could not be reached.
	Refused() bool

	// Permanent reports whether sending it again is of no use: the conversation is
	// gone, the bot was removed from it, or the activity cannot be taken.
	Permanent() bool
}

// ErrNoRawSender reports a [Turn.SendRaw] with a base adapter that is no
// [RawSender]. Nothing was sent.
var ErrNoRawSender = errors.New("the base adapter cannot send raw activities")

// send delivers an addressed activity through the base adapter: as raw, unless
// that is nil.
func (a *Adapter) send(ctx context.Context, act *schema.Activity, raw json.RawMessage) (id string, err error) {
	if raw != nil {
		if s, ok := a.base.(RawSender); ok {
			return s.SendRawActivity(ctx, *act, raw)
		}
		return "", ErrNoRawSender
	}
	if s, ok := a.base.(Sender); ok {
		return s.SendActivity(ctx, *act)
	}
	return "", a.sendPlain(ctx, *act)
}
