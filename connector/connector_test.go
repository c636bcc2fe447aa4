package connector_test

import (
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
	"net/url"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/connector"
)

// TestMain checks that what the tests have closed leaves no goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	for limit := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("net/http.")) {
			break
		}
		if time.Now().After(limit) {
			fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", stacks)
			code = 1
			break
		}
	}
	os.Exit(code)
}

// A seen is a request as a channel sees it.
type seen struct {
	method, path, contentType, body string
}

// newChannel starts a channel that answers with status and body.
func newChannel(t testing.TB, status int, body string) (serviceURL string, requests chan seen) {
	requests = make(chan seen, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		requests <- seen{r.Method, r.URL.EscapedPath(), r.Header.Get("Content-Type"), string(sent)}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func newAdapter(t testing.TB, o connector.Options) *connector.Adapter {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a, err := connector.New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func to(serviceURL string) schema.Activity {
	return schema.Activity{
		Type:         schema.Message,
		Text:         "hi",
		ServiceURL:   serviceURL,
		Conversation: schema.ConversationAccount{ID: "c1"},
	}
}

func TestActivitiesGoWhereTheChannelWantsThem(t *testing.T) {
	for _, test := range []struct {
		name, prefix, conversation, replyTo, want string
	}{
		{"a message", "", "c1", "", "/v3/conversations/c1/activities"},
		{"a reply", "", "c1", "m1", "/v3/conversations/c1/activities/m1"},
		{"the path of the serviceUrl stays", "/_connector", "c1", "m1", "/_connector/v3/conversations/c1/activities/m1"},
		{"with or without slash", "/amer/", "c1", "", "/amer/v3/conversations/c1/activities"},
		{"and as it is encoded", "/a%2Fb%20c", "c1", "", "/a%2Fb%20c/v3/conversations/c1/activities"},
		{"a slash in an id", "", "a/b", "x/y", "/v3/conversations/a%2Fb/activities/x%2Fy"},
		{"an encoded slash in an id", "", "a%2Fb", "", "/v3/conversations/a%252Fb/activities"},
		{"an id of Teams", "", "19:meeting_x@thread.v2;messageid=1", "", "/v3/conversations/19:meeting_x@thread.v2%3Bmessageid=1/activities"},
		{"an id with a space, a plus and a percent", "", "a b+c%", "", "/v3/conversations/a%20b+c%25/activities"},
		{"an id with a question mark and a hash", "", "a?b#c", "", "/v3/conversations/a%3Fb%23c/activities"},
		{"an id that is one dot", "", ".", "", "/v3/conversations/%2E/activities"},
		{"an id that is two dots", "", "..", "..", "/v3/conversations/%2E%2E/activities/%2E%2E"},
		{"an id that climbs", "", "../../x", "", "/v3/conversations/..%2F..%2Fx/activities"},
		{"an id with letters of other scripts", "", "ü漢\x00", "", "/v3/conversations/%C3%BC%E6%BC%A2%00/activities"},
	} {
		t.Run(test.name, func(t *testing.T) {
			channel, requests := newChannel(t, 201, `{"id":"r1"}`)
			a := to(channel + test.prefix)
			a.Conversation.ID, a.ReplyToID = test.conversation, test.replyTo
			if id, err := newAdapter(t, connector.Options{}).SendActivity(t.Context(), a); id != "r1" || err != nil {
				t.Errorf("id is %q, error %v", id, err)
			}
			if got := <-requests; got.path != test.want || got.method != "POST" || got.contentType != "application/json" {
				t.Errorf("the channel got %+v, want path %s", got, test.want)
			}
		})
	}
}

func TestARawActivityIsSentAsItIs(t *testing.T) {
	const raw = `{ "type":"message","entities":[{"mentioned":{}}],"n":1.0 }`
	channel, requests := newChannel(t, 201, `{"id":"r1"}`)
	a := to(channel)
	a.ReplyToID = "m1"
	if id, err := newAdapter(t, connector.Options{}).SendRawActivity(t.Context(), a, json.RawMessage(raw)); id != "r1" || err != nil {
		t.Errorf("id is %q, error %v", id, err)
	}
	if got := <-requests; got.path != "/v3/conversations/c1/activities/m1" || got.contentType != "application/json" || got.body != raw {
		t.Errorf("the channel got %+v", got)
	}
}

func TestWhatIsEmptyIsNotSent(t *testing.T) {
	channel, requests := newChannel(t, 200, `{"id":"r1"}`)
	a := to(channel)
	a.ID = "dropped"
	if _, err := newAdapter(t, connector.Options{}).SendActivity(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	got := (<-requests).body
	want := map[string]any{"type": "message", "serviceUrl": channel, "conversation": map[string]any{"id": "c1"}, "text": "hi"}
	var fields map[string]any
	if err := json.Unmarshal([]byte(got), &fields); err != nil || !reflect.DeepEqual(fields, want) {
		t.Errorf("the body is %s, want %v", got, want)
	}
}

func TestAnswersOfChannels(t *testing.T) {
	const secret = `{"error":{"code":"BadArgument","message":"token swordfish"}}`
	for _, test := range []struct {
		name   string
		of     schema.ActivityTypes
		status int
		body   string
		id     string
		err    string
	}{
		{"201 with an id", schema.Message, 201, `{"id":"r1"}`, "r1", ""},
		{"202 without body", schema.Typing, 202, ``, "", ""},
		{"204", schema.Message, 204, ``, "", ""},
		{"200 with something else", schema.Message, 200, `<html>`, "", ""},
		{"200 with an id that is no string", schema.Message, 200, `{"id":7}`, "", ""},
		{"400 for a message", schema.Message, 400, secret, "", "status 400 BadArgument"},
		{"400 for an endOfConversation must not end the turn", schema.EndOfConversation, 400, secret, "", ""},
		{"501 for an event must not end the turn", schema.Event, 501, ``, "", ""},
		{"404 for an event is an error", schema.Event, 404, ``, "", "status 404"},
		{"401", schema.Message, 401, `swordfish`, "", "status 401"},
		{"403", schema.Message, 403, `{"error":{"code":"BotNotInConversationRoster"}}`, "", "status 403 BotNotInConversationRoster"},
		{"404", schema.Message, 404, `{"error":{"code":"swordfish is the secret"}}`, "", "status 404"},
		{"413", schema.Message, 413, `[]`, "", "status 413"},
		{"500 is not repeated", schema.Message, 500, ``, "", "status 500"},
		{"a redirect is not followed", schema.Message, 307, ``, "", "status 307"},
	} {
		t.Run(test.name, func(t *testing.T) {
			channel, requests := newChannel(t, test.status, test.body)
			a := to(channel)
			a.Type = test.of
			id, err := newAdapter(t, connector.Options{}).SendActivity(t.Context(), a)
			if id != test.id || (err == nil) != (test.err == "") {
				t.Errorf("id is %q, error %v; want %q, %s", id, err, test.id, test.err)
			}
			if err != nil {
				host := strings.TrimPrefix(channel, "http://")
				if want := "connector: POST to " + host + ": " + test.err; err.Error() != want {
					t.Errorf("error is %q, want %q", err, want)
				}
				var sendError *connector.SendError
				if !errors.As(err, &sendError) || sendError.Status != test.status {
					t.Errorf("error is %#v", err)
				}
			}
			if len(requests) != 1 {
				t.Errorf("%d requests, want 1", len(requests))
			}
		})
	}
}

func TestUpdateAndDelete(t *testing.T) {
	channel, requests := newChannel(t, 200, `{}`)
	adapter := newAdapter(t, connector.Options{})
	a := to(channel)
	a.ID = "r/1"
	ref := schema.ConversationReference{ServiceURL: channel, Conversation: a.Conversation}
	if err := errors.Join(adapter.UpdateActivity(t.Context(), a), adapter.DeleteActivity(t.Context(), "r/1", ref)); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"PUT", "DELETE"} {
		if got := <-requests; got.method != method || got.path != "/v3/conversations/c1/activities/r%2F1" || (got.body == "") != (method == "DELETE") {
			t.Errorf("the channel got %+v", got)
		}
	}
	if adapter.UpdateActivity(t.Context(), to(channel)) == nil || adapter.DeleteActivity(t.Context(), "", ref) == nil {
		t.Error("an empty activity id was accepted")
	}
}

func TestNothingIsSentToOtherMachines(t *testing.T) {
	for _, serviceURL := range []string{
		"", "localhost", "/x", "ftp://localhost/", "http://", "http://example.com/", "https://smba.trafficmanager.net/amer/", "http://192.168.0.1/",
		"http://169.254.169.254/", "http://127.0.0.1.example.com/", "http://localhost.example.com/", "http://user:pass@localhost/", "http://[fe80::1]/", "http://0.0.0.0/", "://",
		"http://localhost\\@example.com/", "http://2130706433/",
	} {
		adapter := newAdapter(t, connector.Options{Transport: fail{t}})
		if _, err := adapter.SendActivity(t.Context(), to(serviceURL)); err == nil {
			t.Errorf("%q was sent to", serviceURL)
		}
		_, err := adapter.ParseRequest(t.Context(), request(fmt.Sprintf(`{"type":"message","serviceUrl":%q}`, serviceURL), "127.0.0.1:5"))
		if (err == nil) != (serviceURL == "") {
			t.Errorf("a request with the serviceUrl %q: %v", serviceURL, err)
		}
	}
}

// fail is a transport that must not be used.
type fail struct{ t *testing.T }

func (f fail) RoundTrip(r *http.Request) (*http.Response, error) {
	f.t.Errorf("a request to %s", r.URL.Host)
	return nil, errors.New("not sent")
}

func request(body, from string) *http.Request {
	r := httptest.NewRequest("POST", "http://localhost:3978/api/messages", strings.NewReader(body))
	r.RemoteAddr = from
	return r
}

func TestRequests(t *testing.T) {
	for _, test := range []struct {
		name   string
		body   string
		from   string
		status int
		err    string
	}{
		{"from this machine", `{"type":"message","text":"hi","serviceUrl":"http://localhost:1/x"}`, "127.0.0.1:5", 0, ""},
		{"from this machine by IPv6", `{"type":"message"}`, "[::1]:5", 0, ""},
		{"with a serviceUrl by address", `{"type":"message","serviceUrl":"https://[::1]:8/"}`, "127.0.0.1:5", 0, ""},
		{"from another machine", `{"type":"message"}`, "192.0.2.1:5", 403, "requests from other machines are not answered"},
		{"from nowhere", `{"type":"message"}`, "", 403, "requests from other machines are not answered"},
		{"with a serviceUrl elsewhere", `{"type":"message","serviceUrl":"http://example.com/"}`, "127.0.0.1:5", 403, "the serviceUrl is not on this machine"},
		{"not JSON", `hello`, "127.0.0.1:5", 400, "the activity is not JSON"},
		{"without type", `{"text":"x"}`, "127.0.0.1:5", 400, "the activity has no type"},
		{"of a wrong type", `{"type":"message","text":[]}`, "127.0.0.1:5", 400, "the activity's text cannot be an array"},
		{"too large", `{"type":"message","text":"` + strings.Repeat("x", 256<<10) + `"}`, "127.0.0.1:5", 413, "the body is larger than 262144 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := newAdapter(t, connector.Options{}).ParseRequest(t.Context(), request(test.body, test.from))
			if test.err == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var refused *connector.RequestError
			if !errors.As(err, &refused) || refused.HTTPStatus() != test.status || err.Error() != test.err {
				t.Errorf("error is %#v, want %d %s", err, test.status, test.err)
			}
		})
	}
}

// TestOnlyProgramsOnThisMachineAreAnswered is about requests that come from
// this machine, but for somebody else: through a tunnel, or for a web page.
func TestOnlyProgramsOnThisMachineAreAnswered(t *testing.T) {
	const host, page = "requests are answered at localhost and its addresses only", "requests from web pages are not answered"
	for _, test := range []struct {
		name, host, header, value, err string
	}{
		{"at localhost", "localhost:3978", "", "", ""},
		{"at localhost on the default port", "LOCALHOST", "", "", ""},
		{"at an address", "127.0.0.1:3978", "", "", ""},
		{"at another address", "127.8.8.8", "", "", ""},
		{"at an IPv6 address", "[::1]:3978", "", "", ""},
		{"through a tunnel", "bot.example.com", "", "", host},
		{"for a name that a page has bound to this machine", "evil.example.com:3978", "Origin", "http://evil.example.com:3978", host},
		{"for a name below localhost", "bot.localhost:3978", "", "", host},
		{"without host", "", "", "", host},
		{"from a page elsewhere", "localhost:3978", "Origin", "https://evil.example.com", page},
		{"from a page without origin", "localhost:3978", "Origin", "null", page},
		{"from a page on another port", "localhost:3978", "Origin", "http://localhost:8080", page},
		{"from a page, as browsers say now", "localhost:3978", "Sec-Fetch-Site", "cross-site", page},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request(`{"type":"message"}`, "127.0.0.1:5")
			r.Host = test.host
			if test.header != "" {
				r.Header.Set(test.header, test.value)
			}
			_, err := newAdapter(t, connector.Options{}).ParseRequest(t.Context(), r)
			var refused *connector.RequestError
			if test.err == "" {
				if err != nil {
					t.Error(err)
				}
			} else if !errors.As(err, &refused) || refused.Status != 403 || err.Error() != test.err {
				t.Errorf("error is %v, want %s", err, test.err)
			}
		})
	}
}

