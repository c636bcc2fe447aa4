package bottest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

const (
	// giveUp is how long channels wait for the answer to an activity.
	giveUp = 15 * time.Second

	// closeTimeout is how long a process may take to end in order. It is
	// longer than any turn takes, and costs nothing in a bubble.
	closeTimeout = time.Hour
)

// A Chat is a user in a conversation with the bot under test. What the bot
// says there has to be expected, all of it and in its order: if something is
// left when the test ends, the test fails.
//
// A Chat, and those that were made of it, are for one goroutine.
type Chat struct {
	// Channel is where the bot sends to.
	Channel *Channel

	*test
	host                        *host
	channel, user, conversation string
}

// A test is what all chats of a test have in common.
type test struct {
	t         testing.TB
	program   Program
	root      Channel
	processes []*Process
	turns     sync.WaitGroup
	sent      int // by users
}

// A host is where a process runs, one after the other.
type host struct{ process *Process }

// New starts a process of the bot, and returns the chat of a user called "user"
// on the channel "test", in a conversation that is called "user" too. It must be
// called in a bubble, that is within synctest.Test. When the test ends, the bot
// ends.
func New(t testing.TB, program Program) *Chat {
	t.Helper()
	if !inBubble() {
		t.Fatal("bottest: New was called outside of a bubble: call it within synctest.Test")
	}
	x := &test{t: t, program: program}
	c := &Chat{Channel: &x.root, test: x, channel: "test", user: "user", conversation: "user"}
	t.Cleanup(x.end)
	c.host = &host{x.start()}
	return c
}

func inBubble() (ok bool) {
	defer func() { ok = recover() == nil }()
	synctest.Wait()
	return
}

func (x *test) start() *Process {
	p := start(x.program, &x.root)
	x.processes = append(x.processes, p)
	synctest.Wait()
	return p
}

// stop ends a process in order. One that was killed only gives back what it has
// open, and waits for nothing.
func (x *test) stop(p *Process) {
	x.t.Helper()
	if p.stopped {
		return
	}
	p.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	alive := p.alive()
	if !alive {
		cancel()
	}
	if p.stop != nil {
		if err := p.stop(ctx); err != nil && alive {
			x.t.Errorf("the process did not end in order: %v", err)
		}
	}
	p.kill(0)
}

// end ends what is running, and looks for what nobody has expected.
func (x *test) end() {
	for _, p := range x.processes {
		x.stop(p)
	}
	x.turns.Wait()
	if rest := x.root.take(func(*entry) bool { return true }); len(rest) > 0 && !x.t.Failed() {
		x.t.Errorf("nothing expects what the bot has said at last:\n%s", list(texts(rest)))
	}
	time.Sleep(closeTimeout) // in which goroutines of a process that was killed come to their end
}

// Says has the user say something, and returns when the bot has answered the
// request, or after the 15 s that channels wait. A text that is a JSON object
// with a type is not said: it is the activity, of whatever kind, that the
// channel delivers. It gets what it lacks of id, time and address.
//
// If the process has ended, nothing happens.
func (c *Chat) Says(text string) *Chat {
	c.t.Helper()
	p := c.host.process
	if !p.alive() {
		return c
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/api/messages", bytes.NewReader(c.delivery(text)))
	r.RemoteAddr = "127.0.0.1:1024" // package connector serves bots without credentials to this machine only
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "none") // msbotbuilder-go wants one, whatever it is
	w := httptest.NewRecorder()
	answered := make(chan struct{})
	c.turns.Go(func() {
		defer close(answered)
		p.handler.ServeHTTP(w, r)
	})
	answer := "no answer"
	select {
	case <-answered:
		answer = strings.TrimSpace(fmt.Sprintf("%d %s", w.Code, w.Body))
		if w.Code/100 == 2 && w.Body.Len() == 0 {
			answer = ""
		}
	case <-time.After(giveUp):
	}
	cancel()
	synctest.Wait()
	if answer != "" && p.alive() {
		c.root.add(&entry{answer: true, text: answer, activity: schema.Activity{
			ChannelID:    c.channel,
			Conversation: schema.ConversationAccount{ID: c.conversation},
			Recipient:    schema.ChannelAccount{ID: c.user},
		}})
	}
	return c
}

