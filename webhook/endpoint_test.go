package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/internal/outbound"
	"github.com/botlapse/botlapse/webhook"
)

func newEndpoint(t testing.TB, url string, o webhook.Options) *webhook.Endpoint {
	e, err := webhook.New(url, secret, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// A receiver answers without a network, so that it can do so in a bubble.
type receiver func(*http.Request) (*http.Response, error)

func (f receiver) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, retryAfter string) *http.Response {
	r := &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}}
	if retryAfter != "" {
		r.Header.Set("Retry-After", retryAfter)
	}
	return r
}

var ended = webhook.Event{
	ID:      "5f0c7d1e",
	Type:    "conversation.ended",
	Time:    time.Date(2026, 11, 24, 12, 0, 0, 5e6, time.FixedZone("", 3600)),
	Subject: "1b671a64",
	Data:    json.RawMessage(`{"rule": "idle", "late": 0.25}`),
}

func TestARequestIsASignedCloudEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			event  webhook.Event
			source string
			want   string
		}{
			"all that an event can have": {ended, "https://bots.test/1", `{"specversion":"1.0","source":"https://bots.test/1","datacontenttype":"application/json","id":"5f0c7d1e","type":"conversation.ended",` +
				`"time":"2026-11-24T11:00:00.005Z","subject":"1b671a64","data":{"rule":"idle","late":0.25}}`},
			"as little as it can have": {webhook.Event{ID: "1", Type: "x"}, "", `{"specversion":"1.0","source":"/botlapse","id":"1","type":"x"}`},
		} {
			requests := 0
			e := newEndpoint(t, "https://hooks.test/a?b=c", webhook.Options{Source: test.source, Transport: receiver(func(r *http.Request) (*http.Response, error) {
				requests++
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != test.want || r.ContentLength != int64(len(body)) {
					t.Errorf("%s: body %s of length %d, error %v", name, body, r.ContentLength, err)
				}
				if r.Method != "POST" || r.URL.String() != "https://hooks.test/a?b=c" || r.Header.Get("Content-Type") != "application/cloudevents+json" || r.Header.Get("webhook-id") != test.event.ID {
					t.Errorf("%s: %s %s %v", name, r.Method, r.URL, r.Header)
				}
				if err := webhook.Verify([]string{secret}, r.Header, body, time.Now()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				var got webhook.Event
				if err := json.Unmarshal(body, &got); err != nil || got.ID != test.event.ID || !got.Time.Equal(test.event.Time) {
					t.Errorf("%s: the receiver reads %v, error %v", name, got, err)
				}
				return answer(204, ""), nil
			})})
			if err := e.Send(t.Context(), test.event); err != nil || requests != 1 {
				t.Errorf("%s: %v after %d requests", name, err, requests)
			}
		}
	})
}

func TestAnEventThatIsSentAgainKeepsItsIDAndIsSignedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, "https://hooks.test", webhook.Options{Transport: receiver(func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			if err := webhook.Verify([]string{secret}, r.Header, body, time.Now()); err != nil || r.Header.Get("webhook-id") != ended.ID {
				t.Errorf("%v, %v", err, r.Header)
			}
			return answer(500, ""), nil
		})})
		for range 2 {
			if err := e.Send(t.Context(), ended); err == nil {
				t.Error("no error")
			}
			time.Sleep(24 * time.Hour)
		}
	})
}

func TestWhileASecretIsRotatedBothAreGood(t *testing.T) {
	e := newEndpoint(t, "https://hooks.test", webhook.Options{OldSecret: otherSecret, Transport: receiver(func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		for name, s := range map[string]string{"new": secret, "old": otherSecret} {
			if err := webhook.Verify([]string{s}, r.Header, body, time.Now()); err != nil {
				t.Errorf("the %s secret: %v", name, err)
			}
		}
		if err := webhook.Verify([]string{"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, r.Header, body, time.Now()); err != webhook.ErrSignature {
			t.Errorf("another secret: %v", err)
		}
		return answer(200, ""), nil
	})})
	if err := e.Send(t.Context(), ended); err != nil {
		t.Error(err)
	}
}