func TestEverybodyIsAnsweredByOption(t *testing.T) {
	adapter := newAdapter(t, connector.Options{AllowUnauthenticated: true})
	r := request(`{"type":"message","serviceUrl":"https://example.com/"}`, "192.0.2.1:5")
	r.Host = "bot.example.com"
	if _, err := adapter.ParseRequest(t.Context(), r); err != nil {
		t.Error(err)
	}
	if _, err := adapter.ParseRequest(t.Context(), request(`{"type":"message","serviceUrl":"file:///etc/passwd"}`, "192.0.2.1:5")); err == nil {
		t.Error("a file was accepted as serviceUrl")
	}
}

// A script is a transport that answers each request with the next status, or
// error, and notes when.
type script struct {
	start   time.Time
	answers []any // int, error, or *http.Response
	at      []time.Duration
	takes   time.Duration
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.at = append(s.at, time.Since(s.start))
	if s.takes > 0 {
		select {
		case <-time.After(s.takes):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	switch answer := answer.(type) {
	case error:
		return nil, answer
	case *http.Response:
		return answer, nil
	}
	return respond(answer.(int), ""), nil
}

func respond(status int, retryAfter string) *http.Response {
	r := &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(`{"id":"r1"}`)), Header: http.Header{}}
	if retryAfter != "" {
		r.Header.Set("Retry-After", retryAfter)
	}
	return r
}

