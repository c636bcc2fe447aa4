package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
)

// A channel takes what the bot sends, and gives it the token to do so.
type channel struct{ texts []string }

func (c *channel) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := `{"access_token":"t","expires_in":86400}`
	if strings.HasSuffix(r.URL.Path, "/activities") {
		var a struct{ Text string }
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			return nil, err
		}
		c.texts = append(c.texts, a.Text)
		answer = `{"id":"1"}`
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(answer))}, nil
}

func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &channel{}
		client := &http.Client{Transport: c}
		adapter, err := newBot(core.AdapterSetting{AuthClient: client, ReplyClient: client})
		if err != nil {
			t.Fatal(err)
		}
		say := func(text string) {
			r := httptest.NewRequest("POST", "/api/messages", strings.NewReader(`{"type":"message","text":"`+text+`","channelId":"test",
				"serviceUrl":"http://localhost/","conversation":{"id":"c1"},"from":{"id":"u1"},"recipient":{"id":"bot"}}`))
			r.Header.Set("Authorization", "none")
			w := httptest.NewRecorder()
			if adapter.ServeHTTP(w, r); w.Code != http.StatusOK {
				t.Errorf("%q is answered with %d: %s", text, w.Code, w.Body)
			}
		}
		say("hi")
		say("pizza")
		time.Sleep(30 * time.Minute)
		say("hi again")
		if got, want := strings.Join(c.texts, " | "), "What would you like? | How many? | hi again pizza, coming up."; got != want {
			t.Errorf("the bot said\n%s, want\n%s", got, want)
		}
	})
}
