//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/botlapse/botlapse/webhook"
)

const (
	secret      = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // that of the tests of the reference libraries
	oldSecret   = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	otherSecret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// TestReceiversVerifyEvents runs the programs of docs/events.md: in Go with
// package webhook, in JavaScript with the library of Standard Webhooks, in
// Python with its standard library.
func TestReceiversVerifyEvents(t *testing.T) {
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for language, command := range map[string]func(t *testing.T, program []byte) *exec.Cmd{
		"go": func(t *testing.T, program []byte) *exec.Cmd {
			binary := filepath.Join(t.TempDir(), "receiver")
			if err := os.WriteFile(binary+".go", program, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("go", "build", "-o", binary, binary+".go").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return exec.Command(binary)
		},
		"js": func(t *testing.T, program []byte) *exec.Cmd {
			cmd := exec.Command("node", "-")
			cmd.Dir, cmd.Stdin = "js", bytes.NewReader(program)
			return cmd
		},
		"python": func(t *testing.T, program []byte) *exec.Cmd {
			cmd := exec.Command("python3", "-")
			cmd.Stdin = bytes.NewReader(program)
			return cmd
		},
	} {
		t.Run(language, func(t *testing.T) {
			program := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(page)
			if program == nil {
				t.Fatal("docs/events.md has no program")
			}
			checkReceiver(t, command(t, program[1]))
		})
	}
}

// checkReceiver starts a receiver that knows two secrets, and sends it good and
// bad requests.
func checkReceiver(t *testing.T, cmd *exec.Cmd) {
	cmd.Env = append(os.Environ(), "PORT=0", "WEBHOOK_SECRET="+oldSecret+" "+secret)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("the receiver does not say where it is: %v", lines.Err())
	}
	url := lines.Text()
	event := webhook.Event{
		Type:    "conversation.ended",
		Time:    time.Now(),
		Subject: "1b671a64",
		Data:    json.RawMessage(`{"rule": "größer <&> \u2028 \"😀\"", "late": 1e-3}`),
	}
	for i, test := range []struct {
		name   string
		secret string
		old    string
		onWay  func(h http.Header, body []byte) []byte // nil for no change
		good   bool
	}{
		{"signed with the new secret", secret, "", nil, true},
		{"signed with the old secret", oldSecret, "", nil, true},
		{"signed with both", secret, oldSecret, nil, true},
		{"signed with a secret that is not known and one that is", otherSecret, secret, nil, true},
		{"signed with another secret", otherSecret, "", nil, false},
		{"another body", secret, "", func(_ http.Header, body []byte) []byte { return append(body, ' ') }, false},
		{"another id", secret, "", func(h http.Header, body []byte) []byte { h.Set("webhook-id", "x"); return body }, false},
		{"another time", secret, "", func(h http.Header, body []byte) []byte {
			h.Set("webhook-timestamp", strconv.FormatInt(time.Now().Unix()-60, 10))
			return body
		}, false},
		{"no signature", secret, "", func(h http.Header, body []byte) []byte { h.Del("webhook-signature"); return body }, false},
		{"recorded in 2021", secret, "", func(h http.Header, _ []byte) []byte {
			h.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
			h.Set("webhook-timestamp", "1614265330")
			h.Set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
			return []byte(`{"test": 2432232314}`)
		}, false},
	} {
		e, err := webhook.New(url, test.secret, &webhook.Options{OldSecret: test.old, AllowInsecure: true, Transport: changing(test.onWay)})
		if err != nil {
			t.Fatal(err)
		}
		event.ID = "event-" + strconv.Itoa(i)
		err = e.Send(t.Context(), event)
		refused := (*webhook.SendError)(nil)
		switch {
		case test.good && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case !test.good && (!errors.As(err, &refused) || refused.Status != http.StatusUnauthorized):
			t.Errorf("%s: %v, want status 401", test.name, err)
		case test.good && (!lines.Scan() || lines.Text() != event.ID+" "+event.Type):
			t.Errorf("%s: the receiver read %q, error %v", test.name, lines.Text(), lines.Err())
		}
	}
}

// A changing transport changes requests on their way.
type changing func(h http.Header, body []byte) []byte

func (change changing) RoundTrip(r *http.Request) (*http.Response, error) {
	if change != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		body = change(r.Header, body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return http.DefaultTransport.RoundTrip(r)
}
