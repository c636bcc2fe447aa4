package bot_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
)

var _ interface {
	bot.Sender
	bot.RawSender
} = (*connector.Adapter)(nil)

var (
	_ bot.StatusError = (*connector.RequestError)(nil)
	_ bot.SendError   = (*connector.SendError)(nil)
)

// A rawBase is a base that can deliver JSON. It keeps what was sent last.
type rawBase struct {
	base
	address schema.Activity
	raw     string
}

func (b *rawBase) SendRawActivity(ctx context.Context, a schema.Activity, raw json.RawMessage) (id string, err error) {
	b.address, b.raw = a, string(raw)
	return b.SendActivity(ctx, a)
}

func TestARawActivityIsAddressedAndOtherwiseSentAsItIs(t *testing.T) {
	const address = `"channelId":"test","serviceUrl":"http://localhost/channel","conversation":{"id":"c1"},"from":{"id":"bot"},"recipient":{"id":"u1"}`
	for _, test := range []struct{ name, raw, want string }{
		{"nothing but text", `{"text":"hi"}`, `{"text":"hi","type":"message",` + address + `,"replyToId":"m1","inputHint":"acceptingInput","locale":"de-DE"}`},
		{"what schema.Activity has no place for", `{"entities":[{"type":"mention","mentioned":{"id":"u1"}}], "n":12345678901234567890}`,
			`{"entities":[{"type":"mention","mentioned":{"id":"u1"}}], "n":12345678901234567890,"type":"message",` + address + `,"replyToId":"m1","inputHint":"acceptingInput","locale":"de-DE"}`},
		{"a type, hint, locale and activity of its own", `{"type":"message","inputHint":"expectingInput","locale":"fr-FR","replyToId":"m0"}`,
			`{"type":"message",` + address + `,"replyToId":"m0","inputHint":"expectingInput","locale":"fr-FR"}`},
		{"an activity of another type", `{"type":"typing"}`, `{"type":"typing",` + address + `,"replyToId":"m1","locale":"de-DE"}`},
		{"a forged address, in every spelling, and an id", `{"text":"hi","conversation":{"id":"c2"},"Conversation":{"id":"c2"},"ServiceUrl":"http://x","serviceUrl":1,"id":"x","FROM":null}`,
			`{"text":"hi","type":"message",` + address + `,"replyToId":"m1","inputHint":"acceptingInput","locale":"de-DE"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &rawBase{}
			in := withID("m1", message("x"))
			in.Locale = "de-DE"
			err := bot.NewAdapter(b).Process(t.Context(), in, func(ctx context.Context, turn *bot.Turn) error {
				id, err := turn.SendRaw(ctx, json.RawMessage(test.raw))
				if id != "sent-1" || !turn.Responded() {
					t.Errorf("id is %q, responded %v", id, turn.Responded())
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if !sameText(b.raw, test.want) || strings.Contains(test.want, "1234567890") && !strings.Contains(b.raw, `"n":12345678901234567890`) {
				t.Errorf("sent\n%s, want\n%s", b.raw, test.want)
			}
			if b.address.ServiceURL != in.ServiceURL || b.address.Conversation.ID != "c1" || b.address.Type == "" {
				t.Errorf("the address is %+v", b.address)
			}
		})
	}
}

func TestARawActivityThatCannotBeSent(t *testing.T) {
	var kept *bot.Turn
	for _, test := range []struct {
		name, raw string
		base      core.Adapter
		want      error
	}{
		{"with a base that cannot", `{"text":"hi"}`, &base{}, bot.ErrNoRawSender},
		{"no JSON", `{"text":`, &rawBase{}, nil},
		{"no object", `["hi"]`, &rawBase{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			bot.NewAdapter(test.base).Process(t.Context(), message("x"), func(ctx context.Context, turn *bot.Turn) error {
				kept = turn
				_, err := turn.SendRaw(ctx, json.RawMessage(test.raw))
				if err == nil || test.want != nil && !errors.Is(err, test.want) || turn.Responded() {
					t.Errorf("error is %v, want %v; responded %v", err, test.want, turn.Responded())
				}
				return nil
			})
			if _, err := kept.SendRaw(t.Context(), json.RawMessage(`{}`)); !errors.Is(err, bot.ErrTurnEnded) {
				t.Errorf("after the turn the error is %v", err)
			}
		})
	}
}

// TestARawActivityInTheResponse needs nothing of the base.
func TestARawActivityInTheResponse(t *testing.T) {
	send := func(raw string) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			_, err := turn.SendRaw(ctx, json.RawMessage(raw))
			return err
		}
	}
	expecting := strings.Replace(aMessage, "{", `{"deliveryMode":"expectReplies",`, 1)
	w := post(t.Context(), newHTTP(&base{}, io.Discard).HTTPHandler(send(`{"text":"hi","new":[1]}`)), expecting)
	if !strings.Contains(w.Body.String(), `"new":[1]`) || !strings.Contains(w.Body.String(), `"recipient":{"id":"u1"}`) {
		t.Errorf("answer is %s", w.Body)
	}
	w = post(t.Context(), newHTTP(&base{}, io.Discard).HTTPHandler(send(`{"type":"invokeResponse","value":{"status":202,"body":["ok"]}}`)), strings.Replace(aMessage, "message", "invoke", 1))
	if w.Code != 202 || w.Body.String() != `["ok"]` {
		t.Errorf("answer is %d %s", w.Code, w.Body)
	}
}
