package wire

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// What the Microsoft 365 Agents Playground sends.
const (
	playgroundMessage = `{"type":"message","text":"hello","id":"0b1c","from":{"id":"user-id-0","name":"Alex Wilber","aadObjectId":"20"},` +
		`"timestamp":"2026-11-21T04:00:50.902Z","localTimestamp":"2026-11-21T04:00:50.902+00:00","localTimezone":"UTC",` +
		`"serviceUrl":"http://localhost:56150/_connector","conversation":{"conversationType":"personal","tenantId":"01","id":"c1"},` +
		`"recipient":{"id":"11","name":"Test Bot"},"textFormat":"plain","locale":"en-US",` +
		`"entities":[{"type":"clientInfo","locale":"en-US","country":"US","platform":"Web","timezone":"UTC"}],` +
		`"channelData":{"tenant":{"id":"01"}},"channelId":"emulator"}`
	playgroundOpening = `{"type":"conversationUpdate","id":"1","from":{"id":"user-id-0","aadObjectId":"20"},"timestamp":"2026-11-21T03:59:34.123Z",` +
		`"serviceUrl":"http://localhost:56150/_connector","conversation":{"conversationType":"personal","tenantId":"01","id":"c1"},` +
		`"recipient":{"id":"11","name":"Test Bot"},"membersAdded":[{"id":"user-id-0"},{"id":"11"}],"channelData":{"tenant":{"id":"01"}},"channelId":"emulator"}`
)

