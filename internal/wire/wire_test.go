package wire

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// received returns activities as the Microsoft 365 Agents Playground and a
// Direct Line server send them, by the name of their file.
func received(t testing.TB) map[string][]byte {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no activities in testdata", err)
	}
	activities := make(map[string][]byte)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		activities[filepath.Base(file)] = data
	}
	return activities
}

func TestEncodeLeavesOutWhatIsEmpty(t *testing.T) {
	inIndia := time.Date(2026, 1, 2, 8, 34, 5, 0, time.FixedZone("", 5*3600+1800))
	for _, test := range []struct {
		name string
		a    schema.Activity
		want string
	}{
		{"nothing", schema.Activity{}, `{}`},
		{"a message", schema.Activity{Type: schema.Message, Text: "<a> & b", Recipient: schema.ChannelAccount{ID: "u"}}, `{"type":"message","text":"<a> & b","recipient":{"id":"u"}}`},
		{"empty lists and structs", schema.Activity{Attachments: []schema.Attachment{}, Entities: []schema.Entity{}, MembersAdded: []schema.ChannelAccount{}, ListenFor: []string{},
			SuggestedActions: schema.SuggestedActions{To: []string{}, Actions: []schema.CardAction{}}, SemanticAction: schema.SemanticAction{Entities: map[string]schema.Entity{}}}, `{}`},
		{"a time to the digits it has", schema.Activity{Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)}, `{"timestamp":"2026-01-02T03:04:05.006Z"}`},
		{"a time to the nanosecond", schema.Activity{Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)}, `{"timestamp":"2026-01-02T03:04:05.123456789Z"}`},
		{"times in UTC, but local ones in their zone", schema.Activity{Timestamp: inIndia, LocalTimestamp: inIndia, Expiration: inIndia},
			`{"timestamp":"2026-01-02T03:04:05Z","localTimestamp":"2026-01-02T08:34:05+05:30","expiration":"2026-01-02T03:04:05Z"}`},
		{"a zero time in another zone", schema.Activity{Timestamp: time.Time{}.In(inIndia.Location())}, `{}`},
		{"a string as value", schema.Activity{Value: map[string]any{"": "<x>"}}, `{"value":"<x>"}`},
		{"an array as channelData", schema.Activity{ChannelData: map[string]any{"": []int{1}}}, `{"channelData":[1]}`},
		{"an object as value", schema.Activity{Value: map[string]any{"a": 1}}, `{"value":{"a":1}}`},
		{"null as value", schema.Activity{Value: map[string]any{"": nil}, ChannelData: map[string]any{"": nil}}, `{}`},
		{"false as value", schema.Activity{Value: map[string]any{"": false}}, `{"value":false}`},
		{"an empty object as value", schema.Activity{Value: map[string]any{}}, `{"value":{}}`},
		{"an object with an empty key among others", schema.Activity{Value: map[string]any{"": 1, "a": 2}}, `{"value":{"":1,"a":2}}`},
		{"a suggested action", schema.Activity{SuggestedActions: schema.SuggestedActions{Actions: []schema.CardAction{{Type: schema.ImBack, Title: "Car", Value: map[string]any{"": "Car"}}}}},
			`{"suggestedActions":{"actions":[{"type":"imBack","title":"Car","value":"Car"}]}}`},
		{"a reference", schema.Activity{RelatesTo: schema.ConversationReference{Conversation: schema.ConversationAccount{ID: "c"}}}, `{"relatesTo":{"conversation":{"id":"c"}}}`},
		{"a semantic action", schema.Activity{SemanticAction: schema.SemanticAction{ID: "s", Entities: map[string]schema.Entity{"e": {Type: "t"}}}}, `{"semanticAction":{"id":"s","entities":{"e":{"type":"t"}}}}`},
		{"an attachment's content of any type", schema.Activity{Attachments: []schema.Attachment{{Content: "<b>"}, {Content: map[string]any{"x": nil}}}}, `{"attachments":[{"content":"<b>"},{"content":{"x":null}}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Encode(&test.a)
			if err != nil || string(got) != test.want {
				t.Errorf("encoded as %s (%v), want %s", got, err, test.want)
			}
		})
	}
	if _, err := Encode(&schema.Activity{Value: map[string]any{"": func() {}}}); err == nil {
		t.Error("a function was encoded")
	}
}

func TestDecodeTakesWhatChannelsSend(t *testing.T) {
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
		{"null in lists", `{"membersAdded":[null],"suggestedActions":{"to":null,"actions":[null]}}`,
			schema.Activity{MembersAdded: []schema.ChannelAccount{{}}, SuggestedActions: schema.SuggestedActions{Actions: []schema.CardAction{{}}}}},
		{"unknown fields", `{"text":"x","$schema":1,"entities":[{"type":"mention","mentioned":{"id":"1"},"text":"<at>x</at>"}],"from":{"id":"u","properties":{}}}`,
			schema.Activity{Text: "x", Entities: []schema.Entity{{Type: "mention"}}, From: schema.ChannelAccount{ID: "u"}}},
		{"a suggested action with a string", `{"suggestedActions":{"to":["u"],"actions":[{"type":"imBack","value":"Car","channelData":[]}]}}`,
			schema.Activity{SuggestedActions: schema.SuggestedActions{To: []string{"u"}, Actions: []schema.CardAction{{Type: schema.ImBack, Value: map[string]any{"": "Car"}, ChannelData: map[string]any{"": []any{}}}}}}},
		{"texts that are not valid Unicode", `{"text":"\ud83d","speak":"` + "a\xff" + `","from":{"name":"\ude00\ud83d"},"value":"\ud83d\ude00\ud83dx"}`,
			schema.Activity{Text: "\ufffd", Speak: "a\ufffd", From: schema.ChannelAccount{Name: "\ufffd\ufffd"}, Value: map[string]any{"": "😀\ufffdx"}}},
		{"escapes", `{"id":"\u00e4\ud83d\ude00\"\\\/\b\f\n\r\t","te\u0078t":"\u0000"}`, schema.Activity{ID: "ä😀\"\\/\b\f\n\r\t", Text: "\x00"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Decode([]byte(test.json))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("decoded as\n%+v (%v), want\n%+v", got, err, test.want)
			}
		})
	}
	for name, data := range received(t) {
		if a, err := Decode(data); err != nil || a.Type == "" || a.From.ID == "" || a.Conversation.ID == "" {
			t.Errorf("%s: decoded as %+v (%v)", name, a, err)
		}
	}
}

func TestDecodeTakesWhatIsJustWithinTheBounds(t *testing.T) {
	for name, in := range map[string]string{
		"100 levels":                      `{"value":` + strings.Repeat(`[`, 99) + strings.Repeat(`]`, 99) + `}`,
		"10000 members and elements":      `{"membersAdded":[` + strings.Repeat(`{},`, 9998) + `{}]}`,
		"brackets and commas in a string": `{"text":"` + strings.Repeat(`[\\\",[{`, 2000) + `"}`,
	} {
		if _, err := Decode([]byte(in)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeTakesTimesInManyForms(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-21T04:00:50.902Z":              "2026-11-21T04:00:50.902Z",
		"2026-11-21T04:00:50.9020001Z":          "2026-11-21T04:00:50.9020001Z",
		"2026-11-21T04:00:50.902":               "2026-11-21T04:00:50.902Z", // no zone is UTC
		"2026-11-21T04:00:50,902Z":              "2026-11-21T04:00:50.902Z",
		"2026-11-21T04:00:50.12345678912Z":      "2026-11-21T04:00:50.123456789Z",
		"2026-11-21 04:00:50.902000+00:00":      "2026-11-21T04:00:50.902Z",
		"2026-11-21t04:00:50z":                  "2026-11-21T04:00:50Z",
		"2026-11-21T04:00:50-07:00":             "2026-11-21T11:00:50Z",
		"2026-11-21T04:00:50+0530":              "2026-11-20T22:30:50Z",
		"2026-11-21T04:00:50-07":                "2026-11-21T11:00:50Z",
		"2026-11-21T04:00Z":                     "2026-11-21T04:00:00Z",
		"2026-11-21T04:00":                      "2026-11-21T04:00:00Z",
		"2026-11-21":                            "2026-11-21T00:00:00Z",
		"20261121T040050Z":                      "2026-11-21T04:00:50Z",
		"20261121T040050":                       "2026-11-21T04:00:50Z",
		`2026-11-21T04:00:50\u002b01:00`:        "2026-11-21T03:00:50Z",
		"9999-12-31T23:59:59.999999999Z":        "9999-12-31T23:59:59.999999999Z",
		"":                                      "0001-01-01T00:00:00Z", // what cannot be read
		"soon":                                  "0001-01-01T00:00:00Z",
		"2026-13-01T00:00:00Z":                  "0001-01-01T00:00:00Z",
		"2026-11-21T04:00:50+24:00":             "0001-01-01T00:00:00Z", // what could not be written again
		"0000-01-01T00:00:00Z":                  "0001-01-01T00:00:00Z",
		"9999-12-31T23:59:59-14:00":             "0001-01-01T00:00:00Z",
		"2026-11-21" + strings.Repeat(" ", 100): "0001-01-01T00:00:00Z",
	} {
		a, err := Decode([]byte(`{"timestamp":"` + in + `"}`))
		if got := a.Timestamp.UTC().Format(time.RFC3339Nano); err != nil || got != want {
			t.Errorf("%q is %s (%v), want %s", in, got, err, want)
		}
	}
}

// TestEveryFieldSurvives sets each field of schema.Activity, at any depth, and
// checks that it is there after Encode and Decode.
func TestEveryFieldSurvives(t *testing.T) {
	var want schema.Activity
	fill(reflect.ValueOf(&want).Elem())
	data, err := Encode(&want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode(data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded as\n%+v (%v), want\n%+v", got, err, want)
	}
}

func fill(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32:
		v.SetInt(1)
	case reflect.Interface:
		v.Set(reflect.ValueOf("any"))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		elem := reflect.New(v.Type().Elem()).Elem()
		fill(elem)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), elem)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	default:
		panic("no value for " + v.Type().String())
	}
}

func TestDecodeRefusesWhatIsNoActivity(t *testing.T) {
	for in, want := range map[string]string{
		``:                           "the activity is not JSON",
		`{"text":"secret`:            "the activity is not JSON",
		`{} {}`:                      "the activity is not JSON",
		`null`:                       "the activity is no JSON object but null",
		`[]`:                         "the activity is no JSON object but an array",
		`"secret"`:                   "the activity is no JSON object but a string",
		`12`:                         "the activity is no JSON object but a number",
		`{"text":12}`:                "the activity's text cannot be a number",
		`{"from":{"id":["secret"]}}`: "the activity's from.id cannot be an array",
		`{"membersAdded":{}}`:        "the activity's membersAdded cannot be an object",
		`{"suggestedActions":{"actions":[{"title":["secret"]}]}}`:               "the activity's suggestedActions.actions.title cannot be an array",
		`{"relatesTo":{"user":{"id":1}}}`:                                       "the activity's relatesTo.user.id cannot be a number",
		`{"semanticAction":{"entities":{"secret":"secret"}}}`:                   "the activity's semanticAction.entities cannot be a string",
		`{"textHighlights":[{"occurrence":1.5}]}`:                               "the activity's textHighlights.occurrence must be an integer of 32 bits",
		`{"value":[1e999]}`:                                                     "the activity's value cannot be a number of that size",
		`{"historyDisclosed":"secret"}`:                                         "the activity's historyDisclosed cannot be a string",
		`{"attachments":["secret"]}`:                                            "the activity's attachments cannot be a string",
		strings.Repeat(`{"value":`, 100000):                                     "the activity is nested more than 100 levels deep",
		`{"value":` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `}`: "the activity is nested more than 100 levels deep",
		`{"membersAdded":[` + strings.Repeat(`{},`, 9999) + `{}]}`:              "the activity has more than 10000 members and elements",
		`{"value":{"a":0` + strings.Repeat(`,"a":0`, 9999) + `}}`:               "the activity has more than 10000 members and elements",
		`{"x":[` + strings.Repeat(`[],`, 9999) + `[]]}`:                         "the activity has more than 10000 members and elements",
	} {
		if _, err := Decode([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("%.40s: %v, want %s", in, err, want)
		}
	}
}

// levels are the objects of an activity in which names are known.
var levels = []struct {
	before, after string
	names         any
}{
	{`{`, `}`, schema.Activity{}},
	{`{"from":{`, `}}`, schema.ChannelAccount{}},
	{`{"recipient":{`, `}}`, schema.ChannelAccount{}},
	{`{"conversation":{`, `}}`, schema.ConversationAccount{}},
	{`{"membersAdded":[{},{`, `}]}`, schema.ChannelAccount{}},
	{`{"membersRemoved":[{},{`, `}]}`, schema.ChannelAccount{}},
	{`{"reactionsAdded":[{`, `}]}`, schema.MessageReaction{}},
	{`{"reactionsRemoved":[{`, `}]}`, schema.MessageReaction{}},
	{`{"suggestedActions":{`, `}}`, schema.SuggestedActions{}},
	{`{"suggestedActions":{"actions":[{`, `}]}}`, schema.CardAction{}},
	{`{"attachments":[{`, `}]}`, schema.Attachment{}},
	{`{"entities":[{`, `}]}`, schema.Entity{}},
	{`{"relatesTo":{`, `}}`, schema.ConversationReference{}},
	{`{"relatesTo":{"user":{`, `}}}`, schema.ChannelAccount{}},
	{`{"relatesTo":{"bot":{`, `}}}`, schema.ChannelAccount{}},
	{`{"relatesTo":{"conversation":{`, `}}}`, schema.ConversationAccount{}},
	{`{"textHighlights":[{`, `}]}`, schema.TextHighlight{}},
	{`{"semanticAction":{`, `}}`, schema.SemanticAction{}},
	{`{"semanticAction":{"entities":{"x":{`, `}}}}`, schema.Entity{}},
}

// TestD1NamesAreExact goes through all names of all levels: each must be there
// once, and not beside another spelling; another spelling alone says nothing.
func TestD1NamesAreExact(t *testing.T) {
	for _, level := range levels {
		empty, err := Decode([]byte(level.before + level.after))
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range reflect.VisibleFields(reflect.TypeOf(level.names)) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			escaped := fmt.Sprintf(`\u%04x`, name[0]) + name[1:]
			text := func(names ...string) string {
				return level.before + `"` + strings.Join(names, `":null,"x":{},"`) + `":null` + level.after
			}
			for _, twice := range []string{text(name, name), text(name, escaped), text(escaped, name), text(escaped, escaped)} {
				if _, err := Decode([]byte(twice)); err == nil || !strings.HasSuffix(err.Error(), name+" is there twice") {
					t.Errorf("%s: %v", twice, err)
				}
			}
			for _, once := range []string{text(name), text(escaped)} {
				if _, err := Decode([]byte(once)); err != nil {
					t.Errorf("%s: %v", once, err)
				}
			}
			variants := []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], fmt.Sprintf(`\u%04x`, name[0]-'a'+'A') + name[1:]}
			if strings.Contains(name, "s") {
				variants = append(variants, strings.Replace(name, "s", "ſ", 1), strings.Replace(name, "s", `\u017f`, 1))
			}
			if strings.Contains(name, "k") {
				variants = append(variants, strings.Replace(name, "k", "\u212a", 1), strings.Replace(name, "k", `\u212A`, 1))
			}
			for _, variant := range variants {
				for _, both := range []string{text(name, variant), text(variant, name), text(variant, variant, escaped)} {
					if _, err := Decode([]byte(both)); err == nil || !strings.HasSuffix(err.Error(), name+" is there in two spellings") {
						t.Errorf("%s: %v", both, err)
					}
				}
				alone := strings.ReplaceAll(text(variant, variant), "null", `{"id":["y"]}`)
				if a, err := Decode([]byte(alone)); err != nil || !reflect.DeepEqual(a, empty) {
					t.Errorf("%s: %+v, %v", alone, a, err)
				}
			}
		}
	}
}

