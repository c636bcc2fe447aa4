package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/state"
)

// policyConfig returns the config of a policy file, and what is wrong with it.
func policyConfig(t *testing.T, text string, env map[string]string) (*config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadConfig(func(name string) (string, bool) {
		if name == "POLICY_FILE" {
			return file, true
		}
		value, ok := env[name]
		return value, ok
	}, filepath.Join(t.TempDir(), ".env"))
}

func TestWhatIsWrongWithAPolicyFileStopsTheStart(t *testing.T) {
	for _, test := range []struct {
		name, text string
		env        map[string]string
		want       []string
	}{
		{"all problems, each with line and column", "{\"rules\": [\n  {\"name\": \"a#b\", \"after\": \"soon\"}\n]}", nil, []string{`2:12: rule "a#b"`, `2:28: rule "a#b"`}},
		{"what the file says too", `{"rules": []}`, map[string]string{"ExpireAfterSeconds": "30", "ExpireMessage": "x"}, []string{"ExpireAfterSeconds is set", "ExpireMessage is set"}},
		{"variables that are empty are no problem", `{"rules": []}`, map[string]string{"ExpireAfterSeconds": "", "ExpireMessage": ""}, nil},
		{"a rule that is never reached", `{"rules": [{"name": "a", "after": 5, "do": {"end": true}}, {"name": "b", "after": 9, "do": {"end": true}}]}`, nil, []string{`rule "b"`}},
		{"no JSON", `rules`, nil, []string{"1:1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := policyConfig(t, test.text, test.env)
			problems := flatten(err)
			if len(problems) != len(test.want) {
				t.Fatalf("problems are %q, want %q", problems, test.want)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("problems are %q, want one with %s", problems, want)
				}
			}
		})
	}
	if _, err := loadConfig(func(name string) (string, bool) { return "no such file", name == "POLICY_FILE" }, "no such file"); err == nil || !strings.Contains(err.Error(), "POLICY_FILE is") {
		t.Errorf("without the file, error is %v", err)
	}
}

// newPolicyBot returns the bot of a policy file that talks to out, with deadlines in
// memory. Before, it has somebody listen to SIGHUP, which would end the process.
func newPolicyBot(t *testing.T, c *config, out, log io.Writer) *runningBot {
	t.Helper()
	memory := state.NewMemory()
	b, err := newBot(&terminal{out: out}, storages{conversation: memory, user: memory, deadlines: deadline.NewMemory()}, c, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func listenToHangUps(t *testing.T) {
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hangUp) })
}

func TestAPolicyFileSaysWhatHappens(t *testing.T) {
	listenToHangUps(t)
	c, err := policyConfig(t, `{"rules": [
	  {"name": "nudge", "after": "5m", "do": {"say": "Are you still there?"}},
	  {"name": "idle", "after": "10m", "do": {"end": true, "say": "Goodbye."}}
	]}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.proactive() {
		t.Error("there are no deadlines")
	}
	synctest.Test(t, func(t *testing.T) {
		said := &log{}
		b := newPolicyBot(t, c, said, io.Discard)
		defer b.start()(context.Background())
		if err := b.adapter.Process(t.Context(), schema.Activity{Type: schema.Message, Text: "hi", ChannelID: "test",
			From: schema.ChannelAccount{ID: "u1"}, Conversation: schema.ConversationAccount{ID: "c1"}}, b.handle); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := said.String(); !strings.HasSuffix(got, "\nAre you still there?\nGoodbye.\n") {
			t.Errorf("the bot said\n%s", got)
		}
	})
}

// A log is what was logged.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAHangUpReadsThePolicyFileAnew(t *testing.T) {
	listenToHangUps(t)
	c, err := policyConfig(t, `{"rules": [{"name": "idle", "after": "1h", "do": {"end": true, "say": "Goodbye."}}]}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	logged := &log{}
	b := newPolicyBot(t, c, io.Discard, logged)
	defer b.start()(context.Background())
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ text, want string }{
		{`{"rules": [{"name": "idle", "after": "2h", "do": {"end": true, "say": "Goodbye."}}]}`, "the policy was read anew"},
		{`{"rules": [{"name": ""}]}`, "the policy was not read anew"},
	} {
		if err := os.WriteFile(c.policyFile, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		end := time.Now().Add(10 * time.Second)
		for !strings.Contains(logged.String(), test.want) {
			if time.Now().After(end) {
				t.Fatalf("the log is %s", logged)
			}
			if err := self.Signal(syscall.SIGHUP); err != nil { // the bot may not listen yet
				t.Fatal(err)
			}
			<-time.After(10 * time.Millisecond)
		}
	}
}
