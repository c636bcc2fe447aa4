package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/botlapse/botlapse/internal/wire"
)

// asCommand is the environment variable that makes the test binary the command.
const asCommand = "BOTLAPSE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// startProcess starts "botlapse serve" in a process of its own.
func startProcess(t *testing.T, set ...string) (cmd *exec.Cmd, url string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(program, "serve")
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{asCommand + "=1", "PORT=0", "LOG_LEVEL=error"}, set...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	url, ok := strings.CutPrefix(lines.Text(), "listening on ")
	if !ok {
		t.Fatalf("it says %q", lines.Text())
	}
	return cmd, url
}

// TestAServerThatWasKilledExpiresWhatCameDueMeanwhile: it is killed before the
// deadlines are due, and started again when they are.
func TestAServerThatWasKilledExpiresWhatCameDueMeanwhile(t *testing.T) {
	const conversations, timeout = 20, 3 * time.Second
	var mu sync.Mutex
	told := make(map[string]int)
	all := make(chan struct{})
	channel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		a, decodeErr := wire.Decode(body)
		if err != nil || decodeErr != nil {
			t.Errorf("the bot sent %s: %v, %v", body, err, decodeErr)
		}
		if a.Text != "Goodbye." {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if told[a.Conversation.ID]++; len(told) == conversations {
			close(all)
		}
	}))
	defer channel.Close()
	set := []string{"STATE_FILE=" + filepath.Join(t.TempDir(), "state.db"), fmt.Sprint("ExpireAfterSeconds=", timeout.Seconds()), "ExpireProactiveMessage=Goodbye."}

	killed, url := startProcess(t, set...)
	for i := range conversations {
		body := fmt.Sprintf(`{"type":"message","id":"m","text":"hi","channelId":"test","serviceUrl":%q,"conversation":{"id":"%d"},"from":{"id":"u"},"recipient":{"id":"bot"}}`, channel.URL, i)
		resp, err := http.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("answer is %s", resp.Status)
		}
	}
	last := time.Now()
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.Wait()
	http.DefaultClient.CloseIdleConnections()
	<-time.After(time.Until(last.Add(timeout)))

	startProcess(t, set...)
	select {
	case <-all:
	case <-time.After(30 * time.Second):
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range conversations {
		if n := told[fmt.Sprint(i)]; n != 1 {
			t.Errorf("%d was told %d times", i, n)
		}
	}
}