func TestRequestsAreRepeatedWithinTheirTime(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	reset := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	for _, test := range []struct {
		name     string
		answers  []any
		budget   time.Duration // 0 for none
		requests int
		ok       bool
		least    time.Duration // that all of it takes
		most     time.Duration
	}{
		{"502, 503, 504, then 200", []any{502, 503, 504, 200}, 0, 4, true, 0, 3500 * time.Millisecond},
		{"412 and 429, then 200", []any{412, 429, 200}, 0, 3, true, 0, 1500 * time.Millisecond},
		{"503 for ever", []any{503}, 0, 4, false, 0, 3500 * time.Millisecond},
		{"Retry-After in seconds", []any{respond(429, "7"), 200}, 0, 2, true, 7 * time.Second, 7 * time.Second},
		{"Retry-After as a date", []any{respond(503, "Sat, 01 Jan 2000 00:00:30 GMT"), 200}, 0, 2, true, 30 * time.Second, 30 * time.Second},
		{"Retry-After in the past", []any{respond(503, "Fri, 31 Dec 1999 00:00:00 GMT"), 200}, 0, 2, true, 0, 500 * time.Millisecond},
		{"Retry-After that is nonsense", []any{respond(503, "-3"), 200}, 0, 2, true, 0, 500 * time.Millisecond},
		{"Retry-After just within the turn's time", []any{respond(429, "7"), 200}, 7*time.Second + 1, 2, true, 7 * time.Second, 7 * time.Second},
		{"Retry-After beyond the turn's time is not waited for", []any{respond(429, "7"), 200}, 7 * time.Second, 1, false, 0, 0},
		{"a connection that was refused", []any{refused, 200}, 0, 2, true, 0, 500 * time.Millisecond},
		{"a connection that is refused for ever", []any{refused}, 0, 4, false, 0, 3500 * time.Millisecond},
		{"a connection that was lost after the request", []any{reset, 200}, 0, 1, false, 0, 0},
		{"Retry-After of a minute", []any{respond(429, "60"), 200}, 0, 2, true, time.Minute, time.Minute},
		{"Retry-After of more is not waited for", []any{respond(429, "61"), 200}, 0, 1, false, 0, 0},
		{"500", []any{500, 200}, 0, 1, false, 0, 0},
		{"403", []any{403, 200}, 0, 1, false, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{start: time.Now(), answers: test.answers}
				ctx := t.Context()
				if test.budget > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.budget)
					defer cancel()
				}
				_, err := newAdapter(t, connector.Options{Transport: s}).SendActivity(ctx, to("http://localhost/secret/path"))
				took := time.Since(s.start)
				if (err == nil) != test.ok || len(s.at) != test.requests || took < test.least || took > test.most {
					t.Errorf("error %v, requests at %v, took %v; want %d requests in %v to %v", err, s.at, took, test.requests, test.least, test.most)
				}
				if err != nil && strings.Contains(err.Error(), "secret") {
					t.Errorf("error %q has the path", err)
				}
			})
		})
	}
}

func TestARequestTimesOutAndIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{start: time.Now(), answers: []any{200}, takes: time.Hour}
		_, err := newAdapter(t, connector.Options{Transport: s}).SendActivity(t.Context(), to("http://localhost/"))
		if took := time.Since(s.start); !errors.Is(err, context.DeadlineExceeded) || took != 10*time.Second || len(s.at) != 1 {
			t.Errorf("error %v after %v and %d requests", err, took, len(s.at))
		}
	})
}

// TestAChannelThatSwitchesProtocolsHoldsUpNobody lets a channel answer with
// status 101, after which the connection is the channel's, and say no more.
func TestAChannelThatSwitchesProtocolsHoldsUpNobody(t *testing.T) {
	channel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: nothing\r\n\r\n")
		rw.Flush()
		rw.ReadByte() // until the bot closes
		c.Close()
	}))
	defer channel.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := newAdapter(t, connector.Options{}).SendActivity(t.Context(), to(channel.URL))
		sent <- err
	}()
	select {
	case err := <-sent:
		if refused := (*connector.SendError)(nil); !errors.As(err, &refused) || refused.Status != http.StatusSwitchingProtocols {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the bot still waits")
	}
}

// TestWaitsAreRandomAndGrow looks at many waits: they are anywhere below a
// bound, which doubles up to 8 s.
func TestWaitsAreRandomAndGrow(t *testing.T) {
	bounds := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second}
	longest := make([]time.Duration, len(bounds))
	shortest := slices.Clone(bounds)
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			s := &script{start: time.Now(), answers: []any{503}}
			newAdapter(t, connector.Options{Transport: s, MaxAttempts: len(bounds) + 1}).SendActivity(t.Context(), to("http://localhost/"))
			for i := range bounds {
				wait := s.at[i+1] - s.at[i]
				longest[i], shortest[i] = max(longest[i], wait), min(shortest[i], wait)
			}
		}
	})
	for i, bound := range bounds {
		if longest[i] >= bound || longest[i] < bound*3/4 || shortest[i] > bound/4 {
			t.Errorf("wait %d was from %v to %v, want 0 to %v", i, shortest[i], longest[i], bound)
		}
	}
}

func TestAttemptsMayBeMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{start: time.Now(), answers: []any{503}}
		_, err := newAdapter(t, connector.Options{Transport: s, MaxAttempts: 100}).SendActivity(t.Context(), to("http://localhost/"))
		if err == nil || len(s.at) != 100 {
			t.Errorf("error %v after %d requests", err, len(s.at))
		}
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{start: time.Now(), answers: []any{respond(429, "60")}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := newAdapter(t, connector.Options{Transport: s}).SendActivity(ctx, to("http://localhost/"))
		var refused *connector.SendError
		if took := time.Since(s.start); !errors.As(err, &refused) || !errors.Is(err, context.Canceled) || took != time.Second {
			t.Errorf("error %v after %v", err, took)
		}
	})
}

func TestARequestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	closed := errors.New("the bot is closed")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		cancel(closed)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	_, err := newAdapter(t, connector.Options{}).SendActivity(ctx, to(server.URL))
	if !errors.Is(err, context.Canceled) || !errors.Is(err, closed) {
		t.Errorf("error %v", err)
	}
}

// A counter counts the requests that it passes on.
type counter struct {
	http.Transport
	requests int
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests++
	return c.Transport.RoundTrip(r)
}

func TestOnlyWhatDidNotArriveIsSentAgain(t *testing.T) {
	drop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler) // closes the connection without an answer
	})
	for _, test := range []struct {
		name     string
		start    func() string
		requests int
	}{
		{"nobody listens", func() string {
			server := httptest.NewServer(drop)
			defer server.Close()
			return server.URL
		}, 2},
		{"the answer is lost", func() string {
			server := httptest.NewServer(drop)
			t.Cleanup(server.Close)
			return server.URL
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &counter{}
			_, err := newAdapter(t, connector.Options{Transport: c, MaxAttempts: 2}).SendActivity(t.Context(), to(test.start()))
			var refused *connector.SendError
			if err == nil || errors.As(err, &refused) || c.requests != test.requests {
				t.Errorf("error %v after %d requests, want %d", err, c.requests, test.requests)
			}
		})
	}
}

