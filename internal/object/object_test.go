package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
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
		before := members(t, data)
		changed := object.Clone()
		changed.Set(name, json.RawMessage(`"new"`))
		after := members(t, changed.Encode())
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

// members decodes an object as encoding/json does, with numbers of any size.
func members(t *testing.T, data []byte) (m map[string]any) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return m
}

func TestElements(t *testing.T) {
	for in, want := range map[string]string{
		`[]`: "", ` [ ] `: "", `[1]`: "1", " [ 1 ,\n{\"a\":[2,3]}, \"x,]\" ] ": `1|{"a":[2,3]}|"x,]"`,
	} {
		elements, ok := Elements([]byte(in))
		var got []string
		for _, e := range elements {
			got = append(got, string(e))
		}
		if !ok || strings.Join(got, "|") != want {
			t.Errorf("%s: %q (%v), want %s", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "{}", "1", `"[]"`, " null"} {
		if elements, ok := Elements([]byte(in)); ok {
			t.Errorf("%s: %q", in, elements)
		}
	}
}
