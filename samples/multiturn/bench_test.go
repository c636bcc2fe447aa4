package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/internal/wire"
)

// flow is a whole conversation: what the user says, and what the bot says to it.
var flow = []struct {
	user    string
	adapter []string
}{
	{"hi", []string{"Please enter your mode of transport."}},
	{"Bus", []string{"Please enter your name."}},
	{"Ada", []string{"Thanks Ada.", "Do you want to give your age?"}},
	{"no", []string{"No age given.", "Please attach a profile picture (or type any message to skip)."}},
	{"skip", []string{"No attachments received. Proceeding without a profile picture...", "I have your mode of transport as Bus and your name as Ada.", "Is this okay?"}},
	{"yes", []string{"Thanks. Your profile saved successfully."}},
}

// How many turns a second does the bot do over HTTP, its replies included,
// beside a bare server that decodes the activity, counts the steps of each
// conversation in a sync.Map, and posts the same replies? Client, bot and
// channel share the process.
func BenchmarkHTTPTurn(b *testing.B) {
	channel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"r1"}`)
	}))
	defer channel.Close()

	base, err := connector.New(&connector.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer base.Close()
	adapter, handle := newBot(base)
	for _, s := range []struct {
		name    string
		handler http.Handler
	}{
		{"bare", newBare()},
		{"botlapse", adapter.HTTPHandler(handle)},
	} {
		b.Run(s.name, func(b *testing.B) {
			server := httptest.NewServer(s.handler)
			defer server.Close()
			client := server.Client()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				body := fmt.Appendf(nil, `{"type":"message","text":%q,"id":"%d","from":{"id":"user-id-0","name":"Alex Wilber"},"timestamp":"2026-11-21T04:00:50.902Z",`+
					`"serviceUrl":%q,"conversation":{"conversationType":"personal","id":"c%s%d"},"recipient":{"id":"11","name":"Test Bot"},"textFormat":"plain","locale":"en-US",`+
					`"channelData":{"tenant":{"id":"01"}},"channelId":"emulator"}`, flow[i%len(flow)].user, i, channel.URL, s.name, i/len(flow)%1000)
				resp, err := client.Post(server.URL, "application/json", bytes.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					b.Fatalf("status %d", resp.StatusCode)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "turns/s")
		})
	}
}

func newBare() http.Handler {
	var steps sync.Map
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a schema.Activity
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		step, _ := steps.LoadOrStore(a.Conversation.ID, 0)
		steps.Store(a.Conversation.ID, (step.(int)+1)%len(flow))
		for _, text := range flow[step.(int)].adapter {
			body, err := wire.Encode(&schema.Activity{
				Type:         schema.Message,
				Text:         text,
				From:         a.Recipient,
				Recipient:    a.From,
				Conversation: a.Conversation,
				ReplyToID:    a.ID,
			})
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			resp, err := client.Post(a.ServiceURL+"/v3/conversations/"+a.Conversation.ID+"/activities/"+a.ID, "application/json", bytes.NewReader(body))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}

// How much memory does a conversation of this bot take that was left half-way?
func BenchmarkIdleConversation(b *testing.B) {
	const conversations = 10_000
	for b.Loop() {
		adapter, handle := newBot(discard{})
		play := func(conversation, text string) {
			if err := adapter.Process(b.Context(), schema.Activity{
				Type:         schema.Message,
				Text:         text,
				ChannelID:    "webchat",
				From:         schema.ChannelAccount{ID: "user of " + conversation},
				Recipient:    schema.ChannelAccount{ID: "bot"},
				Conversation: schema.ConversationAccount{ID: conversation},
			}, handle); err != nil {
				b.Fatal(err)
			}
		}
		play("warm up", "hi")
		before := heap()
		for i := range conversations {
			for _, text := range []string{"hi", "Bus", "Ada", "no"} {
				play(fmt.Sprint("conversation-", i), text)
			}
		}
		b.ReportMetric(float64(heap()-before)/conversations, "B/conversation")
		runtime.KeepAlive(adapter)
	}
}

// discard is a core.Adapter that sends nothing.
type discard struct{ core.Adapter }

func (discard) SendActivity(context.Context, schema.Activity) (id string, err error) { return "", nil }

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What does a turn of the bot cost by itself, without HTTP and channel?
func BenchmarkTurn(b *testing.B) {
	adapter, handle := newBot(discard{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := adapter.Process(b.Context(), schema.Activity{
			Type:         schema.Message,
			ID:           fmt.Sprint(i),
			Text:         flow[i%len(flow)].user,
			ChannelID:    "emulator",
			From:         schema.ChannelAccount{ID: "u1"},
			Recipient:    schema.ChannelAccount{ID: "bot"},
			Conversation: schema.ConversationAccount{ID: fmt.Sprint("conversation-", i/len(flow)%1000)},
		}, handle); err != nil {
			b.Fatal(err)
		}
	}
}