func TestTheStatusSaysWhatCameOfIt(t *testing.T) {
	for _, test := range []struct {
		status     int
		retryAfter string
		done, gone bool
		wait       time.Duration
	}{
		{status: 200, done: true},
		{status: 202, done: true},
		{status: 204, done: true},
		{status: 299, done: true},
		{status: 200, retryAfter: "60", done: true},
		{status: 301}, {status: 302}, {status: 303}, {status: 304}, {status: 307}, {status: 308},
		{status: 301, retryAfter: "60"},
		{status: 400}, {status: 401}, {status: 403}, {status: 404}, {status: 409}, {status: 413},
		{status: 410, gone: true},
		{status: 410, retryAfter: "60", gone: true},
		{status: 429},
		{status: 429, retryAfter: "60", wait: time.Minute},
		{status: 500, retryAfter: "0"},
		{status: 500, retryAfter: "30", wait: 30 * time.Second},
		{status: 502}, {status: 504},
		{status: 503, retryAfter: "Sat, 01 Jan 2000 01:00:00 GMT", wait: time.Hour},
		{status: 503, retryAfter: "Fri, 31 Dec 1999 00:00:00 GMT"},
		{status: 503, retryAfter: "soon"},
		{status: 503, retryAfter: "86400", wait: 24 * time.Hour},
		{status: 503, retryAfter: "86401", wait: 24 * time.Hour},
		{status: 503, retryAfter: "99999999999999999999", wait: 24 * time.Hour},
	} {
		t.Run(strings.TrimSpace(fmt.Sprint(test.status, " ", test.retryAfter)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEndpoint(t, "https://hooks.test:8443/token", webhook.Options{Transport: receiver(func(*http.Request) (*http.Response, error) {
					return answer(test.status, test.retryAfter), nil
				})})
				err := e.Send(t.Context(), ended)
				failed := (*webhook.SendError)(nil)
				switch {
				case test.done && err != nil:
					t.Error(err)
				case !test.done && (!errors.As(err, &failed) || *failed != webhook.SendError{Host: "hooks.test:8443", Status: test.status, RetryAfter: test.wait}):
					t.Errorf("%#v", err)
				case errors.Is(err, webhook.ErrGone) != test.gone:
					t.Errorf("gone: %v", errors.Is(err, webhook.ErrGone))
				}
			})
		})
	}
}

func TestAnEndpointThatIsGoneGetsNothingMore(t *testing.T) {
	requests := 0
	o := webhook.Options{Transport: receiver(func(*http.Request) (*http.Response, error) {
		requests++
		return answer(http.StatusGone, ""), nil
	})}
	e := newEndpoint(t, "https://hooks.test", o)
	for range 3 {
		if err := e.Send(t.Context(), ended); !errors.Is(err, webhook.ErrGone) {
			t.Error(err)
		}
	}
	if requests != 1 {
		t.Errorf("%d requests", requests)
	}
	if err := e.Send(t.Context(), webhook.Event{}); !errors.Is(err, webhook.ErrEvent) || errors.Is(err, webhook.ErrGone) {
		t.Errorf("an event that never can be sent: %v", err)
	}
	if newEndpoint(t, "https://hooks.test", o).Send(t.Context(), ended); requests != 2 {
		t.Errorf("%d requests with the endpoint configured anew", requests)
	}
}

func TestEventsThatCannotBeSent(t *testing.T) {
	e := newEndpoint(t, "https://hooks.test", webhook.Options{Transport: receiver(func(r *http.Request) (*http.Response, error) {
		t.Errorf("sent: %v", r.Header)
		return answer(200, ""), nil
	})})
	for name, change := range map[string]func(*webhook.Event){
		"no id":                        func(e *webhook.Event) { e.ID = "" },
		"an id with a full stop":       func(e *webhook.Event) { e.ID = "secret.1" },
		"an id with a space":           func(e *webhook.Event) { e.ID = "secret 1" },
		"an id with a line break":      func(e *webhook.Event) { e.ID = "secret\r\nX: 1" },
		"an id with DEL":               func(e *webhook.Event) { e.ID = "secret\x7f" },
		"an id that is not ASCII":      func(e *webhook.Event) { e.ID = "secrét" },
		"an id that is no UTF-8":       func(e *webhook.Event) { e.ID = "secret\xff" },
		"no type":                      func(e *webhook.Event) { e.Type = "" },
		"data that is no JSON":         func(e *webhook.Event) { e.Data = json.RawMessage(`{"secret`) },
		"data of two values":           func(e *webhook.Event) { e.Data = json.RawMessage(`"secret" 1`) },
		"data that is no UTF-8":        func(e *webhook.Event) { e.Data = json.RawMessage("\"secret\xff\"") },
		"a time that RFC 3339 has not": func(e *webhook.Event) { e.Time = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		event := ended
		change(&event)
		if err := e.Send(t.Context(), event); !errors.Is(err, webhook.ErrEvent) || strings.Contains(err.Error(), "secr") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAttemptIsBounded(t *testing.T) {
	for _, test := range []struct {
		name           string
		timeout, takes time.Duration
		done           bool
	}{
		{"just within the default", 0, 20*time.Second - 1, true},
		{"just beyond the default", 0, 20*time.Second + 1, false},
		{"just within an option", 15 * time.Second, 15*time.Second - 1, true},
		{"just beyond an option", 15 * time.Second, 15*time.Second + 1, false},
		{"less than 0 is the default", -1, 20*time.Second - 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEndpoint(t, "https://hooks.test", webhook.Options{Timeout: test.timeout, Transport: slow(test.takes)})
				err := e.Send(t.Context(), ended)
				failed := (*webhook.SendError)(nil)
				if test.done && err != nil || !test.done && (!errors.As(err, &failed) || failed.Status != 0) {
					t.Error(err)
				}
				if errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v looks as if the caller's time had ended", err)
				}
			})
		})
	}
}