func TestARefusedActivityIsLoggedWithoutItsContent(t *testing.T) {
	var log bytes.Buffer
	channel, _ := newChannel(t, 400, `swordfish`)
	a := to(channel)
	a.Type = schema.Event
	if _, err := newAdapter(t, connector.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}).SendActivity(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, "type=event status=400") || strings.Contains(got, "swordfish") || strings.Contains(got, "hi") {
		t.Errorf("log is %s", got)
	}
}

func TestConnectionsAreUsedAgainUntilClose(t *testing.T) {
	var connections atomic.Int32
	closed := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"id":"r1"}`)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			connections.Add(1)
		case http.StateClosed:
			close(closed)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	adapter := newAdapter(t, connector.Options{})
	for range 20 {
		if _, err := adapter.SendActivity(t.Context(), to(server.URL)); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Fatalf("%d connections, want 1", n)
	}
	adapter.Close()
	<-closed
}

func TestHandlersForMsbotbuilder(t *testing.T) {
	channel, requests := newChannel(t, 200, `{"id":"r1"}`)
	adapter := newAdapter(t, connector.Options{})
	echo := activity.HandlerFuncs{OnMessageFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
		if turn.Activity.Text == "quiet" {
			return schema.Activity{}, nil
		}
		return turn.SendActivity(activity.MsgOptionText("Echo: " + turn.Activity.Text))
	}}
	in := to(channel)
	in.ID = "m1"
	if err := adapter.ProcessActivity(t.Context(), in, echo); err != nil {
		t.Fatal(err)
	}
	if got := <-requests; !strings.HasSuffix(got.path, "/activities/m1") || !strings.Contains(got.body, "Echo: hi") {
		t.Errorf("the channel got %+v", got)
	}
	in.Text = "quiet"
	if err := adapter.ProcessActivity(t.Context(), in, echo); err != nil || len(requests) > 0 {
		t.Errorf("error %v, %d requests", err, len(requests))
	}
	ref := schema.ConversationReference{ActivityID: "old", ServiceURL: channel, Conversation: in.Conversation}
	if err := adapter.ProactiveMessage(t.Context(), ref, echo); err != nil {
		t.Fatal(err)
	}
	if got := <-requests; !strings.HasSuffix(got.path, "/activities") || strings.Contains(got.body, "old") {
		t.Errorf("the channel got %+v", got)
	}
}

func TestHandlersNeedNotHandleEverything(t *testing.T) {
	adapter := newAdapter(t, connector.Options{Transport: fail{t}})
	called := errors.New("called")
	update := func(*activity.TurnContext) (schema.Activity, error) { return schema.Activity{}, called }
	for _, test := range []struct {
		name string
		of   schema.ActivityTypes
		h    activity.Handler
		want error
	}{
		{"a message without function", schema.Message, activity.HandlerFuncs{}, nil},
		{"an invoke without function", schema.Invoke, activity.HandlerFuncs{OnConversationUpdateFunc: update}, nil},
		{"a conversationUpdate without function", schema.ConversationUpdate, &activity.HandlerFuncs{}, nil},
		{"a conversationUpdate with function", schema.ConversationUpdate, &activity.HandlerFuncs{OnConversationUpdateFunc: update}, called},
		{"a type that handlers do not know", schema.Typing, allOf{called}, nil},
		{"a type that they know", schema.Invoke, allOf{called}, called},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := to("http://localhost/")
			a.Type = test.of
			if err := adapter.ProcessActivity(t.Context(), a, test.h); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
	if err := adapter.ProactiveMessage(t.Context(), schema.ConversationReference{}, activity.HandlerFuncs{}); err != nil {
		t.Error(err)
	}
}

// allOf is a handler all of whose methods return the error.
type allOf struct{ err error }

func (h allOf) OnMessage(*activity.TurnContext) (schema.Activity, error) {
	return schema.Activity{}, h.err
}
func (h allOf) OnInvoke(*activity.TurnContext) (schema.Activity, error) {
	return schema.Activity{}, h.err
}
func (h allOf) OnConversationUpdate(*activity.TurnContext) (schema.Activity, error) {
	return schema.Activity{}, h.err
}

func TestAnActivityWithoutTypeIsAMessage(t *testing.T) {
	channel, requests := newChannel(t, 400, "")
	a := to(channel)
	a.Type = ""
	if _, err := newAdapter(t, connector.Options{}).SendActivity(t.Context(), a); err == nil {
		t.Error("a refused message is no error")
	}
	if got := <-requests; !strings.Contains(got.body, `"type":"message"`) {
		t.Errorf("the channel got %+v", got)
	}
}

// FuzzPath checks that a channel which decodes the path gets the ids that were
// meant, as one segment each, whatever they are.
func FuzzPath(f *testing.F) {
	for _, id := range []string{"c1", "a/b", "..", ".", "%2e", "a b", "ü", "\x00", "?#;", "//", "a%", "\xff"} {
		f.Add(id, id)
	}
	f.Fuzz(func(t *testing.T, conversation, replyTo string) {
		if conversation == "" || replyTo == "" {
			return
		}
		s := &pathKeeper{}
		a := to("http://localhost/a%2Fb/")
		a.Conversation.ID, a.ReplyToID = conversation, replyTo
		if _, err := newAdapter(t, connector.Options{Transport: s}).SendActivity(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		segments := strings.Split(s.path, "/")
		if len(segments) != 7 || segments[1] != "a%2Fb" {
			t.Fatalf("path is %q", s.path)
		}
		for i, want := range map[int]string{4: conversation, 6: replyTo} {
			if got, err := url.PathUnescape(segments[i]); err != nil || got != want || segments[i] == "." || segments[i] == ".." {
				t.Errorf("segment is %q, decoded %q (%v), want %q", segments[i], got, err, want)
			}
		}
	})
}

type pathKeeper struct{ path string }

func (p *pathKeeper) RoundTrip(r *http.Request) (*http.Response, error) {
	p.path = r.URL.RequestURI()
	return respond(200, ""), nil
}

// What does it cost to send a reply to a channel on this machine?
func BenchmarkSendActivity(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"id":"r1"}`)
	}))
	b.Cleanup(server.Close)
	adapter := newAdapter(b, connector.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := adapter.SendActivity(context.Background(), to(server.URL)); err != nil {
			b.Fatal(err)
		}
	}
}
