package main

import (
	"bufio"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestChatSpeaksByItself(t *testing.T) {
	typed, typing := io.Pipe()
	shown, showing := io.Pipe()
	done := make(chan int, 1)
	go func() {
		p := &program{stdin: typed, stdout: showing, stderr: io.Discard, envFile: "no such file",
			lookup: environment(map[string]string{"ExpireAfterSeconds": "0.2", "ExpireProactively": "true", "ExpireProactiveMessage": "Still there?"})}
		done <- p.run(t.Context(), []string{"chat"})
		showing.Close()
	}()
	io.WriteString(typing, "hi\n")
	for lines := bufio.NewScanner(shown); lines.Scan(); {
		if lines.Text() == "Still there?" {
			typing.Close()
		}
	}
	if code := <-done; code != 0 {
		t.Errorf("exit status is %d", code)
	}
}

// TestServeExpiresWhatCameDueWhileItWasAway stops it before a deadline is due,
// and starts it again afterwards.
func TestServeExpiresWhatCameDueWhileItWasAway(t *testing.T) {
	now := make(chan struct{})
	close(now)
	channel, sent := newChannel(t, now)
	set := map[string]string{"STATE_FILE": filepath.Join(t.TempDir(), "state.db"), "ExpireAfterSeconds": "2", "ExpireProactiveMessage": "Goodbye."}
	s := start(t, set)
	begin := time.Now()
	if code, err := postMessage(s.url, channel, "m1", "hi"); code != 200 || err != nil {
		t.Fatalf("answer is %d, %v", code, err)
	}
	<-sent
	s.wait(t)
	again := start(t, set)
	if got := <-sent; !strings.HasSuffix(got, "/activities Goodbye.") || time.Since(begin) < 2*time.Second {
		t.Errorf("after %v, the bot said %s", time.Since(begin), got)
	}
	again.wait(t)
	if len(sent) > 0 {
		t.Errorf("the bot said %s too", <-sent)
	}
}