func slow(takes time.Duration) receiver {
	return func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(takes):
			return answer(200, ""), nil
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
}

func TestAnAttemptEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoint(t, "https://hooks.test", webhook.Options{Transport: slow(time.Hour)})
		canceled, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errors.New("closing")) })
		late, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		for ctx, want := range map[context.Context]error{canceled: context.Canceled, late: context.DeadlineExceeded} {
			if err := e.Send(ctx, ended); err != want {
				t.Errorf("%v, want %v", err, want)
			}
		}
	})
}

// TestHostileReceivers lets receivers answer as they like, over connections in
// memory but with the endpoint's own transport. None holds an attempt longer
// than its timeout, makes it read much, or fills a log.
func TestHostileReceivers(t *testing.T) {
	forever := func(say string) func(net.Conn) {
		return func(c net.Conn) {
			for err := error(nil); err == nil; {
				_, err = io.WriteString(c, say)
			}
		}
	}
	then := func(say string, next func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) { io.WriteString(c, say); next(c) }
	}
	silence := func(c net.Conn) { c.Read(make([]byte, 1)) }
	for _, test := range []struct {
		name   string
		answer func(net.Conn)
		done   bool
		status int // 0 for no answer
		takes  time.Duration
	}{
		{"never answers", silence, false, 0, 20 * time.Second},
		{"sends its headers a byte a second", func(c net.Conn) {
			for _, b := range []byte("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, false, 0, 20 * time.Second},
		{"sends headers without end", then("HTTP/1.1 200 OK\r\n", forever("X: "+strings.Repeat("x", 1000)+"\r\n")), false, 0, 0},
		{"says without end that it is about to answer", forever("HTTP/1.1 103 Early Hints\r\n\r\n"), false, 0, 0},
		{"sends a body without end", then("HTTP/1.1 200 OK\r\n\r\n", forever(strings.Repeat("x", 1000))), true, 0, 0},
		{"refuses with a body without end", then("HTTP/1.1 500 No\r\n\r\n", forever(strings.Repeat("x", 1000))), false, 500, 0},
		{"announces a huge body and sends some", then("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nsome", silence), true, 0, 20 * time.Second},
		{"announces a body and hangs up", then("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", func(net.Conn) {}), true, 0, 0},
		{"sends chunks that are none", then("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", silence), true, 0, 0},
		{"compresses with what is no gzip", then("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone", silence), true, 0, 0},
		{"switches protocols and falls silent", then("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", silence), false, 101, 0},
		{"does not speak HTTP", forever(strings.Repeat("x", 1000)), false, 0, 0},
		{"answers with a long line", then(strings.Repeat("x", 60000)+"\r\n\r\n", silence), false, 0, 0},
		{"hangs up", func(net.Conn) {}, false, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var serving sync.WaitGroup
				defer serving.Wait()
				var sent atomic.Int64
				transport := outbound.NewTransport(20*time.Second, false)
				transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					serving.Go(func() {
						defer server.Close()
						if r, err := http.ReadRequest(bufio.NewReader(server)); err != nil {
							t.Error(err)
						} else {
							io.Copy(io.Discard, r.Body)
							test.answer(counted{server, &sent})
						}
					})
					return client, nil
				}
				defer transport.CloseIdleConnections()
				e := newEndpoint(t, "http://hooks.test", webhook.Options{AllowInsecure: true, Transport: transport})
				start := time.Now()
				err := e.Send(t.Context(), ended)
				failed := (*webhook.SendError)(nil)
				if test.done && err != nil || !test.done && (!errors.As(err, &failed) || failed.Status != test.status) {
					t.Error(err)
				}
				if took := time.Since(start); took != test.takes {
					t.Errorf("took %v", took)
				}
				if sent.Load() > 256<<10 {
					t.Errorf("%d bytes of the answer were read", sent.Load())
				}
				if err != nil && len(err.Error()) > 300 {
					t.Errorf("the error has %d bytes: %v", len(err.Error()), err)
				}
			})
		})
	}
}

// A counted connection counts what is written to it.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var inside atomic.Int64
	admin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	defer admin.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		hooks := httptest.NewServer(http.RedirectHandler(admin.URL, status))
		err := newEndpoint(t, hooks.URL, webhook.Options{AllowInsecure: true}).Send(t.Context(), ended)
		if failed := (*webhook.SendError)(nil); !errors.As(err, &failed) || failed.Status != status || inside.Load() != 0 {
			t.Errorf("%d: %v, and %d requests elsewhere", status, err, inside.Load())
		}
		hooks.Close()
	}
}