func TestEncodeLeavesOutWhatIsEmpty(t *testing.T) {
	for _, test := range []struct {
		name string
		a    schema.Activity
		want string
	}{
		{"nothing", schema.Activity{}, `{}`},
		{"a message", schema.Activity{Type: schema.Message, Text: "<a> & b", Recipient: schema.ChannelAccount{ID: "u"}}, `{"type":"message","recipient":{"id":"u"},"text":"<a> & b"}`},
		{"empty lists and structs", schema.Activity{Attachments: []schema.Attachment{}, Entities: []schema.Entity{}, MembersAdded: []schema.ChannelAccount{}, ListenFor: []string{}}, `{}`},
		{"times", schema.Activity{Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)}, `{"timestamp":"2026-01-02T03:04:05.006Z"}`},
		{"a string as value", schema.Activity{Value: map[string]any{"": "<x>"}}, `{"value":"<x>"}`},
		{"an array as channelData", schema.Activity{ChannelData: map[string]any{"": []int{1}}}, `{"channelData":[1]}`},
		{"an object as value", schema.Activity{Value: map[string]any{"a": 1}}, `{"value":{"a":1}}`},
		{"an empty object as value", schema.Activity{Value: map[string]any{}}, `{"value":{}}`},
		{"an object with an empty key among others", schema.Activity{Value: map[string]any{"": 1, "a": 2}}, `{"value":{"":1,"a":2}}`},
		{"a suggested action", schema.Activity{SuggestedActions: schema.SuggestedActions{Actions: []schema.CardAction{{Type: schema.ImBack, Title: "Car", Value: map[string]any{"": "Car"}}}}},
			`{"suggestedActions":{"actions":[{"type":"imBack","title":"Car","value":"Car"}]}}`},
		{"a reference", schema.Activity{RelatesTo: schema.ConversationReference{Conversation: schema.ConversationAccount{ID: "c"}}}, `{"relatesTo":{"conversation":{"id":"c"}}}`},
		{"an attachment's content of any type", schema.Activity{Attachments: []schema.Attachment{{Content: "<b>"}, {Content: map[string]any{"x": nil}}}}, `{"attachments":[{"content":"<b>"},{"content":{"x":null}}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Encode(test.a)
			if err != nil || string(got) != test.want {
				t.Errorf("encoded as %s (%v), want %s", got, err, test.want)
			}
		})
	}
	if _, err := Encode(schema.Activity{Value: map[string]any{"": func() {}}}); err == nil {
		t.Error("a function was encoded")
	}
}

func TestDecodeTakesWhatChannelsSend(t *testing.T) {
	utc := func(h, m, s, ms int) time.Time { return time.Date(2026, 11, 21, h, m, s, ms*1e6, time.UTC) }
	for _, test := range []struct {
		name, json string
		want       schema.Activity
	}{
		{"nothing", `{}`, schema.Activity{}},
		{"a value that is a string", `{"value":"Car"}`, schema.Activity{Value: map[string]any{"": "Car"}}},
		{"a value that is an array", `{"value":[1]}`, schema.Activity{Value: map[string]any{"": []any{1.0}}}},
		{"a value that is a number", `{"value":7}`, schema.Activity{Value: map[string]any{"": 7.0}}},
		{"a value that is false", `{"value":false}`, schema.Activity{Value: map[string]any{"": false}}},
		{"a value that is an object with the empty key alone", `{"value":{"":1}}`, schema.Activity{Value: map[string]any{"": map[string]any{"": 1.0}}}},
		{"a value that is null", `{"value":null}`, schema.Activity{}},
		{"channelData that is a string", `{"channelData":"x"}`, schema.Activity{ChannelData: map[string]any{"": "x"}}},
		{"null for everything", `{"type":null,"from":null,"conversation":null,"recipient":null,"timestamp":null,"membersAdded":null,"attachments":null,"suggestedActions":null,"entities":null,"relatesTo":null,"text":null,"historyDisclosed":null}`, schema.Activity{}},
		{"empty strings and times", `{"timestamp":"","localTimestamp":"soon","expiration":12,"textFormat":""}`, schema.Activity{}},
		{"a time without zone", `{"timestamp":"2026-11-21T04:00:50.902"}`, schema.Activity{Timestamp: utc(4, 0, 50, 902)}},
		{"a time with a space", `{"timestamp":"2026-11-21 04:00:50Z"}`, schema.Activity{Timestamp: utc(4, 0, 50, 0)}},
		{"a time with a year that cannot be written", `{"timestamp":"0000-01-01T00:00:00Z"}`, schema.Activity{}},
		{"unknown fields", `{"text":"x","$schema":1,"entities":[{"type":"mention","mentioned":{"id":"1"},"text":"<at>x</at>"}],"from":{"id":"u","properties":{}}}`,
			schema.Activity{Text: "x", Entities: []schema.Entity{{Type: "mention"}}, From: schema.ChannelAccount{ID: "u"}}},
		{"a suggested action with a string", `{"suggestedActions":{"to":["u"],"actions":[{"type":"imBack","value":"Car","channelData":[]}]}}`,
			schema.Activity{SuggestedActions: schema.SuggestedActions{To: []string{"u"}, Actions: []schema.CardAction{{Type: schema.ImBack, Value: map[string]any{"": "Car"}, ChannelData: map[string]any{"": []any{}}}}}}},
		{"the last of doubled fields", `{"text":"a","text":"b"}`, schema.Activity{Text: "b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Decode([]byte(test.json))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("decoded as\n%+v (%v), want\n%+v", got, err, test.want)
			}
		})
	}
	got, err := Decode([]byte(playgroundMessage))
	if err != nil || got.Text != "hello" || !got.Timestamp.Equal(utc(4, 0, 50, 902)) || got.Recipient.Name != "Test Bot" || got.ChannelData["tenant"] == nil {
		t.Errorf("decoded as %+v (%v)", got, err)
	}
}

func TestDecodeRefusesWhatIsNoActivity(t *testing.T) {
	for in, want := range map[string]string{
		``:                                  "the activity is not JSON",
		`{"text":"secret`:                   "the activity is not JSON",
		`{} {}`:                             "the activity is not JSON",
		`null`:                              "the activity is no JSON object but null",
		`[]`:                                "the activity is no JSON object but an array",
		`"secret"`:                          "the activity is no JSON object but a string",
		`12`:                                "the activity is no JSON object but a number",
		`{"text":12}`:                       "the activity's text cannot be a number",
		`{"from":{"id":["secret"]}}`:        "the activity's from.id cannot be an array",
		`{"membersAdded":{}}`:               "the activity's membersAdded cannot be an object",
		`{"attachments":["secret"]}`:        "the activity's attachments cannot be a string",
		strings.Repeat(`{"value":`, 100000): "the activity is not JSON",
	} {
		if _, err := Decode([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("%.40s: %v, want %s", in, err, want)
		}
	}
}

// FuzzDecode checks that nothing makes Decode panic, and that what it has read
// is the same after Encode.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		playgroundMessage, playgroundOpening, `{}`, `null`, `{"value":"x","channelData":[{}]}`, `{"value":{"":1}}`,
		`{"suggestedActions":{"actions":[{"value":1.5}]}}`, `{"timestamp":"9999-12-31T23:59:59.999999999-14:00"}`, `{"text":"\u2028\ud800"}`,
		`{"attachments":[{"content":{"a":[null]}}],"relatesTo":{"user":{}},"semanticAction":{"entities":{}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Decode(data)
		if err != nil {
			if json.Valid(data) && strings.Contains(err.Error(), "not JSON") {
				t.Errorf("%s is JSON: %v", data, err)
			}
			return
		}
		once, err := Encode(a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Decode(once)
		if err != nil {
			t.Fatalf("encoded as %s: %v", once, err)
		}
		twice, err := Encode(b)
		if err != nil || string(once) != string(twice) {
			t.Errorf("encoded as %s and then as %s (%v)", once, twice, err)
		}
	})
}

// What does it cost to read a message of the playground?
func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode([]byte(playgroundMessage)); err != nil {
			b.Fatal(err)
		}
	}
}

// What does it cost to write a reply?
func BenchmarkEncode(b *testing.B) {
	a, err := Decode([]byte(playgroundMessage))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(a); err != nil {
			b.Fatal(err)
		}
	}
}
