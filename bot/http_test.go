package bot_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// post sends a body to the bot and returns its response. It needs no network,
// so it can be used in a bubble.
func post(ctx context.Context, h http.Handler, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/messages", strings.NewReader(body)))
	return w
}

func silent(context.Context, *bot.Turn) error { return nil }

// newHTTP returns a bot that logs to log.
func newHTTP(b *base, log io.Writer, mw ...bot.Middleware) *bot.Adapter {
	adapter := bot.NewAdapter(b, mw...)
	adapter.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return adapter
}

// An unauthentic is a base that refuses requests.
type unauthentic struct {
	base
	err error
}

func (b *unauthentic) ParseRequest(context.Context, *http.Request) (schema.Activity, error) {
	if b.err == nil {
		panic("interface conversion: interface {} is nil, not string")
	}
	return schema.Activity{}, b.err
}

type statusError struct{ status int }

func (e *statusError) Error() string      { return "not for this bot" }
func (e *statusError) HTTPStatus() int    { return e.status }
func (e *statusError) HTTPReason() string { return "not for this bot" }

func TestHTTPAnswers(t *testing.T) {
	const ids = `"channelId":"test","conversation":{"id":"c1"},"from":{"id":"u1"}`
	conversation := state.NewConversation(state.NewMemory())
	count := state.NewProperty[int](conversation, "count")
	useState := func(ctx context.Context, turn *bot.Turn) error { return count.Set(ctx, 1) }
	reply := func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.Send(ctx, schema.Activity{Type: schema.Typing}, schema.Activity{Text: "<one>"}, schema.Activity{Text: "two"})
		return err
	}
	invoke := func(status int, body any) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			turn.SetInvokeResponse(status, body)
			return nil
		}
	}
	for _, test := range []struct {
		name    string
		method  string
		body    string
		handler bot.Handler
		status  int
		want    string // the body
	}{
		{"a message is 200 without body", "POST", `{"type":"message",` + ids + `}`, silent, 200, ""},
		{"an activity of any type is 200", "POST", `{"type":"somethingNew",` + ids + `}`, silent, 200, ""},
		{"GET is 405", "GET", ``, silent, 405, "use POST\n"},
		{"HEAD is 405", "HEAD", ``, silent, 405, "use POST\n"},
		{"no body is 400", "POST", ``, silent, 400, "the body is no activity in JSON\n"},
		{"text is 400", "POST", `hello`, silent, 400, "the body is no activity in JSON\n"},
		{"half an activity is 400", "POST", `{"type":"mess`, silent, 400, "the body is no activity in JSON\n"},
		{"an array is 400", "POST", `[]`, silent, 400, "the body is no activity in JSON\n"},
		{"a type that is no string is 400", "POST", `{"type":1}`, silent, 400, "the body is no activity in JSON\n"},
		{"no type is 400", "POST", `{` + ids + `}`, silent, 400, "the activity has no type\n"},
		{"256 KiB are accepted", "POST", `{"type":"message","text":"` + strings.Repeat("x", 256<<10-28) + `"}`, silent, 200, ""},
		{"a byte more is 413", "POST", `{"type":"message","text":"` + strings.Repeat("x", 256<<10-27) + `"}`, silent, 413, "the body is larger than 262144 bytes\n"},
		{"no conversation id is 200 where no state is needed", "POST", `{"type":"message","channelId":"test"}`, silent, 200, ""},
		{"no conversation id is 400 where state is needed", "POST", `{"type":"message","channelId":"test"}`, useState, 400, "the activity lacks conversation.id, from.id\n"},
		{"a handler's error is 500 without detail", "POST", `{"type":"message",` + ids + `}`, func(context.Context, *bot.Turn) error { return errors.New("secret detail") }, 500, "the turn failed\n"},
		{"a panic is 500 without detail", "POST", `{"type":"message",` + ids + `}`, func(context.Context, *bot.Turn) error { panic("secret detail") }, 500, "the turn failed\n"},
		{"an invoke that nobody handled is 501", "POST", `{"type":"invoke",` + ids + `}`, silent, 501, "not implemented\n"},
		{"an invoke is its status and body", "POST", `{"type":"invoke",` + ids + `}`, invoke(409, map[string]any{"a": []int{1}}), 409, `{"a":[1]}`},
		{"an invoke without body", "POST", `{"type":"invoke",` + ids + `}`, invoke(204, nil), 204, ""},
		{"an invoke with an impossible status is 500", "POST", `{"type":"invoke",` + ids + `}`, invoke(7, nil), 500, "the turn failed\n"},
		{"an invoke with a body that has no JSON form is 500", "POST", `{"type":"invoke",` + ids + `}`, invoke(200, func() {}), 500, "the turn failed\n"},
		{"an invoke answered by an activity, as in the SDKs", "POST", `{"type":"invoke",` + ids + `}`, func(ctx context.Context, turn *bot.Turn) error {
			_, err := turn.Send(ctx, schema.Activity{Type: "invokeResponse", Value: map[string]any{"status": 202, "body": "ok"}})
			return err
		}, 202, `"ok"`},
		{"expectReplies is 200 with the replies", "POST", `{"type":"message","deliveryMode":"expectReplies",` + ids + `}`, reply, 200,
			`{"activities":[{"type":"typing","channelId":"test","conversation":{"id":"c1"},"recipient":{"id":"u1"}},` +
				`{"type":"message","channelId":"test","conversation":{"id":"c1"},"recipient":{"id":"u1"},"text":"<one>","inputHint":"acceptingInput"},` +
				`{"type":"message","channelId":"test","conversation":{"id":"c1"},"recipient":{"id":"u1"},"text":"two","inputHint":"acceptingInput"}]}`},
		{"expectReplies without replies", "POST", `{"type":"conversationUpdate","deliveryMode":"expectReplies",` + ids + `}`, silent, 200, `{"activities":[]}`},
		{"expectReplies of an invoke", "POST", `{"type":"invoke","deliveryMode":"expectReplies",` + ids + `}`, invoke(200, "done"), 200,
			`{"activities":[{"type":"invokeResponse","value":{"status":200,"body":"done"}}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			adapter := newHTTP(&base{}, &log)
			w := httptest.NewRecorder()
			adapter.HTTPHandler(test.handler).ServeHTTP(w, httptest.NewRequest(test.method, "/api/messages", strings.NewReader(test.body)))
			if w.Code != test.status || !sameText(w.Body.String(), test.want) {
				t.Errorf("answer is %d\n%s, want %d\n%s", w.Code, w.Body, test.status, test.want)
			}
			if log.Len() == 0 {
				t.Error("nothing was logged")
			}
		})
	}
}

// sameText reports whether got is want, or the same object in JSON.
func sameText(got, want string) bool {
	var g, w map[string]any
	if json.Unmarshal([]byte(got), &g) == nil && json.Unmarshal([]byte(want), &w) == nil {
		return reflect.DeepEqual(g, w)
	}
	return got == want
}

func TestARequestThatIsNotAuthenticIsRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		status int
		body   string
	}{
		{"any other error is 401", errors.New("Unauthorized: secret detail"), 401, "not authentic\n"},
		{"the base may say the status", fmt.Errorf("auth: %w", &statusError{403}), 403, "not for this bot\n"},
		{"P34 a panic in the base is 401", nil, 401, "not authentic\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapter := bot.NewAdapter(&unauthentic{err: test.err})
			adapter.Logger = slog.New(slog.DiscardHandler)
			if w := post(t.Context(), adapter.HTTPHandler(silent), `{"type":"message"}`); w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("answer is %d %q, want %d %q", w.Code, w.Body, test.status, test.body)
			}
		})
	}
}

func TestTheActivityIsAtHandAsItWasReceived(t *testing.T) {
	const body = ` {"type":"message","custom":[1,2],"text":"hi"} `
	adapter := newHTTP(&base{}, io.Discard)
	post(t.Context(), adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		if string(turn.Raw) != body || turn.Activity.Text != "hi" {
			t.Errorf("Raw is %s, text is %s", turn.Raw, turn.Activity.Text)
		}
		return nil
	}), body)
}

const aMessage = `{"type":"message","id":"m1","channelId":"test","conversation":{"id":"c1"},"from":{"id":"u1"}}`

func TestATurnThatTakesLongIsAcknowledgedAndGoesOn(t *testing.T) {
	for _, test := range []struct {
		name     string
		ackAfter time.Duration
		takes    time.Duration
		body     string
		waited   time.Duration
		status   int
	}{
		{"1 ns before 10 s it is answered", 0, 10*time.Second - 1, aMessage, 10*time.Second - 1, 200},
		{"after 10 s it is acknowledged", 0, time.Minute, aMessage, 10 * time.Second, 200},
		{"after 1 s by option", time.Second, time.Minute, aMessage, time.Second, 200},
		{"never by option", -1, time.Minute, aMessage, time.Minute, 200},
		{"an invoke waits for its answer", 0, time.Minute, strings.Replace(aMessage, "message", "invoke", 1), time.Minute, 501},
		{"expectReplies waits for the replies", 0, time.Minute, strings.Replace(aMessage, "{", `{"deliveryMode":"expectReplies",`, 1), time.Minute, 200},
	} {
		bubble(t, test.name, func(t *testing.T) {
			b := &base{}
			adapter := newHTTP(b, io.Discard)
			adapter.AckAfter = test.ackAfter
			start := time.Now()
			ended := make(chan error, 1)
			w := post(t.Context(), adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
				time.Sleep(test.takes)
				_, err := turn.SendText(ctx, "done")
				ended <- err
				return err
			}), test.body)
			if waited := time.Since(start); waited != test.waited || w.Code != test.status {
				t.Errorf("answered with %d after %v, want %d after %v", w.Code, waited, test.status, test.waited)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took != test.takes {
				t.Errorf("the turn took %v, want %v", took, test.takes)
			}
		})
	}
}

func TestAClientThatGoesAwayDoesNotStopTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := state.NewMemory()
		c := newCounter(memory, timeout, nil)
		ctx, goAway := context.WithCancel(t.Context())
		post(ctx, c.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
			goAway()
			time.Sleep(time.Second)
			return c.handle(ctx, turn)
		}), strings.Replace(aMessage, "{", `{"text":"a",`, 1))
		wantTexts(t, c.base.texts(), "a: 1 here, 1 in all")
		c.say(t, "b", "b: 2 here, 2 in all")
	})
}

// The same by ProcessActivity, whose context is the request's own.
func TestATurnIsSavedAlthoughItsContextIsDone(t *testing.T) {
	c := newCounter(state.NewMemory(), timeout, nil)
	ctx, goAway := context.WithCancel(t.Context())
	if err := c.adapter.Process(ctx, message("a"), func(ctx context.Context, turn *bot.Turn) error {
		err := c.handle(ctx, turn)
		goAway()
		return err
	}); err != nil {
		t.Error(err)
	}
	c.base.texts()
	c.say(t, "b", "b: 2 here, 2 in all")
}

func TestATurnTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := newHTTP(&base{}, io.Discard)
		adapter.AckAfter = -1
		start := time.Now()
		w := post(t.Context(), adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
			<-ctx.Done()
			return ctx.Err()
		}), aMessage)
		if took := time.Since(start); took != 2*time.Minute || w.Code != 500 {
			t.Errorf("%d after %v, want 500 after 2m", w.Code, took)
		}
	})
}

func TestAHandlerThatEndsItsGoroutineIsAFailedTurn(t *testing.T) {
	adapter := newHTTP(&base{}, io.Discard)
	h := adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		if turn.Activity.Text == "" {
			runtime.Goexit()
		}
		return nil
	})
	if w := post(t.Context(), h, aMessage); w.Code != 500 {
		t.Errorf("answer is %d, want 500", w.Code)
	}
	if w := post(t.Context(), h, strings.Replace(aMessage, "{", `{"text":"next",`, 1)); w.Code != 200 {
		t.Errorf("answer to the next message is %d, want 200", w.Code)
	}
}

// P40: a handler that takes more than 15 s makes the channel deliver again.
func TestP40AnActivityDeliveredTwiceRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		h := c.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
			time.Sleep(20 * time.Second)
			return c.handle(ctx, turn)
		})
		body := strings.Replace(aMessage, "{", `{"text":"a",`, 1)
		var wg sync.WaitGroup
		for i := range 3 { // at 0 s, at 15 s while it runs, at 30 s when it has ended
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 15 * time.Second)
				if w := post(t.Context(), h, body); w.Code != 200 {
					t.Errorf("delivery %d is answered with %d", i, w.Code)
				}
			})
		}
		wg.Wait()
		wantTexts(t, c.base.texts(), "a: 1 here, 1 in all")

		time.Sleep(timeout - 30*time.Second) // since the first delivery
		if w := post(t.Context(), h, body); w.Code != 200 {
			t.Errorf("a late delivery is answered with %d", w.Code)
		}
		wantTexts(t, c.base.texts())
		c.say(t, "b", notice, "b: 1 here, 2 in all") // it neither extended nor expired
	})
}

func TestASecondDeliveryGetsTheAnswerOfTheFirst(t *testing.T) {
	adapter := newHTTP(&base{}, io.Discard)
	runs := 0
	h := adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		runs++
		turn.SetInvokeResponse(201, strings.Repeat("x", len(turn.Activity.Text)))
		_, err := turn.SendText(ctx, "reply "+turn.Activity.Text)
		return err
	})
	for _, body := range []string{
		strings.Replace(aMessage, "message", "invoke", 1),
		strings.Replace(aMessage, "{", `{"deliveryMode":"expectReplies","text":"a",`, 1),
		strings.Replace(strings.Replace(aMessage, "message", "invoke", 1), `"id":"m1"`, `"id":"m2","text":"abc"`, 1),
	} {
		runs = 0
		first, second := post(t.Context(), h, body), post(t.Context(), h, body)
		if runs != 1 || first.Code != second.Code || first.Body.String() != second.Body.String() {
			t.Errorf("%d runs; first %d %s, second %d %s", runs, first.Code, first.Body, second.Code, second.Body)
		}
	}
	huge := strings.Replace(strings.Replace(aMessage, "message", "invoke", 1), `"id":"m1"`, `"id":"m3","text":"`+strings.Repeat("x", 20<<10)+`"`, 1)
	runs = 0
	first, second := post(t.Context(), h, huge), post(t.Context(), h, huge)
	if runs != 1 || first.Code != 201 || first.Body.Len() < 20<<10 || second.Code != 200 || second.Body.Len() != 0 {
		t.Errorf("%d runs; first %d with %d bytes, second %d with %d bytes", runs, first.Code, first.Body.Len(), second.Code, second.Body.Len())
	}
}

func TestTooManyWaitingTurnsAre503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &base{}
		adapter := newHTTP(b, io.Discard)
		adapter.MaxWaiting = 1
		h := adapter.HTTPHandler(func(context.Context, *bot.Turn) error { time.Sleep(time.Second); return nil })
		codes := make(chan int, 3)
		for i := range 3 {
			go func() {
				w := post(t.Context(), h, strings.Replace(aMessage, "m1", fmt.Sprint("m", i), 1))
				if w.Code == 503 && w.Header().Get("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
				codes <- w.Code
			}()
		}
		var sum int
		for range 3 {
			sum += <-codes
		}
		if sum != 200+200+503 {
			t.Errorf("the codes add up to %d, want 200+200+503", sum)
		}
	})
}

func TestMoreRequestsThanMaxTurnsAre503AndNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := newHTTP(&base{}, io.Discard)
		adapter.MaxTurns = 2
		adapter.AckAfter = time.Second
		release := make(chan struct{})
		h := adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error { <-release; return nil })
		send := func(id string) (code int, left int) {
			body := strings.NewReader(`{"type":"message","channelId":"test","id":"` + id + `","conversation":{"id":"` + id + `"},"from":{"id":"u1"}}`)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", io.NopCloser(body)))
			if w.Code == 503 && w.Header().Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			return w.Code, body.Len()
		}
		for _, id := range []string{"1", "2"} {
			if code, _ := send(id); code != 200 { // acknowledged, and still running
				t.Errorf("turn %s: %d", id, code)
			}
		}
		if code, left := send("3"); code != 503 || left == 0 {
			t.Errorf("the third: %d, %d bytes left", code, left)
		}
		close(release)
		synctest.Wait()
		if code, _ := send("4"); code != 200 {
			t.Errorf("after the others: %d", code)
		}
		for range 5 {
			post(t.Context(), h, "{}") // which is no turn
		}
		if code, _ := send("5"); code != 200 {
			t.Errorf("after requests that were refused: %d", code)
		}
	})
}

// TestASlowBodyIsCutOff has a client that stops in the middle of its body.
func TestASlowBodyIsCutOff(t *testing.T) {
	adapter := newHTTP(&base{}, io.Discard)
	adapter.ReadTimeout = time.Millisecond
	server := httptest.NewServer(adapter.HTTPHandler(silent))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: bot\r\nContent-Length: 100\r\n\r\n{")
	if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 408") {
		t.Errorf("answer is %q (%v)", line, err)
	}
}

// TestARefusalDoesNotWaitForTheBody that its client holds back.
func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	adapter := bot.NewAdapter(&unauthentic{err: errors.New("no token")})
	adapter.Logger = slog.New(slog.DiscardHandler)
	server := httptest.NewServer(adapter.HTTPHandler(silent))
	defer server.Close()
	for method, status := range map[string]string{"POST": "401", "PUT": "405"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second)) // half of the time for bodies
		io.WriteString(conn, method+" / HTTP/1.1\r\nHost: bot\r\nContent-Length: 1000\r\n\r\n{")
		if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 "+status) {
			t.Errorf("%s: answer is %q (%v)", method, line, err)
		}
	}
}

// TestConnectionsAreKept where the body was read, also for a request that is
// refused for it.
func TestConnectionsAreKept(t *testing.T) {
	h := newHTTP(&base{}, io.Discard).HTTPHandler(silent)
	for body, status := range map[string]int{`{"type":"typing","channelId":"c","conversation":{"id":"c"},"from":{"id":"u"}}`: 200, `{}`: 400} {
		if w := post(t.Context(), h, body); w.Code != status || w.Header().Get("Connection") != "" {
			t.Errorf("%s: answer is %d, Connection %q", body, w.Code, w.Header().Get("Connection"))
		}
	}
}

// TestATurnMayTakeLongerThanItsBody has the deadline of the body pass during
// the turn, which must not harm the answer or the connection.
func TestATurnMayTakeLongerThanItsBody(t *testing.T) {
	adapter := newHTTP(&base{}, io.Discard)
	adapter.ReadTimeout = 200 * time.Millisecond
	server := httptest.NewServer(adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		select {
		case <-time.After(2 * adapter.ReadTimeout):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	defer server.Close()
	for range 2 {
		resp, err := server.Client().Post(server.URL, "application/json", strings.NewReader(`{"type":"event","channelId":"test","conversation":{"id":"c"},"from":{"id":"u1"}}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("answer is %d", resp.StatusCode)
		}
	}
}

func TestAClosedBotAnswers503(t *testing.T) {
	adapter := newHTTP(&base{}, io.Discard)
	if err := adapter.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := post(t.Context(), adapter.HTTPHandler(silent), aMessage); w.Code != 503 {
		t.Errorf("answer is %d, want 503", w.Code)
	}
}

func TestLogsNameNoTextAndNoStackInTheResponse(t *testing.T) {
	var log bytes.Buffer
	adapter := newHTTP(&base{}, &log)
	body := strings.Replace(aMessage, "{", `{"text":"my password is swordfish",`, 1)
	post(t.Context(), adapter.HTTPHandler(silent), body)
	w := post(t.Context(), adapter.HTTPHandler(func(context.Context, *bot.Turn) error { panic("oops") }), strings.Replace(body, "m1", "m2", 1))
	if got := log.String(); strings.Contains(got, "swordfish") || !strings.Contains(got, "oops") || !strings.Contains(got, "http_test.go") {
		t.Errorf("log is %s", got)
	}
	if strings.Contains(w.Body.String(), "oops") {
		t.Errorf("the response is %s", w.Body)
	}
}

// TestWhatHasNoJSONFormFailsTheTurn: its replies or its response cannot be told,
// so nothing is saved, and a second delivery is no repeat.
func TestWhatHasNoJSONFormFailsTheTurn(t *testing.T) {
	unencodable := map[string]any{"f": func() {}}
	for _, test := range []struct {
		name, activity string
		handle         bot.Handler
	}{
		{"a reply in the response", `"type":"message","deliveryMode":"expectReplies"`, func(ctx context.Context, turn *bot.Turn) error {
			_, err := turn.Send(ctx, schema.Activity{Text: "hi"}, schema.Activity{Attachments: []schema.Attachment{{Content: unencodable}}})
			return err
		}},
		{"an invoke response", `"type":"invoke"`, func(ctx context.Context, turn *bot.Turn) error {
			turn.SetInvokeResponse(200, unencodable)
			return nil
		}},
		{"an invoke response with an impossible status", `"type":"invoke"`, func(ctx context.Context, turn *bot.Turn) error {
			turn.SetInvokeResponse(99, nil)
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			storage := state.NewMemory()
			c := newCounter(storage, timeout, nil)
			h := c.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
				return errors.Join(c.inConversation.Set(ctx, 7), test.handle(ctx, turn))
			})
			for range 2 {
				w := post(t.Context(), h, `{`+test.activity+`,"id":"m1","channelId":"test","conversation":{"id":"c1"},"from":{"id":"u1"},"recipient":{"id":"bot"}}`)
				if w.Code != 500 {
					t.Errorf("answer is %d %s", w.Code, w.Body)
				}
			}
			if items, _ := storage.Read(t.Context(), []string{"test/conversations/c1"}); len(items) != 0 {
				t.Errorf("stored: %v", items)
			}
		})
	}
}

func TestARepliesContentIsThatAtTheSend(t *testing.T) {
	h := newHTTP(&base{}, io.Discard).HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		card := map[string]any{}
		for i := range 2 {
			card["n"] = i
			if _, err := turn.Send(ctx, schema.Activity{Attachments: []schema.Attachment{{Content: card}}}); err != nil {
				return err
			}
		}
		return nil
	})
	w := post(t.Context(), h, `{"type":"message","deliveryMode":"expectReplies","channelId":"test","conversation":{"id":"c1"},"from":{"id":"u1"}}`)
	if body := w.Body.String(); !strings.Contains(body, `"n":0`) || !strings.Contains(body, `"n":1`) {
		t.Errorf("answer is %s", body)
	}
}