// TestOnlyPublicAddressesAreSentTo tries addresses of this machine and its
// networks, on a port where somebody listens. Package outbound has the ranges.
func TestOnlyPublicAddressesAreSentTo(t *testing.T) {
	var connections atomic.Int64
	hooks := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	hooks.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	hooks.Config.ErrorLog = log.New(io.Discard, "", 0)
	hooks.StartTLS()
	defer hooks.Close()
	_, port, _ := net.SplitHostPort(hooks.Listener.Addr().String())
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.1.2.3", "169.254.169.254", "[fd00:ec2::254]"} {
		err := newEndpoint(t, "https://"+host+":"+port, webhook.Options{}).Send(t.Context(), ended)
		if failed := (*webhook.SendError)(nil); !errors.Is(err, webhook.ErrNotAllowed) || !errors.As(err, &failed) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if connections.Load() != 0 {
		t.Errorf("%d connections were made", connections.Load())
	}
	err := newEndpoint(t, hooks.URL, webhook.Options{AllowInsecure: true}).Send(t.Context(), ended)
	if err == nil || connections.Load() != 1 {
		t.Errorf("with AllowInsecure: %v after %d connections; want one, and a certificate that nobody vouches for", err, connections.Load())
	}
}

func TestAConnectionIsUsedAgain(t *testing.T) {
	var connections atomic.Int64
	hooks := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInternalServerError)
		w.Write(bytes.Repeat([]byte("x"), 50<<10))
	}))
	hooks.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	hooks.Start()
	defer hooks.Close()
	e := newEndpoint(t, hooks.URL, webhook.Options{AllowInsecure: true})
	for range 3 {
		if err := e.Send(t.Context(), ended); err == nil {
			t.Error("no error")
		}
	}
	if connections.Load() != 1 {
		t.Errorf("%d connections", connections.Load())
	}
}

func TestNewNamesAllProblemsAndNoSecret(t *testing.T) {
	for name, test := range map[string]struct {
		url, secret string
		o           webhook.Options
		problems    int
	}{
		"https":                       {"https://hooks.test/token", secret, webhook.Options{}, 0},
		"capitals":                    {"HTTPS://HOOKS.TEST", secret, webhook.Options{}, 0},
		"http":                        {"http://hooks.test/token", secret, webhook.Options{}, 1},
		"http where that is allowed":  {"http://hooks.test/token", secret, webhook.Options{AllowInsecure: true}, 0},
		"another scheme":              {"ftp://hooks.test/token", secret, webhook.Options{AllowInsecure: true}, 1},
		"no URL":                      {"", secret, webhook.Options{}, 1},
		"no scheme":                   {"hooks.test/token", secret, webhook.Options{}, 1},
		"no host":                     {"https:///token", secret, webhook.Options{}, 1},
		"only a port":                 {"https://:443/token", secret, webhook.Options{}, 1},
		"a user":                      {"https://user:token@hooks.test", secret, webhook.Options{}, 1},
		"a URL that cannot be parsed": {"https://hooks.test/token%zz", secret, webhook.Options{}, 1},
		"a source that is no URI":     {"https://hooks.test/token", secret, webhook.Options{Source: "%zz"}, 1},
		"everything":                  {"http://hooks.test/token", secret[:20], webhook.Options{OldSecret: otherSecret[:20], Source: "%zz"}, 4},
	} {
		e, err := webhook.New(test.url, test.secret, &test.o)
		problems := 0
		if err != nil {
			problems = 1 + strings.Count(err.Error(), "\n")
			for _, s := range []string{"token", secret[6:20], otherSecret[6:20]} {
				if strings.Contains(err.Error(), s) {
					t.Errorf("%s: %v has %s", name, err, s)
				}
			}
		}
		if problems != test.problems || (e == nil) != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNothingPrintsASecret prints an endpoint and the errors of a transport that
// knows nothing but what it was given.
func TestNothingPrintsASecret(t *testing.T) {
	e := newEndpoint(t, "https://hooks.test/token", webhook.Options{OldSecret: otherSecret, Transport: receiver(func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("cannot reach %s", r.URL.Host)
	})})
	err := e.Send(t.Context(), ended)
	texts := []string{err.Error()}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		texts = append(texts, fmt.Sprintf(format, e))
	}
	for _, text := range texts {
		for _, s := range []string{"token", secret[6:], otherSecret[6:], "49 242 144", "31f290", "0x31, 0xf2"} { // the first bytes of the key
			if strings.Contains(text, s) {
				t.Errorf("%s has %s", text, s)
			}
		}
	}
}
