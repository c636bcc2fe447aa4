package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestServeTellsItsMetrics(t *testing.T) {
	now := make(chan struct{})
	close(now)
	channel, sent := newChannel(t, now)
	s := start(t, map[string]string{"STATE_FILE": filepath.Join(t.TempDir(), "state.db"), "ExpireAfterSeconds": "0.1", "ExpireProactiveMessage": "Goodbye."})
	if code, err := postMessage(s.url, channel, "m1", "hi"); code != 200 || err != nil {
		t.Fatalf("answer is %d, %v", code, err)
	}
	for _, want := range []string{"Please enter your mode of transport.", "Goodbye."} {
		if got := <-sent; !strings.HasSuffix(got, want) {
			t.Fatalf("the bot said %s, want %s", got, want)
		}
	}
	var code int
	var body string
	for !strings.Contains(body, `outcome="told"`) { // it is counted when the channel has answered
		code, body = ask(t, http.DefaultClient, "GET", strings.TrimSuffix(s.url, "/api/messages")+"/metrics", "", "")
		if code != http.StatusOK {
			break
		}
	}
	http.DefaultClient.CloseIdleConnections()
	s.wait(t)
	for _, want := range []string{
		`botlapse_turn_duration_seconds_count{kind="message",outcome="ok"} `,
		`botlapse_expiries_total{reason="proactive"} `,
		`botlapse_deadline_armed_total `,
		`botlapse_deadline_lateness_seconds_bucket{outcome="told",le="0.05"} `,
		`botlapse_storage_duration_seconds_count{operation="write",outcome="ok",storage="conversation"} `,
		"\ngo_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("status %d, and there is no %s in\n%s", code, want, body)
		}
	}
	if strings.Contains(body, "a/b c") {
		t.Error("a conversation is named")
	}
}
