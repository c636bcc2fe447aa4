package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// A server is a running "botlapse serve".
type server struct {
	url  string
	stop context.CancelFunc
	done chan int // gets the exit status
	logs *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T, set map[string]string) *server {
	t.Helper()
	return startProgram(t, set, func(*program) {})
}

func startWith(t *testing.T, set map[string]string, transport http.RoundTripper) *server {
	t.Helper()
	return startProgram(t, set, func(p *program) { p.transport = transport })
}

func startProgram(t *testing.T, set map[string]string, with func(*program)) *server {
	t.Helper()
	all := map[string]string{"PORT": "0"}
	for name, value := range set {
		all[name] = value
	}
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	s := &server{stop: stop, done: make(chan int, 1), logs: &safeBuffer{}}
	p := &program{stdin: strings.NewReader(""), stdout: in, stderr: s.logs, lookup: environment(all), envFile: "no such file"}
	with(p)
	go func() { s.done <- p.run(ctx, []string{"serve"}) }()
	lines := bufio.NewScanner(out)
	lines.Scan()
	s.url = strings.TrimPrefix(lines.Text(), "listening on ")
	if set["MicrosoftAppId"] != "" {
		return s
	}
	lines.Scan()
	if want := "to try it: npx @microsoft/m365agentsplayground@0.2.28 start -e " + s.url + " -c emulator"; lines.Text() != want {
		t.Errorf("second line is %q, want %q", lines.Text(), want)
	}
	return s
}

func (s *server) wait(t *testing.T) {
	t.Helper()
	s.stop()
	if code := <-s.done; code != 0 {
		t.Errorf("exit status is %d, want 0; logs:\n%s", code, s.logs)
	}
}

// newChannel starts a Bot Connector that answers when released, and reports
// before what the bot sends to it.
func newChannel(t *testing.T, released <-chan struct{}) (url string, sent chan string) {
	sent = make(chan string, 100)
	channel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a struct{ Text string }
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			t.Error(err)
		}
		sent <- r.URL.EscapedPath() + " " + a.Text
		<-released
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"r1"}`)
	}))
	t.Cleanup(channel.Close)
	return channel.URL, sent
}

func postMessage(url, serviceURL, id, text string) (int, error) {
	body := fmt.Sprintf(`{"type":"message","id":%q,"text":%q,"channelId":"emulator","serviceUrl":%q,"conversation":{"id":"a/b c"},"from":{"id":"u1"},"recipient":{"id":"bot"}}`,
		id, text, serviceURL)
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func TestServeTalksToAChannel(t *testing.T) {
	s := start(t, map[string]string{"LOG_LEVEL": "debug", "ExpireAfterSeconds": "0.000000001", "ExpireMessage": "Hello again."})
	now := make(chan struct{})
	close(now)
	channel, sent := newChannel(t, now)
	var got []string
	for i, text := range []string{"hi", "my secret is swordfish"} {
		if code, err := postMessage(s.url, channel+"/prefix", fmt.Sprint("m", i), text); code != http.StatusOK || err != nil {
			t.Errorf("%q: %d, %v", text, code, err)
		}
	}
	if code, _ := postMessage(s.url, "https://attacker.example/", "m3", "hi"); code != http.StatusForbidden {
		t.Errorf("a foreign serviceUrl is answered with %d, want 403", code)
	}
	s.wait(t)
	close(sent)
	for line := range sent {
		got = append(got, line)
	}
	want := "/prefix/v3/conversations/a%2Fb%20c/activities/m0 Please enter your mode of transport.\n" +
		"/prefix/v3/conversations/a%2Fb%20c/activities/m1 Hello again.\n" +
		"/prefix/v3/conversations/a%2Fb%20c/activities/m1 Please enter your mode of transport."
	if g := strings.Join(got, "\n"); g != want {
		t.Errorf("the channel got\n%s, want\n%s", g, want)
	}
	logs := s.logs.String()
	if strings.Count(logs, "msg=turn ") != 2 || strings.Contains(logs, "swordfish") {
		t.Errorf("logs are\n%s", logs)
	}
}

func TestServeAnswersWhetherItIsHealthy(t *testing.T) {
	s := start(t, nil)
	resp, err := http.Get(strings.TrimSuffix(s.url, "/api/messages") + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || string(body) != "ok\n" {
		t.Errorf("healthz is %d %q", resp.StatusCode, body)
	}
	s.wait(t)
}

func TestServeFinishesRunningTurnsWhenItIsStopped(t *testing.T) {
	s := start(t, nil)
	release := make(chan struct{})
	channel, sent := newChannel(t, release)
	code := make(chan int, 1)
	go func() {
		c, err := postMessage(s.url, channel, "m1", "hi")
		if err != nil {
			t.Error(err)
		}
		code <- c
	}()
	<-sent // the turn is running
	s.stop()
	for { // until it accepts no more
		c, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/api/messages"))
		if err != nil {
			break
		}
		c.Close()
	}
	close(release)
	s.wait(t)
	if c := <-code; c != http.StatusOK {
		t.Errorf("answered with %d, want 200", c)
	}
}

func TestServeReportsAPortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	var errs strings.Builder
	p := &program{stdout: io.Discard, stderr: &errs, lookup: environment(map[string]string{"PORT": port}), envFile: "no such file"}
	if code := p.run(t.Context(), []string{"serve"}); code != 1 || !strings.Contains(errs.String(), "PORT "+port) {
		t.Errorf("exit status %d, errors %q", code, errs.String())
	}
}