func TestD1NamesAndIDsAreValidUnicode(t *testing.T) {
	ids := []string{`"type":"%s"`, `"id":"%s"`, `"channelId":"%s"`, `"serviceUrl":"%s"`, `"replyToId":"%s"`, `"deliveryMode":"%s"`, `"from":{"id":"%s"}`, `"from":{"aadObjectId":"%s"}`,
		`"recipient":{"id":"%s"}`, `"conversation":{"id":"%s"}`, `"conversation":{"tenantId":"%s"}`, `"membersAdded":[{"id":"%s"}]`, `"relatesTo":{"conversation":{"id":"%s"}}`}
	names := []string{`"%s":1`, `"from":{"%s":1}`, `"value":[{"%s":1}]`, `"x":{"y":{"%s":1}}`, `"semanticAction":{"entities":{"%s":{}}}`}
	for _, bad := range []string{"\xff", "a\xc3", "\xed\xa0\x80", `\ud83d`, `\ude00`, `\ude00\ud83d`, `\ud83d\ud83d\ude00`, `\ud83dx`} {
		for _, format := range append(names, ids...) {
			in := "{" + fmt.Sprintf(format, bad) + "}"
			if _, err := Decode([]byte(in)); err == nil || !strings.HasSuffix(err.Error(), "not valid Unicode") {
				t.Errorf("%q: %v", in, err)
			}
		}
	}
	for _, good := range []string{"ü漢😀", `\ud83d\ude00`, "\ufffd", `\ufffd`} {
		for _, format := range append(names, ids...) {
			if in := "{" + fmt.Sprintf(format, good) + "}"; !json.Valid([]byte(in)) {
				t.Errorf("%q is no JSON", in)
			} else if _, err := Decode([]byte(in)); err != nil {
				t.Errorf("%q: %v", in, err)
			}
		}
	}
}