// delivery returns the activity by which a text is said.
func (c *Chat) delivery(text string) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &members) != nil || !bytes.HasPrefix(members["type"], []byte(`"`)) {
		members = map[string]json.RawMessage{"type": encode(schema.Message), "text": encode(text)}
	}
	c.sent++
	for name, value := range map[string]any{
		"id":           fmt.Sprint("said-", c.sent),
		"timestamp":    time.Now().UTC(),
		"channelId":    c.channel,
		"serviceUrl":   "http://localhost/",
		"conversation": map[string]string{"id": c.conversation},
		"from":         map[string]string{"id": c.user},
		"recipient":    map[string]string{"id": "bot"},
	} {
		if members[name] == nil {
			members[name] = encode(value)
		}
	}
	return encode(members)
}

// encode returns the JSON of v, which has one.
func encode(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// Silence lets the time d go by, up to the year 2200: bubbles begin in 2000, and
// their clocks end in 2262.
func (c *Chat) Silence(d time.Duration) *Chat {
	c.t.Helper()
	if tooLong(d) {
		c.t.Fatalf("bottest: a silence of %v ends after the year 2200", d)
	}
	time.Sleep(d)
	synctest.Wait()
	return c
}

func tooLong(d time.Duration) bool { return time.Now().Add(d).Year() >= 2200 }

// Expects checks what the bot has sent to the conversation since the last
// Expects or Sent. Of a message it wants what users read: the text, then the
// titles of buttons, each in brackets, and the names of attachments in
// parentheses, as in
//
//	c.Expects("How do you travel? [Bus] [Bicycle]", "That is me. (ada.png)")
//
// Of other activities it wants the JSON, the type first, without address and
// time: {"type":"endOfConversation","code":"completedSuccessfully"}. And where
// the bot has answered a request with more than a 200, or has not, it wants
// "= 500 the turn failed", "= 501 not implemented", "= 200 " and the body, or
// "= no answer".
func (c *Chat) Expects(want ...string) *Chat {
	c.t.Helper()
	synctest.Wait()
	if got := texts(c.root.take(c.has)); !slices.Equal(got, want) {
		c.t.Errorf("the bot said\n%s\nwant\n%s", list(got), list(want))
	}
	return c
}

// has reports whether an entry is of the conversation.
func (c *Chat) has(e *entry) bool {
	// What is deleted over HTTP does not name the channel.
	return e.activity.Conversation.ID == c.conversation && cmp.Or(e.activity.ChannelID, c.channel) == c.channel
}

func texts(entries []*entry) []string {
	var texts []string
	for _, e := range entries {
		if e.answer {
			texts = append(texts, "= "+e.text)
		} else {
			texts = append(texts, e.text)
		}
	}
	return texts
}

func list(texts []string) string {
	if len(texts) == 0 {
		return "\tnothing"
	}
	return "\t" + strings.ReplaceAll(strings.Join(texts, "\n"), "\n", "\n\t")
}

// Sent returns what the bot has sent to the conversation since the last Expects
// or Sent, for tests that want to know more of it, or nothing. Answers to
// requests are left to Expects.
func (c *Chat) Sent() []schema.Activity {
	synctest.Wait()
	return activities(c.root.take(func(e *entry) bool { return isActivity(e) && c.has(e) }))
}

// With returns another chat with the same bot, on a channel, of a user, in a
// conversation. What is empty is as in c: c.With("", "bob", "") is another user
// in the same conversation.
func (c *Chat) With(channel, user, conversation string) *Chat {
	other := *c
	other.channel = cmp.Or(channel, c.channel)
	other.user = cmp.Or(user, c.user)
	other.conversation = cmp.Or(conversation, c.conversation)
	return &other
}

// Replica starts another process of the bot, and returns the chat of the same
// user with that one.
func (c *Chat) Replica() *Chat {
	other := *c
	other.host = &host{c.start()}
	return &other
}

// Restart ends the process in order, unless it has ended, and starts another
// one in its place, also for the chats that were made by [Chat.With].
func (c *Chat) Restart() *Chat {
	c.t.Helper()
	c.stop(c.host.process)
	c.host.process = c.start()
	return c
}

// Kill ends the process after n steps of those that a [Process] takes; 0 means
// at once. It gets no chance to save or send anything more. The function by
// which the [Program] ends a process in order is called too, so that files are
// closed, but with a context that is done; it is called when the next process
// starts or the test ends, at the latest.
func (c *Chat) Kill(n int) *Chat {
	c.t.Helper()
	c.host.process.kill(n)
	if n == 0 {
		c.stop(c.host.process)
	}
	return c
}

// Alive reports whether the process has not ended.
func (c *Chat) Alive() bool { return c.host.process.alive() }
