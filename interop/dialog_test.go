//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"github.com/botlapse/botlapse/internal/object"
)

// beyondJavaScript are members that a stored stack may have for this SDK alone: in
// the options of a prompt, and in the state of a waterfall.
var beyondJavaScript = map[string]string{
	"options": `{"onSilence":["Hello?",null],"patience":["5s","8s"],"onTimeout":"later"}`,
	"state":   `{"onTimeout":{"2":"later"}}`,
}

// TestJavaScriptTakesNoNoticeOfWhatItDoesNotKnow plays each recorded conversation
// with the JavaScript bot, on stacks that have all of beyondJavaScript before each
// turn. The user must read what was recorded, and what a turn does not end must keep
// these members.
func TestJavaScriptTakesNoNoticeOfWhatItDoesNotKnow(t *testing.T) {
	javaScript := startJavaScript(t)
	data, err := os.ReadFile("js/testdata/test-full.json")
	if err != nil {
		t.Fatal(err)
	}
	var conversation struct {
		Turns []struct {
			Activity json.RawMessage
			Replies  []any
		}
	}
	if err := json.Unmarshal(data, &conversation); err != nil {
		t.Fatal(err)
	}
	storage := documents{}
	kept := map[string]int{`"onTimeout":{"2":"later"}`: 0, `"patience":["5s","8s"],"onTimeout":"later"`: 0}
	for i, turn := range conversation.Turns {
		for key, document := range storage {
			storage[key] = add(t, document, "")
		}
		var replies []any
		replies, storage = javaScript(t, turn.Activity, storage)
		if !reflect.DeepEqual(replies, turn.Replies) {
			t.Errorf("turn %d: the bot said\n%s, want\n%s", i, encode(replies), encode(turn.Replies))
		}
		for _, document := range storage {
			for member := range kept {
				kept[member] += bytes.Count(document, []byte(member))
			}
		}
	}
	for member, n := range kept {
		if n == 0 {
			t.Errorf("JavaScript never keeps %s", member)
		}
	}
}

// add adds the members of beyondJavaScript to each object of their name in a document.
func add(t *testing.T, data json.RawMessage, name string) json.RawMessage {
	if elements, ok := object.Elements(data); ok {
		for i := range elements {
			elements[i] = add(t, elements[i], "")
		}
		out, err := object.Marshal(elements)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	o, ok := object.ParseValid(data)
	if !ok {
		return data
	}
	out := o.Clone()
	for member, value := range o.All {
		out.Set(member, add(t, value, member))
	}
	more, _ := object.ParseValid([]byte(beyondJavaScript[name])) // none for other names
	for member, value := range more.All {
		out.Set(member, value)
	}
	return out.Encode()
}
