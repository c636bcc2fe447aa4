package state

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzSameJSON compares sameJSON with what it is to be: equality of the texts
// without white space.
func FuzzSameJSON(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a": "b c\" "}`, ` { "a" :"b c\" " }`}, {`[1, 2]`, `[1,2 ]`}, {`[1, 2]`, `[12]`}, {`"\\"`, `"\\" `}, {`"\u0020"`, `" "`}, {`1`, `1 `}, {`"a"`, `"a`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var x, y bytes.Buffer
		if json.Compact(&x, a) != nil || json.Compact(&y, b) != nil {
			sameJSON(a, b) // must not panic
			return
		}
		if got, want := sameJSON(a, b), bytes.Equal(x.Bytes(), y.Bytes()); got != want {
			t.Errorf("%s and %s: %v, want %v", a, b, got, want)
		}
		if !sameJSON(a, x.Bytes()) || !sameJSON(x.Bytes(), a) {
			t.Errorf("%s is not the same as %s", a, x.Bytes())
		}
	})
}
