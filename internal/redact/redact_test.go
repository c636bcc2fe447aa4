package redact

import "testing"

func TestText(t *testing.T) {
	const key = `msteams/conversations/a "b"`
	for _, test := range []struct{ text, want string }{
		{`read ` + key + `: away`, "read " + Hash(key) + ": away"},
		{`read "msteams/conversations/a \"b\"": away`, `read "` + Hash(key) + `": away`},
		{"away", "away"},
		{"", ""},
	} {
		if got := Text(test.text, "", key); got != test.want {
			t.Errorf("%s becomes %s, want %s", test.text, got, test.want)
		}
	}
	if Hash("a/conversations/b") != Hash("a/conversations/b/") || Hash("a") == Hash("b") || len(Hash("")) != 16 {
		t.Error("the hashes are not what they should be")
	}
}