// TestAHandlerMayChangeTheActivity has it do so under the feet of the adapter.
func TestAHandlerMayChangeTheActivity(t *testing.T) {
	runs := 0
	h := newHTTP(&base{}, io.Discard).HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		runs++
		turn.Activity.Type, turn.Activity.ID = "ExpireConversation", "other"
		return nil
	})
	for range 2 {
		if w := post(t.Context(), h, `{"type":"invoke","id":"m1","channelId":"test","conversation":{"id":"c1"},"from":{"id":"u1"}}`); w.Code != 501 {
			t.Errorf("answer is %d", w.Code)
		}
	}
	if runs != 1 {
		t.Errorf("it ran %d times", runs)
	}
}

// TestAMissingIDThatIsNotTheActivitysIs500 has a handler make a context of its own.
func TestAMissingIDThatIsNotTheActivitysIs500(t *testing.T) {
	user := state.NewProperty[int](state.NewUser(state.NewMemory()), "x")
	h := newHTTP(&base{}, io.Discard).HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		return user.Set(state.NewContext(ctx, state.IDs{Channel: "test"}), 1)
	})
	if w := post(t.Context(), h, `{"type":"message","channelId":"test","conversation":{"id":"c1"},"from":{"id":"u1"}}`); w.Code != 500 {
		t.Errorf("answer is %d %s", w.Code, w.Body)
	}
}

// TestLogsDoNotNameConversations: storages name the key of the state in errors.
func TestLogsDoNotNameConversations(t *testing.T) {
	var log bytes.Buffer
	away := &statetest.Faults{Storage: state.NewMemory(), Before: func(context.Context, statetest.Call) error { return errors.New("away") }}
	conversation := state.NewConversation(away)
	adapter := newHTTP(&base{}, &log, middleware.AutoSave(conversation), middleware.Expire(conversation, time.Minute, nil))
	w := post(t.Context(), adapter.HTTPHandler(silent), `{"type":"message","id":"1","channelId":"test","conversation":{"id":"secret \"id\""},"from":{"id":"u"}}`)
	if w.Code != 500 || !strings.Contains(log.String(), "away") || strings.Contains(log.String(), "secret") {
		t.Errorf("answer is %d, logged was\n%s", w.Code, &log)
	}
}
