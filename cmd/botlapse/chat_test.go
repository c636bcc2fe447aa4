package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A typist is standard input of which each line is typed after a while.
type typist struct {
	pause time.Duration
	lines []string
}

func (u *typist) Read(p []byte) (int, error) {
	if len(u.lines) == 0 {
		return 0, io.EOF
	}
	time.Sleep(u.pause)
	n := copy(p, u.lines[0]+"\n")
	u.lines = u.lines[1:]
	return n, nil
}

func chat(t *testing.T, in io.Reader, set map[string]string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e strings.Builder
	p := &program{stdin: in, stdout: &o, stderr: &e, lookup: environment(set), envFile: "no such file"}
	code = p.run(t.Context(), append([]string{"chat"}, args...))
	return code, o.String(), e.String()
}

func TestChatExpiresAfterSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		code, out, errs := chat(t, &typist{30 * time.Second, []string{"hi", "bus"}}, nil)
		want := `Please enter your mode of transport.
  (1) Car  (2) Bus  (3) Bicycle
Welcome back!  Let's start over from the beginning.
Please enter your mode of transport.
  (1) Car  (2) Bus  (3) Bicycle
`
		if code != 0 || out != want || errs != "" {
			t.Errorf("exit status %d, errors %q, output\n%s, want\n%s", code, errs, out, want)
		}
	})
}

func TestChatWorksWithPipedInput(t *testing.T) {
	for _, test := range []struct {
		name, in string
		set      map[string]string
		args     []string
		want     string
	}{
		{"no input", "", nil, nil, ""},
		{"empty lines", "\n  \n\n", nil, nil, ""},
		{"no newline at the end", "hi", nil, nil, "Please enter your mode of transport.\n  (1) Car  (2) Bus  (3) Bicycle\n"},
		{"another channel shows choices its own way", "hi\n", nil, []string{"--channel", "sms"}, "Please enter your mode of transport. (1) Car, (2) Bus, or (3) Bicycle\n"},
		{"Teams shows a card", "hi\n", nil, []string{"--channel", "msteams"}, "Please enter your mode of transport.\n  (1) Car  (2) Bus  (3) Bicycle\n"},
		{"a number picks a choice", "hi\n2\nAda\n", nil, []string{"--user", "ada"}, "Please enter your mode of transport.\n  (1) Car  (2) Bus  (3) Bicycle\nPlease enter your name.\nThanks Ada.\nDo you want to give your age?\n  (1) Yes  (2) No\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := chat(t, strings.NewReader(test.in), test.set, test.args...)
			if code != 0 || out != test.want || errs != "" {
				t.Errorf("exit status %d, errors %q, output\n%s, want\n%s", code, errs, out, test.want)
			}
		})
	}
}

func TestChatRefusesWhatItCannotDo(t *testing.T) {
	for _, test := range []struct {
		name string
		in   io.Reader
		args []string
		want string
	}{
		{"an empty user", strings.NewReader(""), []string{"--user", "", "--channel", ""}, "botlapse: --user is empty\nbotlapse: --channel is empty\n"},
		{"an unknown flag", strings.NewReader(""), []string{"--color"}, "botlapse: unknown flag: --color\n"},
		{"an argument", strings.NewReader(""), []string{"hello"}, "botlapse: unknown command \"hello\" for \"botlapse chat\"\n"},
		{"a line that is too long", strings.NewReader(strings.Repeat("x", 300<<10)), nil, "botlapse: a line is longer than 262144 bytes\n"},
		{"input that fails", io.MultiReader(strings.NewReader("hi\n"), &failing{}), nil, "botlapse: unplugged\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if code, _, errs := chat(t, test.in, nil, test.args...); code != 1 || errs != test.want {
				t.Errorf("exit status %d, errors %q, want 1 and %q", code, errs, test.want)
			}
		})
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errors.New("unplugged") }

func TestChatEndsWhenItIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	in, typing := io.Pipe()
	defer typing.Close()
	p := &program{stdin: in, stdout: io.Discard, stderr: io.Discard, lookup: environment(nil), envFile: "no such file"}
	stop()
	if code := p.run(ctx, []string{"chat"}); code != 0 {
		t.Errorf("exit status is %d, want 0", code)
	}
}

// A pausing typist is silent for longer before some lines.
type pausing struct {
	*typist
	before string
	pause  time.Duration
}

func (u *pausing) Read(p []byte) (int, error) {
	if len(u.lines) > 0 && u.lines[0] == u.before {
		time.Sleep(u.pause)
	}
	return u.typist.Read(p)
}

// The conversation in the guide is one that was had.
func TestTheConversationOfTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(guide), "```\nSay something.")
	block, _, ok := strings.Cut(block, "```")
	if !ok {
		t.Fatal("the guide has no conversation")
	}
	user := &pausing{typist: &typist{}, before: "sorry, I was away", pause: 30 * time.Second}
	var want strings.Builder
	for line := range strings.Lines("Say something." + block) {
		if text, ok := strings.CutPrefix(line, "> "); ok {
			user.lines = append(user.lines, strings.TrimSpace(text))
		} else if strings.HasPrefix(line, "Say something.") {
			if line != hello(&config{expireAfter: 30 * time.Second})+"\n" {
				t.Errorf("the guide begins with %q, want %q", line, hello(&config{expireAfter: 30 * time.Second}))
			}
		} else {
			want.WriteString(line)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		if _, out, errs := chat(t, user, nil); out != want.String() || errs != "" {
			t.Errorf("errors %q, output\n%s, want\n%s", errs, out, want.String())
		}
	})
}
