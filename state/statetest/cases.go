package statetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/botlapse/botlapse/state"
)

// The rules: sentences of the comments on [state.Storage] and [state.Item].
const (
	ruleKeys       = `Keys are non-empty strings and case-sensitive; any character is allowed.`
	ruleEmptyKey   = `An empty key in any method is an error that wraps ErrInvalid, and nothing is written or deleted.`
	ruleContext    = `A context that is already done gives its own error, and nothing is written or deleted.`
	ruleCopies     = `The caller may change what it passed in and what it got back without effect on the stored documents.`
	ruleConcurrent = `A Storage is safe for concurrent use.`

	ruleValue   = `Value is the document, a JSON text.`
	ruleReadTTL = `It is not set on read items.`

	ruleRead   = `Read returns the items stored under keys.`
	ruleAbsent = `A key under which nothing is stored is absent from the map; the map itself is never nil.`
	ruleETag   = `A returned ETag is never "", ETagAny or ETagNone, and changes with every write of the key.`

	ruleWrite      = `Write stores each item under its key and returns the new eTag of every key that was written.`
	ruleCondition  = `An item with the ETag "" or ETagAny is written unconditionally, one with ETagNone only if nothing is stored, one with any other tag only if that is the tag of the stored item.`
	ruleConflict   = `Otherwise the key keeps what it had and the error wraps ErrConflict and names the key.`
	ruleBatch      = `A storage that can writes all items or none; one that cannot returns the tags of those it wrote beside the error.`
	ruleTTL        = `An item is there for its TTL, counted from this write, and from exactly then on it is as if it had been deleted.`
	ruleSpecialTTL = `A TTL of 0 means the storage's default, which a rewrite applies anew; a negative one is an error that wraps ErrInvalid, and nothing is written.`

	ruleDelete        = `Delete removes what is stored under keys, whatever its eTag.`
	ruleDeleteUnknown = `A key under which nothing is stored is no error.`
)

var cases = []testCase{
	// Keys.
	{name: "any character may be in a key", rule: ruleKeys, test: anyKey},
	{name: "different keys are never taken for each other", rule: ruleKeys, test: differentKeys},
	{name: "keys that differ in case are different", rule: ruleKeys, test: caseSensitive},
	{name: "an empty key cannot be read", rule: ruleEmptyKey, test: readEmptyKey},
	{name: "an empty key cannot be written", rule: ruleEmptyKey, test: writeEmptyKey},
	{name: "an empty key cannot be deleted", rule: ruleEmptyKey, test: deleteEmptyKey},

	// Contexts.
	{name: "a done context stops a read", rule: ruleContext, test: readDone},
	{name: "a done context stops a write", rule: ruleContext, test: writeDone},
	{name: "a done context stops a delete", rule: ruleContext, test: deleteDone},

	// Copies.
	{name: "changing what was passed to Write changes nothing", rule: ruleCopies, test: changeInput},
	{name: "changing what Read returned changes nothing", rule: ruleCopies, test: changeOutput},

	// Read.
	{name: "Read returns all it is asked for and nothing else", rule: ruleRead, test: readSome},
	{name: "a key read twice in one call is returned once", rule: ruleRead, test: readTwice},
	{name: "an unknown key is absent", rule: ruleAbsent, test: readUnknown},
	{name: "reading no keys gives an empty map", rule: ruleAbsent, test: readNothing},
	{name: "a tag is not one of the conditions", rule: ruleETag, test: tagIsNoCondition},
	{name: "every write of a key gives it a tag it never had", rule: ruleETag, test: tagsAreNew},
	{name: "a read leaves the tag alone", rule: ruleETag, test: readKeepsTag},
	{name: "a read item has no TTL", rule: ruleReadTTL, test: readTTL},

	// Values.
	{name: "every kind of JSON comes back equal", rule: ruleValue, test: values},
	{name: "a value of 256 KiB comes back equal", rule: ruleValue, test: largeValue},

	// Write and its conditions.
	{name: "Write returns the tags of what it wrote and no others", rule: ruleWrite, test: writeTags},
	{name: "writing nothing is no error", rule: ruleWrite, test: writeNothing},
	{name: "a batch of 10000 items is written read and deleted", rule: ruleWrite, test: largeBatch},
	{name: "a write without a tag is unconditional", rule: ruleCondition, test: func(t *testing.T, s *subject) { unconditional(s, "") }},
	{name: "a write with ETagAny is unconditional", rule: ruleCondition, test: func(t *testing.T, s *subject) { unconditional(s, state.ETagAny) }},
	{name: "a write with ETagNone creates", rule: ruleCondition, test: noneCreates},
	{name: "a write with ETagNone does not replace", rule: ruleCondition, test: noneRefused},
	{name: "a write with the current tag replaces", rule: ruleCondition, test: currentTag},
	{name: "a tag outlives the writes of other keys", rule: ruleCondition, test: otherKeys},
	{name: "a write with a stale tag is refused", rule: ruleConflict, test: staleTag},
	{name: "a write with an unknown tag is refused", rule: ruleConflict, test: unknownTag},
	{name: "a write with a tag is refused where nothing was stored", rule: ruleConflict, test: tagOfAbsent},
	{name: "a write with the tag of a deleted item is refused", rule: ruleConflict, test: tagOfDeleted},
	{name: "a refused batch tells what it wrote", rule: ruleBatch, test: refusedBatch},
	{name: "a negative TTL cannot be written", rule: ruleSpecialTTL, test: negativeTTL},

	// Expiry.
	{name: "an item is there until its TTL has passed", rule: ruleTTL, time: true, test: ttlEdge},
	{name: "each item of a batch has its own TTL", rule: ruleTTL, time: true, test: ttlBatch},
	{name: "a rewrite starts the TTL anew", rule: ruleTTL, time: true, test: ttlAnew},
	{name: "a rewrite may shorten the TTL", rule: ruleTTL, time: true, test: ttlShorter},
	{name: "a refused write leaves the TTL alone", rule: ruleConflict, time: true, test: ttlRefused},
	{name: "a delete ends the TTL", rule: ruleTTL, time: true, test: ttlDeleted},
	{name: "an expired item has no tag", rule: ruleTTL, time: true, test: expiredTag},
	{name: "an expired item leaves room for ETagNone", rule: ruleTTL, time: true, test: expiredNone},
	{name: "an expired item may be deleted", rule: ruleTTL, time: true, test: expiredDelete},
	{name: "a TTL of 0 ends the TTL before it", rule: ruleSpecialTTL, time: true, test: ttlDefault},
	{name: "the longest TTL does not overflow", rule: ruleTTL, test: ttlLongest},

	// Delete.
	{name: "Delete removes its keys and no others", rule: ruleDelete, test: deleteSome},
	{name: "a key deleted twice in one call is no error", rule: ruleDelete, test: deleteTwice},
	{name: "deleting an unknown key is no error", rule: ruleDeleteUnknown, test: deleteUnknown},
	{name: "deleting nothing is no error", rule: ruleDelete, test: deleteNothing},

	// Concurrency.
	{name: "of writers with the same tag one wins", rule: ruleConcurrent, test: raceTag},
	{name: "of writers with ETagNone one wins", rule: ruleConcurrent, test: raceNone},
	{name: "of unconditional writers the last one stays", rule: ruleConcurrent, test: raceAny},
	{name: "increments with retries lose nothing", rule: ruleConcurrent, test: increments},
	{name: "writers of different keys do not meet", rule: ruleConcurrent, test: raceKeys},
}

