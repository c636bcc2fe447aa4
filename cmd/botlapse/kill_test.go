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

// TestKillsInTheMiddle kills a server again and again: while it answers messages, which
// the channel delivers again to the next one, and while it says goodbye. Nobody is
// left untold, in either mode, and at most once nobody is told twice.
func TestKillsInTheMiddle(t *testing.T) {
	for _, once := range []bool{false, true} {
		t.Run(fmt.Sprint("at most once ", once), func(t *testing.T) {
			t.Parallel()
			killInTheMiddle(t, once)
		})
	}
}

func killInTheMiddle(t *testing.T, once bool) {
	const (
		conversations = 30
		timeout       = 3 * time.Second
		goodbye       = "Goodbye."
		welcome       = "Welcome back."
	)
	var mu sync.Mutex
	heard := make(map[string]map[string]int) // by text and conversation
	count := func(text string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		return len(heard[text])
	}
	channel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the process was killed
		}
		a, err := wire.Decode(body)
		if err != nil {
			t.Errorf("the bot sent %s: %v", body, err)
			return
		}
		mu.Lock()
		text := a.Text
		if text != goodbye && text != welcome {
			text = "reply"
		}
		if heard[text] == nil {
			heard[text] = make(map[string]int)
		}
		heard[text][a.Conversation.ID]++
		mu.Unlock()
		<-time.After(30 * time.Millisecond) // in which the process may be killed
	}))
	defer channel.Close()
	set := []string{
		"STATE_FILE=" + filepath.Join(t.TempDir(), "state.db"), fmt.Sprint("ExpireAfterSeconds=", timeout.Seconds()),
		"ExpireProactiveMessage=" + goodbye, "ExpireMessage=" + welcome, fmt.Sprint("AT_MOST_ONCE=", once),
	}
	killed, url := startProcess(t, set...)
	restart := func() {
		if err := killed.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		killed.Wait()
		killed, url = startProcess(t, set...)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	deliver := func(url string, i int, id string) bool {
		body := fmt.Sprintf(`{"type":"message","id":%q,"text":"hi","channelId":"test","serviceUrl":%q,"conversation":{"id":"%d"},"from":{"id":"u"},"recipient":{"id":"bot"}}`, id, channel.URL, i)
		resp, err := client.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	// deliverAll has all conversations write, and kills twice meanwhile.
	deliverAll := func(id string) {
		for left, kills := conversations, 0; left > 0; {
			var handled sync.WaitGroup
			to := url
			for i := range conversations {
				mu.Lock()
				done := heard[id][fmt.Sprint(i)] > 0
				mu.Unlock()
				if done {
					continue
				}
				handled.Go(func() {
					if deliver(to, i, fmt.Sprint(id, i)) {
						mu.Lock()
						defer mu.Unlock()
						if heard[id] == nil {
							heard[id] = make(map[string]int)
						}
						heard[id][fmt.Sprint(i)]++
					}
				})
			}
			if kills++; kills <= 2 {
				<-time.After(40 * time.Millisecond)
				restart()
			}
			handled.Wait()
			left = conversations - count(id)
		}
	}
	deliverAll("first")
	for kills, at := range []int{5, 15} {
		deadline := time.Now().Add(20 * time.Second)
		for count(goodbye) < at {
			if time.Now().After(deadline) {
				t.Fatalf("after %d kills, only %d were told", kills, count(goodbye))
			}
			<-time.After(time.Millisecond)
		}
		restart()
	}
	for until := time.Now().Add(20 * time.Second); count(goodbye) < conversations && time.Now().Before(until); {
		<-time.After(50 * time.Millisecond)
		if once && time.Now().After(until.Add(-15*time.Second)) {
			break // the others are told on return
		}
	}
	mu.Lock()
	told, twice, most := len(heard[goodbye]), 0, 0
	for _, n := range heard[goodbye] {
		most = max(most, n)
		if n > 1 {
			twice++
		}
	}
	mu.Unlock()
	t.Logf("%d were told, %d of them more than once", told, twice)
	if once && most > 1 || !once && told < conversations || most > 4 {
		t.Errorf("%d of %d were told, one of them %d times", told, conversations, most)
	}
	for i := range conversations {
		if !deliver(url, i, fmt.Sprint("back", i)) {
			t.Errorf("the message of %d was not handled", i)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range conversations {
		id := fmt.Sprint(i)
		if heard[goodbye][id]+heard[welcome][id] == 0 {
			t.Errorf("%s was not told", id)
		}
	}
}
