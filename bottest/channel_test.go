package bottest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/connector"
)

// An adapter is what bots send through.
type adapter interface {
	core.Adapter
	bot.Sender
}

// adapters returns the channel as an adapter, and an adapter of package
// connector that sends to it over HTTP.
func adapters(t *testing.T, c *bottest.Channel) map[string]adapter {
	overHTTP, err := connector.New(&connector.Options{Transport: c, MaxAttempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(overHTTP.Close)
	return map[string]adapter{"itself": c, "over HTTP": overHTTP}
}

var ref = schema.ConversationReference{
	ChannelID: "test", ServiceURL: "http://localhost/", Conversation: schema.ConversationAccount{ID: "c/1"},
	User: schema.ChannelAccount{ID: "u1"}, Bot: schema.ChannelAccount{ID: "bot"},
}

func says(text string) schema.Activity {
	return activity.ApplyConversationReference(schema.Activity{Type: schema.Message, Text: text}, ref, true)
}

func TestAChannelKeepsWhatIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &bottest.Channel{}
		for name, a := range adapters(t, c) {
			handler := activity.HandlerFuncs{OnMessageFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
				if turn.Activity.Text == "quiet" {
					return schema.Activity{}, nil
				}
				return turn.SendActivity(activity.MsgOptionText("echo"))
			}}
			_, err := a.SendActivity(t.Context(), says("one"))
			id, err2 := a.SendActivity(t.Context(), says("two"))
			changed := says("three")
			changed.ID = id
			if err := errors.Join(err, err2,
				a.UpdateActivity(t.Context(), changed), a.DeleteActivity(t.Context(), id, ref),
				a.ProcessActivity(t.Context(), says("quiet"), handler), a.ProcessActivity(t.Context(), says("hi"), handler),
				a.ProactiveMessage(t.Context(), ref, handler)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			var got []string
			for _, a := range c.Sent() {
				if a.Conversation.ID != "c/1" || a.Type != schema.MessageDelete && (a.ChannelID != "test" || a.Recipient.ID == "") {
					t.Errorf("%s: sent was %+v", name, a)
				}
				got = append(got, strings.TrimSpace(fmt.Sprint(a.Type, " ", a.Text, strings.TrimPrefix(a.ID, id))))
			}
			if want := "message one, message two, messageUpdate three, messageDelete, message echo, message echo"; strings.Join(got, ", ") != want {
				t.Errorf("%s: sent were\n%s, want\n%s", name, strings.Join(got, ", "), want)
			}
			if id == "" || len(c.Sent()) != 0 {
				t.Errorf("%s: the id is %q", name, id)
			}
		}
	})
}

func TestAChannelRefusesAndIsSlow(t *testing.T) {
	for _, test := range []struct {
		name      string
		behave    func(c *bottest.Channel)
		status    int // of the error; 0 if there is none, or another one
		permanent bool
		is        error
		takes     time.Duration
	}{
		{"one that accepts", func(c *bottest.Channel) {}, 0, false, nil, 0},
		{"one that has the bot no more", func(c *bottest.Channel) { c.Refuses(403) }, 403, true, nil, 0},
		{"one that has no time", func(c *bottest.Channel) { c.Refuses(503) }, 503, false, nil, 0},
		{"one that is slow", func(c *bottest.Channel) { c.Delays(5 * time.Second) }, 0, false, nil, 5 * time.Second},
		{"one that hangs", func(c *bottest.Channel) { c.Delays(time.Hour) }, 0, false, context.DeadlineExceeded, time.Minute},
		{"one that accepts again", func(c *bottest.Channel) { c.Refuses(503); c.Answers(nil) }, 0, false, nil, 0},
		{"one that fails in its own way", func(c *bottest.Channel) {
			c.Answers(func(_ context.Context, a schema.Activity) error {
				if a.Text == "hi" {
					return errUnplugged
				}
				return nil
			})
		}, 0, false, errUnplugged, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &bottest.Channel{}
				test.behave(c)
				for name, a := range adapters(t, c) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					begin := time.Now()
					_, err := a.SendActivity(ctx, says("hi"))
					var refused *connector.SendError
					switch {
					case test.status != 0 && (!errors.As(err, &refused) || refused.Status != test.status || refused.Permanent() != test.permanent),
						test.is != nil && !errors.Is(err, test.is),
						test.status == 0 && test.is == nil && err != nil:
						t.Errorf("%s: error is %v", name, err)
					}
					if took := time.Since(begin); name == "itself" && took != test.takes {
						t.Errorf("%s: it took %v", name, took)
					}
					if delivered := len(c.Sent()) == 1; delivered != (err == nil) {
						t.Errorf("%s: delivered is %v, error %v", name, delivered, err)
					}
				}
			})
		})
	}
}

var errUnplugged = errors.New("unplugged")

func TestAChannelTakesNothingThatHasNoJSON(t *testing.T) {
	c := &bottest.Channel{}
	a := says("")
	a.Attachments = []schema.Attachment{{Content: func() {}}}
	if _, err := c.SendActivity(t.Context(), a); err == nil || len(c.Sent()) > 0 {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.SendActivity(ctx, says("late")); err != context.Canceled || len(c.Sent()) > 0 {
		t.Errorf("with a context that is done, the error is %v", err)
	}
}

func TestAConnectorServiceAnswersWhatItDoesNotKnow(t *testing.T) {
	c := &bottest.Channel{}
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/v3/conversations/c1/activities", `{"type":"message"}`, 201},
		{"POST", "/v3/conversations/c1/activities/m1", `{"type":"message"}`, 201},
		{"POST", "/v3/conversations/c1/activities", `no JSON`, 400},
		{"GET", "/v3/conversations/c1/members", "", 404},
		{"POST", "/elsewhere", "", 404},
		{"POST", "/botframework.com/oauth2/v2.0/token", "", 200},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, "https://channel.test"+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := c.RoundTrip(r); err != nil || resp.StatusCode != test.want {
			t.Errorf("%s %s is answered with %v, %v; want %d", test.method, test.path, resp, err, test.want)
		}
	}
	if n := len(c.Sent()); n != 2 {
		t.Errorf("%d were sent", n)
	}
}

// TestABotThatPackageConnectorServes has the whole way in the test.
func TestABotThatPackageConnectorServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bottest.New(t, func(base core.Adapter) (http.Handler, func(context.Context) error) {
			overHTTP, err := connector.New(&connector.Options{Transport: base.(http.RoundTripper)})
			if err != nil {
				t.Fatal(err)
			}
			handler, end := newBot(overHTTP)
			return handler, func(ctx context.Context) error {
				defer overHTTP.Close()
				return end(ctx)
			}
		})
		c.Says("hi").Expects("What would you like?")
		c.Channel.Refuses(http.StatusServiceUnavailable)
		c.Says("tea").Expects("= 500 the turn failed") // after it has tried again
		c.Channel.Answers(nil)
		c.Says("tea").Expects("How many?")
		c.Says(`{"type":7}`).Expects(`{"type":7} tea, coming up.`) // 7 is no type, so this is said
	})
}

func TestWhatIsNoActivityIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bottest.New(t, newBot)
		c.Says(`{"type":"message","attachments":7}`).Expects("= 400 the activity's attachments cannot be a number")
	})
}
