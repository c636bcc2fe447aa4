package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
)

// FuzzObject checks that any object goes through unchanged, and that setting
// and deleting a property changes that property and nothing else.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { } `, `{"a":1}`, "{\n\t\"a\" : [ 1 , {\"b\":\"}\\\"\"} ] ,\r\n \"\\u0061\" : -1.5E+10 }",
		`{"a":1,"a":2}`, `{"$type":"T","dialogStack":{"$values":[]}}`, `[]`, `{"a"`, "{\"\xff\":\"\xff\"}", `{"":null}`,
	} {
		f.Add([]byte(seed), "a")
	}
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		object, err := Parse(data)
		if err != nil {
			var m map[string]json.RawMessage
			if json.Valid(data) && json.Unmarshal(data, &m) == nil && m != nil {
				t.Fatalf("refused an object: %v", err)
			}
			return
		}
		if got := object.Encode(); !bytes.Equal(got, bytes.TrimSpace(data)) {
			t.Fatalf("encoded as %q", got)
		}
		var before, after map[string]any
		if err := json.Unmarshal(data, &before); err != nil {
			t.Fatal(err)
		}
		changed := object.Clone()
		changed.Set(name, json.RawMessage(`"new"`))
		if err := json.Unmarshal(changed.Encode(), &after); err != nil {
			t.Fatalf("after set: %v", err)
		}
		if !bytes.ContainsRune([]byte(name), '\uFFFD') && json.Valid([]byte(fmt.Sprintf("%q", name))) {
			before[name] = "new"
			if !reflect.DeepEqual(before, after) {
				t.Fatalf("after set: %v, want %v", after, before)
			}
		}
		changed.Delete(name)
		if changed.Get(name) != nil || !json.Valid(changed.Encode()) {
			t.Fatalf("after delete: %s", changed.Encode())
		}
		if got := object.Encode(); !bytes.Equal(got, bytes.TrimSpace(data)) {
			t.Fatalf("the original became %q", got)
		}
	})
}