// FuzzDecode checks that nothing makes Decode panic; that Check fails where
// Decode does; and that an activity, what Encode makes of it, and the text that
// it was read from say the same to a reader that goes by exact names.
func FuzzDecode(f *testing.F) {
	for _, activity := range received(f) {
		f.Add(activity)
	}
	for _, seed := range []string{
		`{}`, `null`, `{"value":"x","channelData":[{}]}`, `{"value":{"":1}}`,
		`{"suggestedActions":{"actions":[{"value":1.5}]}}`, `{"timestamp":"9999-12-31T23:59:59.999999999-14:00","localTimestamp":"2026-11-21T04:00:50+24:00"}`, `{"text":"\u2028\ud800"}`, `{"timestamp":"`,
		`{"attachments":[{"content":{"a":[null]}}],"relatesTo":{"user":{}},"semanticAction":{"entities":{"a":{"type":"b"},"a":null}}}`,
		`{"TEXT":1,"conver\u017fation":{"id":"a"},"value":{"a":1,"A":2,"a":3},"x":1,"x":2}`, `{"FROM":{"ID":"a"},"from":null}`, `{"te\u0078t":"a","from":{"id":"b","ID":"c"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Decode(data)
		checked, checkErr := Check(data)
		if fmt.Sprint(err) != fmt.Sprint(checkErr) {
			t.Fatalf("%s: %v when decoded, %v when checked", data, err, checkErr)
		}
		if err != nil {
			if json.Valid(data) && strings.Contains(err.Error(), "not JSON") {
				t.Errorf("%s is JSON: %v", data, err)
			}
			return
		}
		if checked.ID != a.ID || checked.Type != a.Type || checked.Conversation.ID != a.Conversation.ID || checked.From.ID != a.From.ID ||
			checked.ChannelID != a.ChannelID || checked.ServiceURL != a.ServiceURL || checked.DeliveryMode != a.DeliveryMode || !checked.Timestamp.Equal(a.Timestamp) {
			t.Fatalf("%s is checked as\n%+v, and decoded as\n%+v", data, checked, a)
		}
		wantSame(t, data, &a)
		once, err := Encode(&a)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, once, &a)
		b, err := Decode(once)
		if err != nil {
			t.Fatalf("encoded as %s: %v", once, err)
		}
		twice, err := Encode(&b)
		if err != nil || string(once) != string(twice) {
			t.Errorf("encoded as %s and then as %s (%v)", once, twice, err)
		}
	})
}

// wantSame checks that a is what data says under exact names.
func wantSame(t *testing.T, data []byte, a *schema.Activity) {
	t.Helper()
	var text map[string]any
	if err := json.Unmarshal(data, &text); err != nil {
		t.Fatal(err)
	}
	if path := difference(reflect.ValueOf(*a), text); path != "" {
		t.Fatalf("%s\nis decoded as\n%+v, which differs in %s", data, *a, path)
	}
}

// difference returns the path to what is not the same in v and in text, which
// encoding/json has made of the text that v was read from.
func difference(v reflect.Value, text any) (path string) {
	same := false
	switch got := v.Interface().(type) {
	case time.Time:
		s, _ := text.(string)
		want, err := time.Parse(time.RFC3339, s)
		same = got.Equal(want) || err != nil || !isWritable(want)
	case map[string]any:
		same = reflect.DeepEqual(got, mapOf(text)) || len(got) == 0 && text == nil
	default:
		switch v.Kind() {
		case reflect.String:
			s, _ := text.(string)
			same = v.String() == s
		case reflect.Bool:
			b, _ := text.(bool)
			same = got == b
		case reflect.Int32:
			f, _ := text.(float64)
			same = float64(v.Int()) == f
		case reflect.Interface:
			same = reflect.DeepEqual(got, text)
		case reflect.Slice:
			list, _ := text.([]any)
			for i := range min(v.Len(), len(list)) {
				if path := difference(v.Index(i), list[i]); path != "" {
					return "[]" + path
				}
			}
			same = v.Len() == len(list)
		case reflect.Map:
			members, _ := text.(map[string]any)
			for name, value := range members {
				if entry := v.MapIndex(reflect.ValueOf(name)); !entry.IsValid() || difference(entry, value) != "" {
					return "." + name
				}
			}
			same = v.Len() == len(members)
		case reflect.Struct:
			members, _ := text.(map[string]any)
			for i := range v.NumField() {
				name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				if path := difference(v.Field(i), members[name]); path != "" {
					return "." + name + path
				}
			}
			same = true
		}
	}
	if !same {
		return "!"
	}
	return ""
}

// What does it cost to read a message of the playground?
func BenchmarkDecode(b *testing.B) {
	message := received(b)["message.json"]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(message); err != nil {
			b.Fatal(err)
		}
	}
}

// What does it cost to find it good?
func BenchmarkCheck(b *testing.B) {
	message := received(b)["message.json"]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Check(message); err != nil {
			b.Fatal(err)
		}
	}
}

// What does it cost to write it again?
func BenchmarkEncode(b *testing.B) {
	a, err := Decode(received(b)["message.json"])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(&a); err != nil {
			b.Fatal(err)
		}
	}
}

func TestIsTextKnowsAllFields(t *testing.T) {
	var a schema.Activity
	if !IsZero(&a) || !IsText(&a) {
		t.Error("the zero activity is not")
	}
	for i := range reflect.TypeFor[schema.Activity]().NumField() {
		a := schema.Activity{}
		field := reflect.ValueOf(&a).Elem().Field(i)
		fill(field)
		name := reflect.TypeFor[schema.Activity]().Field(i).Name
		if IsZero(&a) || IsText(&a) != (name == "Text") {
			t.Errorf("with %s, IsZero is %v and IsText %v", name, IsZero(&a), IsText(&a))
		}
	}
}
