package bot_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/state"
)

func TestWhichDeliveriesAreTheSame(t *testing.T) {
	at := func(when int64, a schema.Activity) schema.Activity { a.Timestamp = time.Unix(when, 0); return a }
	of := func(activityType schema.ActivityTypes, a schema.Activity) schema.Activity {
		a.Type = activityType
		return a
	}
	other := withID("m1", message("hi"))
	other.ChannelID = "other"
	colleague := withID("m1", message("hi"))
	colleague.From.ID = "u2"
	for _, test := range []struct {
		name          string
		first, second schema.Activity
		same          bool
	}{
		{"the same message", withID("m1", message("hi")), withID("m1", message("hi")), true},
		{"the same id at another time", at(1, withID("m1", message("hi"))), at(2, withID("m1", message("hi"))), true},
		{"another id", withID("m1", message("hi")), withID("m2", message("hi")), false},
		{"no id", message("hi"), message("hi"), false},
		{"an id of 2000 bytes", withID(strings.Repeat("x", 2000), message("hi")), withID(strings.Repeat("x", 2000), message("hi")), true},
		{"an id that is too long to be remembered", withID(strings.Repeat("x", 2<<10), message("hi")), withID(strings.Repeat("x", 2<<10), message("hi")), false},
		{"the same id in another conversation", withID("m1", message("hi")), in("c2", withID("m1", message("hi"))), false},
		{"the same id on another channel", withID("m1", message("hi")), other, false},
		{"the same id from another sender", withID("m1", message("hi")), colleague, false},
		{"a message and its edit", withID("m1", message("hi")), of(schema.MessageUpdate, withID("m1", message("ho"))), false},
		{"two edits of a message", at(1, of(schema.MessageUpdate, withID("m1", message("ho")))), at(2, of(schema.MessageUpdate, withID("m1", message("hu")))), false},
		{"one edit twice", at(1, of(schema.MessageUpdate, withID("m1", message("ho")))), at(1, of(schema.MessageUpdate, withID("m1", message("ho")))), true},
		{"the same conversationUpdate", withID("m1", of(schema.ConversationUpdate, message(""))), withID("m1", of(schema.ConversationUpdate, message(""))), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapter := bot.NewAdapter(&base{})
			runs := 0
			for _, a := range []schema.Activity{test.first, test.second} {
				if err := adapter.Process(t.Context(), a, func(context.Context, *bot.Turn) error { runs++; return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if (runs == 1) != test.same {
				t.Errorf("%d runs", runs)
			}
		})
	}
}

func TestAnActivityWhoseTurnFailedRunsAgain(t *testing.T) {
	c := newCounter(state.NewMemory(), timeout, nil)
	if err := c.adapter.Process(t.Context(), withID("m1", message("a")), func(context.Context, *bot.Turn) error { return errBad }); err != errBad {
		t.Fatal(err)
	}
	wantTexts(t, c.process(t, withID("m1", message("a"))), "a: 1 here, 1 in all")
}

func TestNoMoreActivitiesAreRememberedThanAsked(t *testing.T) {
	for _, remember := range []int{-1, 1, 3} {
		adapter := bot.NewAdapter(&base{})
		adapter.Remember = remember
		runs := 0
		deliver := func(id int) int {
			before := runs
			adapter.Process(t.Context(), withID(fmt.Sprint(id), message("")), func(context.Context, *bot.Turn) error { runs++; return nil })
			return runs - before
		}
		for id := range 10 {
			deliver(id)
		}
		for id := 9; id >= 0; id-- { // the newest are remembered; what runs again is remembered anew
			want := 1
			if 9-id < remember {
				want = 0
			}
			if got := deliver(id); got != want {
				t.Errorf("remember %d: activity %d ran %d times more, want %d", remember, id, got, want)
			}
			if want == 1 {
				break
			}
		}
	}
}

// TestD12TheSenderIsPartOfWhatIsRemembered has another member of a conversation
// use an id that was used: neither is their message dropped, nor are they given
// the replies to somebody else.
func TestD12TheSenderIsPartOfWhatIsRemembered(t *testing.T) {
	h := newHTTP(&base{}, io.Discard).HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.SendText(ctx, "for "+turn.Activity.From.ID)
		return err
	})
	body := strings.Replace(aMessage, "{", `{"deliveryMode":"expectReplies",`, 1)
	for _, sender := range []string{"u1", "u2", "u1"} {
		if w := post(t.Context(), h, strings.Replace(body, "u1", sender, 1)); !strings.Contains(w.Body.String(), "for "+sender) {
			t.Errorf("%s is answered with %s", sender, w.Body)
		}
	}
}
