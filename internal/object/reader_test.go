package object

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestReader(t *testing.T) {
	names := NewNames("id", "count", "keys", "on")
	for _, test := range []struct{ name, in, want string }{
		{"all types", `{"id":"a","count":-2,"keys":[1,null,"b"],"on":true}`, `a -2 [1 <nil> b] true <nil>`},
		{"null for everything", `{"id":null,"count":null,"keys":null,"on":null}`, ` 0 <nil> false <nil>`},
		{"white space", " {\r\n\t\"id\" : \"a\" , \"count\" : 0 } ", `a 0 <nil> false <nil>`},
		{"unknown members", `{"x":{"id":"b"},"Id":"c","":1,"id":"a","x":[]}`, ` 0 <nil> false the text's id is there in two spellings`},
		{"another spelling alone", `{"ID":"c","Keys":{"id":1}}`, ` 0 <nil> false <nil>`},
		{"nothing", ``, ` 0 <nil> false the text is not JSON`},
		{"null", `null`, ` 0 <nil> false the text is no JSON object but null`},
		{"an array", `[]`, ` 0 <nil> false the text is no JSON object but an array`},
		{"a second text", `{"id":"a"} {}`, `a 0 <nil> false the text is not JSON`},
		{"a comma too many", `{"id":"a",}`, `a 0 <nil> false the text is not JSON`},
		{"a colon too few", `{"id" "a"}`, ` 0 <nil> false the text is not JSON`},
		{"a control character", "{\"id\":\"\n\"}", ` 0 <nil> false the text is not JSON`},
		{"an unknown escape", `{"x":"\x"}`, ` 0 <nil> false the text is not JSON`},
		{"half an escape", `{"x":"\u12"}`, ` 0 <nil> false the text is not JSON`},
		{"a number as a string", `{"id":1}`, ` 0 <nil> false the text's id cannot be a number`},
		{"a fraction as an integer", `{"count":1.0}`, ` 0 <nil> false the text's count must be an integer of 32 bits`},
		{"an integer that is too large", `{"count":2147483648}`, ` 0 <nil> false the text's count must be an integer of 32 bits`},
		{"a number with a zero ahead", `{"count":01}`, ` 0 <nil> false the text is not JSON`},
		{"a string as a bool", `{"on":"true"}`, ` 0 <nil> false the text's on cannot be a string`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var id string
			var count int32
			var keys any
			var on bool
			r := NewReader([]byte(test.in))
			for name := range r.Members(names) {
				switch name {
				case "id":
					id = r.ID()
				case "count":
					count = r.Int32()
				case "keys":
					keys = r.Any()
				case "on":
					on = r.Bool()
				}
			}
			err := r.End("the text")
			if got := fmt.Sprint(id, " ", count, " ", keys, " ", on, " ", err); got != test.want {
				t.Errorf("%s is read as\n%s, want\n%s", test.in, got, test.want)
			}
			if err != nil && !errors.As(err, new(Error)) {
				t.Errorf("the error is a %T", err)
			}
		})
	}
}

func TestReaderKeepsWhatIsRaw(t *testing.T) {
	r := NewReader([]byte(` [ {"a" : [1]} , "b" , 1.50] `))
	var got []string
	for range r.Elements() {
		got = append(got, string(r.Raw()))
	}
	if want := []string{`{"a" : [1]}`, `"b"`, `1.50`}; !reflect.DeepEqual(got, want) || r.End("") != nil {
		t.Errorf("got %q, %v", got, r.End(""))
	}
}

// FuzzReader checks that a Reader takes for JSON what encoding/json does, and
// finds the same in it; and that a checker fails where it does.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` [ ] `, `{"a":[1,{"b":"}\"\\u0061"}]}`, "{\n\"\\u0061\" : -1.5E+10 }", `"\ud83d\ude00\ud83d"`, "\"\xff\"", `{"a":1,"a":2}`, `-0`, `1e999`, `[1,]`, `tru`, `{"a"`, "\x00", `"\u00"`,
		strings.Repeat("[", 101), `["` + strings.Repeat("\\", 7) + `"]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, checker := NewReader(data), NewChecker(data)
		got := r.Any()
		checker.Skip()
		err, checkErr := r.End("it"), checker.End("it")
		if err != checkErr {
			t.Errorf("%q: read with %v, checked with %v", data, err, checkErr)
		}
		var want any
		wantErr := json.Unmarshal(data, &want)
		switch {
		case err == nil && (wantErr != nil || !reflect.DeepEqual(got, want)):
			t.Errorf("%q is read as %#v, want %#v (%v)", data, got, want, wantErr)
		case err != nil && err.Error() == "it is not JSON" && json.Valid(data):
			t.Errorf("%q is JSON", data)
		}
	})
}

func BenchmarkNames(b *testing.B) {
	names := NewNames("type", "id", "channelId", "conversation", "serviceUrl", "from", "recipient", "timestamp")
	for _, name := range []string{"conversation", "unknown", "Conversation"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				names.find([]byte(name))
			}
		})
	}
}
