package cosmos_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/state"
)

// ids returns the id under which each key is stored.
func idOf(t *testing.T, server *cosmostest.Server, s *cosmos.Storage, key string) string {
	t.Helper()
	server.ForgetRequests()
	write(t, s, key, `{}`, "")
	for _, r := range server.Requests() {
		if r.Op == cosmostest.UpsertItem {
			return r.Item
		}
	}
	t.Fatalf("%q was not written", key)
	return ""
}

func TestKeysAreEscapedAndCutAsInTheOfficialSDKs(t *testing.T) {
	server := newServer(t, byID)
	s := newStorage(t, server)
	for key, want := range map[string]string{
		"?test?":                       "*3ftest*3f",
		"/":                            "*2f",
		`\`:                            "*5c",
		"#":                            "*23",
		"*":                            "*2a",
		"?#/":                          "*3f*23*2f",
		"*2atest*2a":                   "*2a2atest*2a2a",
		"*test*":                       "*2atest*2a",
		"test/conversations/Convo1/":   "test*2fconversations*2fConvo1*2f",
		"a\tb\nc\rd":                   "a*9b*ac*dd",
		`!@#$%^&*()~/\><,.?';"` + "`~": `!@*23$*u000025^&*2a()~*2f*5c><,.*3f';"` + "`~",
		"19:meeting_MjdhNjM4@thread.tacv2;messageid=1": "19:meeting_MjdhNjM4@thread.tacv2;messageid=1",
		"å|日本":                   "å|日本",
		"a ":                     "a*u000020",
		"a b":                    "a b",
		".":                      "*u00002e",
		"..":                     "*u00002e*u00002e",
		"a..b":                   "a..b",
		"\x00\u0085\u2028😀":      "*u000000*u000085*u002028*u01f600",
		strings.Repeat("a", 255): strings.Repeat("a", 255),
		strings.Repeat("a", 256): strings.Repeat("a", 247) + "6744c6fe",
		strings.Repeat("日", 300): "",
		"test/conversations/" + strings.Repeat("c", 300): "test*2fconversations*2f" + strings.Repeat("c", 224) + "bb84dbf2",
	} {
		id := idOf(t, server, s, key)
		if want != "" && id != want {
			t.Errorf("%q: the id is %q, want %q", key, id, want)
		}
		if n := len(utf16.Encode([]rune(id))); n > 255 {
			t.Errorf("%q: the id has %d units", key, n)
		}
		if got, _ := read(t, s, key); got != `{}` {
			t.Errorf("%q: read %q", key, got)
		}
		if err := s.Delete(t.Context(), []string{key}); err != nil {
			t.Errorf("%q: %v", key, err)
		}
		if got, _ := read(t, s, key); got != "" {
			t.Errorf("%q is still there", key)
		}
	}
}

// TestIDsOfDifferentKeysDiffer where one escape could be read as another.
func TestIDsOfDifferentKeysDiffer(t *testing.T) {
	server := newServer(t, byID)
	s := newStorage(t, server)
	seen := make(map[string]string)
	for _, key := range []string{"\u20280", "\U00020280", "\u0085", "%", "*", "*2a", "*u000025", "a ", "a*u000020"} {
		id := idOf(t, server, s, key)
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %q have the id %s", key, other, id)
		}
		seen[id] = key
	}
}

func TestASuffixIsPutAtTheEndAndNothingIsCut(t *testing.T) {
	server := newServer(t, byID)
	s := cosmos.New(newAccount(t, server), "bot", "state", &cosmos.Options{KeySuffix: "-bot1"})
	if id := idOf(t, server, s, "?test?"); id != "*3ftest*3f-bot1" {
		t.Errorf("the id is %q", id)
	}
	long := strings.Repeat("a", 1000)
	if id := idOf(t, server, s, long); id != long+"-bot1" {
		t.Errorf("the id has %d characters", len(id))
	}
	if _, err := s.Read(t.Context(), []string{long + "aaaaaaaaaaaaaaaaaaa"}); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("an id that is too long: %v", err)
	}
	if _, err := s.Read(t.Context(), []string{"\xff"}); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("a key that is not UTF-8: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a suffix that must be escaped is no panic")
		}
	}()
	cosmos.New(newAccount(t, server), "bot", "state", &cosmos.Options{KeySuffix: "/"})
}

// FuzzKey stores an item under a key and finds it again.
func FuzzKey(f *testing.F) {
	server := cosmostest.New()
	if err := server.CreateContainer("bot", byID); err != nil {
		f.Fatal(err)
	}
	s := newStorage(f, server)
	for _, seed := range []string{"a", "/\\?#*%", "..", " ", "\x00", "😀", "\u2028", strings.Repeat("é", 300), "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		etags, err := s.Write(t.Context(), map[string]state.Item{key: {Value: []byte(`1`)}})
		if err != nil {
			if errors.Is(err, state.ErrInvalid) {
				return
			}
			t.Fatalf("%q: %v", key, err)
		}
		items, err := s.Read(t.Context(), []string{key})
		if err != nil || items[key].ETag != etags[key] {
			t.Fatalf("%q: %v, %v", key, items, err)
		}
		if err := s.Delete(t.Context(), []string{key}); err != nil {
			t.Fatalf("%q: %v", key, err)
		}
	})
}
