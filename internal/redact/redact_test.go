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

func TestHashesDependOnTheKey(t *testing.T) {
	defer key.Store(nil)
	without := Hash("a")
	SetKey([]byte("secret"))
	with := Hash("a")
	SetKey([]byte("another"))
	if without == with || with == Hash("a") || len(with) != 16 {
		t.Errorf("the hashes are %s, %s and %s", without, with, Hash("a"))
	}
	SetKey([]byte("secret"))
	if Hash("a") != with {
		t.Error("the same secret gives another hash")
	}
}