// number returns a document that holds n.
func number(n int) json.RawMessage {
	return fmt.Appendf(nil, `{"n":%d}`, n)
}

// odd holds keys that storages get wrong: by escaping, trimming, folding,
// normalising or cutting them, or because they mean something elsewhere.
var odd = slices.Concat([]string{
	"!@#$%^&*()~/\\><,.?';\"`~",
	"!@#$%^&*()_+??><\":QASD~`",

	"a", "a/", "a//", "/a", "//a", "a/b", "a//b", "/", "//",
	" ", "  ", " a", "a ", "a b", "a  b", "a\tb", "a\nb", "a\r\nb", "a\n",
	"\x00", "a\x00", "a\x00b", "\x00a", "\x7f", "\u0085",
	".", "..", "a/.", "a/..", "a/../a", "./a",

	// Characters with their escapes in Cosmos DB keys, in URLs and in Go.
	`a\b`, "a?b", "a#b", "a*b", "a%b", "a+b", "a&b", "a=b", "a|b", "a:b", "a;b",
	"a*2fb", "a*5cb", "a*3fb", "a*23b", "a*2ab", "a*2a2fb", "a*2Fb", "a*002fb",
	"a%2fb", "a%2Fb", "a%252fb", "a%5cb", "a%3fb", "a%23b", "a%2ab", "a%25b", "a%20b", "a%00b",
	`a\\b`, `a\u002fb`, `a\x2fb`, "a&#47;b", "a&amp;b",
	"*", "**", "%", "%%", "?", "??", "#", `\`, `\\`,

	`"`, `'`, "`", `"a"`, "'a'", "{a}", "[a]", "<a>", "$a", "@a", "~a", "-a", "--a",
	"none", "null", "nil", "undefined", "true", "0", "00", "-1", "1e3",
	"id", "realId", "_etag", "__proto__", "con", "nul",

	// Characters that are one under some folding or normalisation.
	"\u00e9", "e\u0301", "\u00df", "ss", "\u017f", "s", "i", "\u0131", "i\u0307", "K", "\u212a", "\ufb00", "ff", "1", "\uff11",
	"日本語", "😀", "😁", "👩‍👩‍👧", "\u200b", "a\u200b", "a\u00a0", "\ufeff", "\ufeffa", "\u202ea", "\u2028", "\ufffd", "\U0010ffff",

	"emulator/conversations/8f3c1-aa|livechat", "emulator/conversations/8f3c1-aa|livechat/",
	"msteams/conversations/19:meeting_MjdhNjM4@thread.tacv2;messageid=1612",
	"msteams/users/29:1GcS4EyB_oSI8A88XmWBN7NJFyMqe3QGnJdgLfFGkJnVelzRGos0bPbpsfJjcbAD22bmKc4GMbrY2g4JDrrA8vM06X1-cHHle4zOE6U4ttcc",
}, long)

// long holds long keys, most of them prefixes of each other or different in
// the last character only. 255 and 1023 are limits of Cosmos DB.
var long = func() []string {
	var keys []string
	for _, n := range []int{254, 255, 256, 257, 1022, 1023, 1024, 2048, 4095, 4096} {
		keys = append(keys, strings.Repeat("k", n), strings.Repeat("k", n-1)+"l")
	}
	for _, s := range []string{"?", "*", "/", "é", "語", "😀"} {
		keys = append(keys, strings.Repeat(s, 85), strings.Repeat(s, 255), strings.Repeat(s, 256), strings.Repeat(s, 255)+"l")
	}
	return keys
}()

func anyKey(t *testing.T, s *subject) {
	for i, key := range odd {
		s.put(key, state.Item{Value: number(i)})
		s.get(key, number(i), "")
		s.remove(key)
		s.absent(key)
	}
}

func differentKeys(t *testing.T, s *subject) {
	for i, key := range odd {
		_, err := s.Write(t.Context(), map[string]state.Item{key: {Value: number(i), ETag: state.ETagNone}})
		if errors.Is(err, state.ErrConflict) {
			t.Fatalf("Write(%q): %v, but nothing is stored under that key", short(key), err)
		} else if err != nil {
			t.Fatalf("Write(%q): %v", short(key), err)
		}
	}
	items, err := s.Read(t.Context(), odd)
	if err != nil {
		t.Fatalf("Read of %d keys: %v", len(odd), err)
	}
	for i, key := range odd {
		if item := items[key]; !sameJSON(item.Value, number(i)) {
			t.Errorf("Read of %d keys: %q has value %s, want %s", len(odd), short(key), item.Value, number(i))
		}
	}
	if len(items) != len(odd) {
		t.Errorf("Read of %d keys returns %d items", len(odd), len(items))
	}
	for i, key := range odd {
		s.get(key, number(i), "")
		s.remove(key)
		s.absent(key)
	}
}

func caseSensitive(t *testing.T, s *subject) {
	keys := []string{"Key", "key", "KEY", "é", "É", "ǆ", "ǅ", "Ǆ"}
	for i, key := range keys {
		s.put(key, state.Item{Value: number(i)})
	}
	for i, key := range keys {
		s.get(key, number(i), "")
		s.remove(key)
		s.absent(key)
	}
}

func readEmptyKey(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1)})
	for _, keys := range [][]string{{""}, {"key", ""}} {
		if _, err := s.Read(t.Context(), keys); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("Read(%q): error %v, want one that wraps state.ErrInvalid", keys, err)
		}
	}
}

func writeEmptyKey(t *testing.T, s *subject) {
	for _, items := range []map[string]state.Item{
		{"": {Value: number(1)}},
		{"": {Value: number(1)}, "a": {Value: number(1)}, "b": {Value: number(1)}},
	} {
		etags, err := s.Write(t.Context(), items)
		if !errors.Is(err, state.ErrInvalid) {
			t.Errorf("Write(%q): error %v, want one that wraps state.ErrInvalid", slices.Sorted(maps.Keys(items)), err)
		}
		if len(etags) > 0 {
			t.Errorf("Write(%q) returns the eTags %q, want none", slices.Sorted(maps.Keys(items)), etags)
		}
	}
	s.absent("a", "b")
}

func deleteEmptyKey(t *testing.T, s *subject) {
	s.put("a", state.Item{Value: number(1)})
	s.put("b", state.Item{Value: number(1)})
	for _, keys := range [][]string{{""}, {"a", "", "b"}} {
		if err := s.Delete(t.Context(), keys); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("Delete(%q): error %v, want one that wraps state.ErrInvalid", keys, err)
		}
	}
	s.get("a", number(1), "")
	s.get("b", number(1), "")
}

// done returns contexts that are done, one for each reason.
func done(t *testing.T) []context.Context {
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the cause is not the error"))
	late, cancelLate := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	t.Cleanup(cancelLate)
	return []context.Context{canceled, late}
}

func readDone(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1)})
	for _, ctx := range done(t) {
		if _, err := s.Read(ctx, []string{"key"}); !errors.Is(err, ctx.Err()) {
			t.Errorf("Read: error %v, want %v", err, ctx.Err())
		}
	}
}

func writeDone(t *testing.T, s *subject) {
	etag := s.put("old", state.Item{Value: number(1)})
	for _, ctx := range done(t) {
		etags, err := s.Write(ctx, map[string]state.Item{"old": {Value: number(2)}, "new": {Value: number(2)}})
		if !errors.Is(err, ctx.Err()) {
			t.Errorf("Write: error %v, want %v", err, ctx.Err())
		}
		if len(etags) > 0 {
			t.Errorf("Write returns the eTags %q, want none", etags)
		}
	}
	s.get("old", number(1), etag)
	s.absent("new")
}

func deleteDone(t *testing.T, s *subject) {
	etag := s.put("key", state.Item{Value: number(1)})
	for _, ctx := range done(t) {
		if err := s.Delete(ctx, []string{"key"}); !errors.Is(err, ctx.Err()) {
			t.Errorf("Delete: error %v, want %v", err, ctx.Err())
		}
	}
	s.get("key", number(1), etag)
}

// scribble overwrites b and what lies behind it in the same array.
func scribble(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] = 'x'
	}
}

func changeInput(t *testing.T, s *subject) {
	// The value is a part of an array, as one cut out of a larger text is.
	array := []byte(`{"n":1}{"n":2}`)
	items := map[string]state.Item{"a": {Value: array[:7]}, "b": {Value: array[7:]}}
	if _, err := s.Write(t.Context(), items); err != nil {
		t.Fatalf("Write: %v", err)
	}
	scribble(array)
	items["a"] = state.Item{Value: number(3)}
	delete(items, "b")
	items["c"] = state.Item{Value: number(3)}
	s.get("a", number(1), "")
	s.get("b", number(2), "")
	s.absent("c")
}

func changeOutput(t *testing.T, s *subject) {
	etags, err := s.Write(t.Context(), map[string]state.Item{"a": {Value: number(1)}, "b": {Value: number(2)}})
	if err != nil {
		t.Fatalf("Write: %v", err)
	}
	if len(etags) != 2 {
		t.Fatalf("Write of 2 items returns %d eTags", len(etags))
	}
	want := maps.Clone(etags)
	etags["a"], etags["b"] = "x", "x"
	for range 2 {
		items, err := s.Read(t.Context(), []string{"a", "b"})
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		if len(items) != 2 {
			t.Fatalf("Read of 2 keys returns %d items", len(items))
		}
		scribble(items["a"].Value)
		items["b"] = state.Item{Value: number(3), ETag: "x"}
		items["c"] = state.Item{Value: number(3), ETag: "x"}
	}
	s.get("a", number(1), want["a"])
	s.get("b", number(2), want["b"])
	s.absent("c")
}

func readSome(t *testing.T, s *subject) {
	for i, key := range []string{"a", "b", "c", "d"} {
		s.put(key, state.Item{Value: number(i)})
	}
	items, err := s.Read(t.Context(), []string{"d", "unknown", "b"})
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if len(items) != 2 || !sameJSON(items["b"].Value, number(1)) || !sameJSON(items["d"].Value, number(3)) {
		t.Errorf("Read of d, unknown and b returns %v, want b with %s and d with %s", items, number(1), number(3))
	}
}

func readTwice(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1)})
	items, err := s.Read(t.Context(), []string{"key", "unknown", "key", "unknown"})
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if len(items) != 1 || !sameJSON(items["key"].Value, number(1)) {
		t.Errorf("Read returns %v, want the one key with %s", items, number(1))
	}
}

func readUnknown(t *testing.T, s *subject) {
	items, err := s.Read(t.Context(), []string{"unknown"})
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if items == nil || len(items) > 0 {
		t.Errorf("Read returns %#v, want an empty map that is not nil", items)
	}
}

func readNothing(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1)})
	for _, keys := range [][]string{nil, {}} {
		items, err := s.Read(t.Context(), keys)
		if err != nil {
			t.Fatalf("Read(%#v): %v", keys, err)
		}
		if items == nil || len(items) > 0 {
			t.Errorf("Read(%#v) returns %#v, want an empty map that is not nil", keys, items)
		}
	}
}

func tagIsNoCondition(t *testing.T, s *subject) {
	for _, etag := range []string{"", state.ETagAny, state.ETagNone} {
		written := s.put("key "+etag, state.Item{Value: number(1), ETag: etag})
		read := s.get("key "+etag, number(1), "").ETag
		for _, got := range []string{written, read} {
			switch got {
			case "", state.ETagAny, state.ETagNone:
				t.Errorf("an item written with eTag %q has the eTag %q", etag, got)
			}
		}
	}
}

func tagsAreNew(t *testing.T, s *subject) {
	seen := make(map[string]bool)
	for i := range 20 {
		if i%5 == 4 {
			s.remove("key")
		}
		etag := s.put("key", state.Item{Value: number(1)})
		if seen[etag] {
			t.Fatalf("write %d gives the eTag %q, as an earlier one did", i+1, etag)
		}
		seen[etag] = true
	}
}

func readKeepsTag(t *testing.T, s *subject) {
	etag := s.put("key", state.Item{Value: number(1)})
	for range 3 {
		s.get("key", number(1), etag)
	}
}

func readTTL(t *testing.T, s *subject) {
	for _, ttl := range []time.Duration{0, time.Hour} {
		s.put("key", state.Item{Value: number(1), TTL: ttl})
		if got := s.get("key", number(1), "").TTL; got != 0 {
			t.Errorf("an item written with TTL %v is read with TTL %v, want 0", ttl, got)
		}
	}
}

func values(t *testing.T, s *subject) {
	for _, value := range []string{
		`{}`, `[]`, `""`, `0`, `true`, `false`, `null`,
		`"text"`, `-12.5e-3`, `9007199254740991`, `[1,"2",[3,{"4":null}]]`,
		`{"a":null,"b":{},"c":[],"d":"","":0}`,
		` { "spaces" : [ 1 , 2 ] } `,
		`{"escapes":"\u0000\u001f\"\\\/\b\f\n\r\t\u007f\u2028\u2029\ud83d\ude00"}`,
		`{"text":"<a href='?b&c'>é 日本語 😀</a>"}`,
		`{"id":"x","realId":"y","document":{"z":1},"_etag":"*","eTag":"*","ttl":1,"$type":"T"}`,
		strings.Repeat(`{"deep":[`, 40) + `1` + strings.Repeat(`]}`, 40),
	} {
		s.put("key", state.Item{Value: json.RawMessage(value)})
		s.get("key", json.RawMessage(value), "")
	}
}

func largeValue(t *testing.T, s *subject) {
	// Digits that do not repeat soon, so that no part can stand for another.
	var text strings.Builder
	for i := 0; text.Len() < 256<<10; i++ {
		fmt.Fprintf(&text, "%d,", i*i)
	}
	value := fmt.Appendf(nil, `{"text":%q}`, text.String()[:256<<10-len(`{"text":""}`)])
	s.put("key", state.Item{Value: value})
	s.get("key", value, "")
}

func writeTags(t *testing.T, s *subject) {
	s.put("a", state.Item{Value: number(0)})
	s.put("d", state.Item{Value: number(0)})
	etags, err := s.Write(t.Context(), map[string]state.Item{
		"a": {Value: number(1)},
		"b": {Value: number(2), ETag: state.ETagAny},
		"c": {Value: number(3), ETag: state.ETagNone},
	})
	if err != nil {
		t.Fatalf("Write: %v", err)
	}
	if keys := slices.Sorted(maps.Keys(etags)); !slices.Equal(keys, []string{"a", "b", "c"}) {
		t.Errorf("Write of a, b and c returns eTags for %q", keys)
	}
	s.get("a", number(1), etags["a"])
	s.get("b", number(2), etags["b"])
	s.get("c", number(3), etags["c"])
	s.get("d", number(0), "")
}

func writeNothing(t *testing.T, s *subject) {
	for _, items := range []map[string]state.Item{nil, {}} {
		etags, err := s.Write(t.Context(), items)
		if err != nil {
			t.Errorf("Write(%#v): %v", items, err)
		}
		if len(etags) > 0 {
			t.Errorf("Write(%#v) returns the eTags %q", items, etags)
		}
	}
}

func largeBatch(t *testing.T, s *subject) {
	n := 10_000
	if testing.Short() {
		n = 100
	}
	keys := make([]string, n)
	items := make(map[string]state.Item, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key %d", i)
		items[keys[i]] = state.Item{Value: number(i)}
	}
	etags, err := s.Write(t.Context(), items)
	if err != nil {
		t.Fatalf("Write of %d items: %v", n, err)
	}
	got, err := s.Read(t.Context(), keys)
	if err != nil {
		t.Fatalf("Read of %d keys: %v", n, err)
	}
	if len(etags) != n || len(got) != n {
		t.Fatalf("Write of %d items returns %d eTags and Read of them %d items", n, len(etags), len(got))
	}
	for i, key := range keys {
		if item := got[key]; !sameJSON(item.Value, number(i)) || item.ETag != etags[key] {
			t.Fatalf("Read of %d keys: %q has value %s and eTag %q, want %s and %q", n, key, item.Value, item.ETag, number(i), etags[key])
		}
	}
	s.remove(keys...)
	got, err = s.Read(t.Context(), keys)
	if err != nil {
		t.Fatalf("Read of %d keys: %v", n, err)
	}
	if len(got) > 0 {
		t.Errorf("after Delete of %d keys %d are still there", n, len(got))
	}
}

func unconditional(s *subject, etag string) {
	s.put("key", state.Item{Value: number(1), ETag: etag})
	s.get("key", number(1), "")
	s.put("key", state.Item{Value: number(2), ETag: etag})
	s.get("key", number(2), "")
	s.remove("key")
	s.put("key", state.Item{Value: number(3), ETag: etag})
	s.get("key", number(3), "")
}

func noneCreates(t *testing.T, s *subject) {
	etag := s.put("key", state.Item{Value: number(1), ETag: state.ETagNone})
	s.get("key", number(1), etag)
	s.remove("key")
	etag = s.put("key", state.Item{Value: number(2), ETag: state.ETagNone})
	s.get("key", number(2), etag)
}

func noneRefused(t *testing.T, s *subject) {
	etag := s.put("key", state.Item{Value: number(1)})
	s.refused("key", state.Item{Value: number(2), ETag: state.ETagNone})
	s.get("key", number(1), etag)
}

func currentTag(t *testing.T, s *subject) {
	written := s.put("key", state.Item{Value: number(1)})
	written = s.put("key", state.Item{Value: number(2), ETag: written})
	read := s.get("key", number(2), written).ETag
	s.put("key", state.Item{Value: number(3), ETag: read})
	s.get("key", number(3), "")
}

func otherKeys(t *testing.T, s *subject) {
	etag := s.put("a", state.Item{Value: number(1)})
	s.put("b", state.Item{Value: number(1)})
	s.put("b", state.Item{Value: number(2)})
	s.remove("b")
	s.get("a", number(1), etag)
	s.put("a", state.Item{Value: number(2), ETag: etag})
	s.get("a", number(2), "")
}

func staleTag(t *testing.T, s *subject) {
	stale := s.put("key", state.Item{Value: number(1)})
	current := s.put("key", state.Item{Value: number(2)})
	s.refused("key", state.Item{Value: number(3), ETag: stale})
	s.get("key", number(2), current)
	// What was refused once does not make the next write a different one.
	s.refused("key", state.Item{Value: number(3), ETag: stale})
	s.put("key", state.Item{Value: number(4), ETag: current})
	s.get("key", number(4), "")
}

func unknownTag(t *testing.T, s *subject) {
	current := s.put("key", state.Item{Value: number(1)})
	for _, etag := range []string{"unknown", `"unknown"`, "**", "-1", current + "0", "0" + current} {
		s.refused("key", state.Item{Value: number(2), ETag: etag})
	}
	s.get("key", number(1), current)
}

func tagOfAbsent(t *testing.T, s *subject) {
	etag := s.put("other", state.Item{Value: number(1)})
	s.refused("key", state.Item{Value: number(2), ETag: "unknown"})
	s.refused("key", state.Item{Value: number(2), ETag: etag})
	s.absent("key")
}

func tagOfDeleted(t *testing.T, s *subject) {
	etag := s.put("key", state.Item{Value: number(1)})
	s.remove("key")
	s.refused("key", state.Item{Value: number(2), ETag: etag})
	s.absent("key")
	// Nor does it fit the item that comes after, even an equal one.
	current := s.put("key", state.Item{Value: number(1)})
	s.refused("key", state.Item{Value: number(2), ETag: etag})
	s.get("key", number(1), current)
}

func refusedBatch(t *testing.T, s *subject) {
	stale := s.put("the stale", state.Item{Value: number(0)})
	old := map[string]string{
		"current":   s.put("current", state.Item{Value: number(1)}),
		"any":       s.put("any", state.Item{Value: number(1)}),
		"the stale": s.put("the stale", state.Item{Value: number(1)}),
	}
	batch := map[string]state.Item{
		"current":   {Value: number(2), ETag: old["current"]},
		"any":       {Value: number(2)},
		"the stale": {Value: number(2), ETag: stale},
		"created":   {Value: number(2), ETag: state.ETagNone},
	}
	etags, err := s.Write(t.Context(), batch)
	s.conflict(err, "the stale")
	for key := range batch {
		if etag, written := etags[key]; written && key != "the stale" {
			s.get(key, number(2), etag)
		} else if key != "created" {
			s.get(key, number(1), old[key])
		} else {
			s.absent(key)
		}
	}
	for key := range etags {
		if _, ok := batch[key]; !ok || key == "the stale" {
			t.Errorf("Write returns an eTag for %q, which it did not write", key)
		}
	}
}

func negativeTTL(t *testing.T, s *subject) {
	etag := s.put("old", state.Item{Value: number(1)})
	for _, ttl := range []time.Duration{-1, -time.Hour, math.MinInt64} {
		for _, items := range []map[string]state.Item{
			{"old": {Value: number(2), TTL: ttl}},
			{"old": {Value: number(2)}, "new": {Value: number(2), TTL: ttl}, "other": {Value: number(2), TTL: time.Hour}},
		} {
			etags, err := s.Write(t.Context(), items)
			if !errors.Is(err, state.ErrInvalid) {
				t.Errorf("Write with TTL %v: error %v, want one that wraps state.ErrInvalid", ttl, err)
			}
			if len(etags) > 0 {
				t.Errorf("Write with TTL %v returns the eTags %q, want none", ttl, etags)
			}
		}
	}
	s.get("old", number(1), etag)
	s.absent("new", "other")
}

func ttlEdge(t *testing.T, s *subject) {
	for _, ttl := range []time.Duration{s.tick, time.Second + s.tick, 3 * time.Second} {
		etag := s.put("key", state.Item{Value: number(1), TTL: ttl})
		s.advance(ttl - s.tick)
		s.get("key", number(1), etag)
		s.advance(s.tick)
		s.absent("key")
		s.absent("key") // looking does not revive it
	}
}

func ttlBatch(t *testing.T, s *subject) {
	_, err := s.Write(t.Context(), map[string]state.Item{
		"1 s":  {Value: number(1), TTL: 1 * time.Second},
		"2 s":  {Value: number(2), TTL: 2 * time.Second},
		"3 s":  {Value: number(3), TTL: 3 * time.Second},
		"ever": {Value: number(4)},
	})
	if err != nil {
		t.Fatalf("Write: %v", err)
	}
	keys := []string{"1 s", "2 s", "3 s", "ever"}
	for gone := range keys {
		items, err := s.Read(t.Context(), keys)
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		if got, want := slices.Sorted(maps.Keys(items)), keys[gone:]; !slices.Equal(got, want) {
			t.Fatalf("after %d s %q are there, want %q", gone, got, want)
		}
		s.advance(time.Second)
	}
}

func ttlAnew(t *testing.T, s *subject) {
	etag := s.put("key", state.Item{Value: number(1), TTL: 2 * time.Second})
	for i := range 3 {
		s.advance(time.Second)
		etag = s.put("key", state.Item{Value: number(i), ETag: etag, TTL: 2 * time.Second})
	}
	s.advance(2*time.Second - s.tick)
	s.get("key", number(2), etag)
	s.advance(s.tick)
	s.absent("key")
}

func ttlShorter(t *testing.T, s *subject) {
	for _, ttl := range []time.Duration{0, time.Hour} {
		s.put("key", state.Item{Value: number(1), TTL: ttl})
		s.put("key", state.Item{Value: number(2), TTL: time.Second})
		s.advance(time.Second - s.tick)
		s.get("key", number(2), "")
		s.advance(s.tick)
		s.absent("key")
	}
}

func ttlRefused(t *testing.T, s *subject) {
	brief := s.put("brief", state.Item{Value: number(1), TTL: 2 * time.Second})
	ever := s.put("ever", state.Item{Value: number(1)})
	s.refused("brief", state.Item{Value: number(2), ETag: state.ETagNone, TTL: time.Hour})
	s.refused("ever", state.Item{Value: number(2), ETag: state.ETagNone, TTL: time.Second})
	s.advance(2*time.Second - s.tick)
	s.get("brief", number(1), brief)
	s.advance(s.tick)
	s.absent("brief")
	s.get("ever", number(1), ever)
}

func ttlDeleted(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1), TTL: time.Second})
	s.remove("key")
	etag := s.put("key", state.Item{Value: number(2)})
	s.advance(2 * time.Second)
	s.get("key", number(2), etag)
}

func expiredTag(t *testing.T, s *subject) {
	etag := s.put("key", state.Item{Value: number(1), TTL: time.Second})
	s.advance(time.Second)
	s.refused("key", state.Item{Value: number(2), ETag: etag})
	s.absent("key")
	current := s.put("key", state.Item{Value: number(1)})
	s.refused("key", state.Item{Value: number(2), ETag: etag})
	s.get("key", number(1), current)
}

func expiredNone(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1), TTL: time.Second})
	s.advance(time.Second)
	etag := s.put("key", state.Item{Value: number(2), ETag: state.ETagNone})
	s.advance(2 * time.Second)
	s.get("key", number(2), etag)
}

func expiredDelete(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1), TTL: time.Second})
	s.advance(time.Second)
	s.remove("key")
	s.absent("key")
}

func ttlDefault(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1), TTL: time.Second})
	etag := s.put("key", state.Item{Value: number(2)})
	s.advance(3 * time.Second)
	s.get("key", number(2), etag)
}

func ttlLongest(t *testing.T, s *subject) {
	etag := s.put("key", state.Item{Value: number(1), TTL: math.MaxInt64})
	s.get("key", number(1), etag)
	s.refused("key", state.Item{Value: number(2), ETag: state.ETagNone})
}

func deleteSome(t *testing.T, s *subject) {
	for i, key := range []string{"a", "b", "c", "d"} {
		s.put(key, state.Item{Value: number(i)})
		s.put(key, state.Item{Value: number(i)})
	}
	s.remove("d", "unknown", "b")
	s.absent("b", "d")
	s.get("a", number(0), "")
	s.get("c", number(2), "")
}

func deleteTwice(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1)})
	s.remove("key", "key")
	s.absent("key")
}

func deleteUnknown(t *testing.T, s *subject) {
	s.remove("unknown")
	s.put("key", state.Item{Value: number(1)})
	s.remove("key")
	s.remove("key")
}

func deleteNothing(t *testing.T, s *subject) {
	s.put("key", state.Item{Value: number(1)})
	s.remove()
	s.remove([]string{}...)
	s.get("key", number(1), "")
}

// writers is how many goroutines compete in the cases about concurrency.
const writers = 16

// race lets the writers write key at the same time, each its own number, with
// eTag, and checks that exactly one of them succeeded and stays.
func race(s *subject, key, etag string) {
	s.t.Helper()
	tags := make([]string, writers)
	errs := together(writers, func(i int) (err error) {
		tags[i], err = writeOne(s.t.Context(), s, key, state.Item{Value: number(i), ETag: etag})
		return err
	})
	won := -1
	for i, err := range errs {
		if err != nil {
			s.conflict(err, key)
		} else if won < 0 {
			won = i
		} else {
			s.t.Fatalf("Write(%q) with eTag %q: the writers %d and %d both succeed", key, etag, won, i)
		}
	}
	if won < 0 {
		s.t.Fatalf("Write(%q) with eTag %q: none of %d writers succeeds", key, etag, writers)
	}
	s.get(key, number(won), tags[won])
}

func raceTag(t *testing.T, s *subject) {
	for range 10 {
		race(s, "key", s.put("key", state.Item{Value: number(-1)}))
	}
}

func raceNone(t *testing.T, s *subject) {
	for range 10 {
		race(s, "key", state.ETagNone)
		s.remove("key")
	}
}

func raceAny(t *testing.T, s *subject) {
	for range 10 {
		tags := make([]string, writers)
		errs := together(writers, func(i int) (err error) {
			tags[i], err = writeOne(t.Context(), s, "key", state.Item{Value: number(i)})
			return err
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("Write: %v", err)
		}
		items, err := s.Read(t.Context(), []string{"key"})
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		// The tag tells which write was the last.
		last := slices.Index(tags, items["key"].ETag)
		if last < 0 {
			t.Fatalf("Read: eTag %q, want one of those that Write returned, %q", items["key"].ETag, tags)
		}
		s.get("key", number(last), tags[last])
	}
}

func increments(t *testing.T, s *subject) {
	const each = 20
	s.put("key", state.Item{Value: number(0)})
	errs := together(writers, func(i int) error {
		conflicts := 0
		for done := 0; done < each; {
			items, err := s.Read(t.Context(), []string{"key"})
			if err != nil {
				return err
			}
			item := items["key"]
			var doc struct{ N int }
			if err := json.Unmarshal(item.Value, &doc); err != nil {
				return fmt.Errorf("value %q: %w", item.Value, err)
			}
			_, err = writeOne(t.Context(), s, "key", state.Item{Value: number(doc.N + 1), ETag: item.ETag})
			if err == nil {
				done++
				continue
			}
			if !errors.Is(err, state.ErrConflict) {
				return err
			}
			// Each conflict stands for a write of another goroutine.
			if conflicts++; conflicts > (writers-1)*each {
				return fmt.Errorf("more conflicts than writes: %w", err)
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	s.get("key", number(writers*each), "")
}

func raceKeys(t *testing.T, s *subject) {
	key := func(i int) string { return fmt.Sprintf("key %d", i) }
	tags := slices.Repeat([]string{state.ETagNone}, writers)
	for n := range 10 {
		errs := together(writers, func(i int) (err error) {
			tags[i], err = writeOne(t.Context(), s, key(i), state.Item{Value: number(n), ETag: tags[i]})
			return err
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("Write: %v", err)
		}
	}
	errs := together(writers, func(i int) error {
		if i%2 == 0 {
			return s.Delete(t.Context(), []string{key(i)})
		}
		_, err := s.Read(t.Context(), []string{key(i)})
		return err
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("Delete or Read: %v", err)
	}
	for i := range writers {
		if i%2 == 0 {
			s.absent(key(i))
		} else {
			s.get(key(i), number(9), tags[i])
		}
	}
}
