package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/bottest"
)

func TestTranscripts(t *testing.T) {
	for _, file := range []string{"testdata/expiry.txt", "testdata/profile.txt"} {
		bottest.Play(t, file, func(base core.Adapter) (http.Handler, func(context.Context) error) {
			adapter, handle := newBot(base)
			return adapter.HTTPHandler(handle), adapter.Close
		})
	}
}

func TestRunServesUntilItIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out := make(lines, 1)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", out) }()
	select {
	case line := <-out:
		url := strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
		resp, err := http.Post(url, "application/json", strings.NewReader(`{"type":"typing","channelId":"test","conversation":{"id":"c1"},"from":{"id":"u1"}}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("status is %d, want 200", resp.StatusCode)
		}
	case err := <-ended:
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// lines receives what is printed.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
