package state_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

var someIDs = state.IDs{Channel: "test", Conversation: "c1", User: "u1"}

const conversationKey = "test/conversations/c1"

// newTurn returns the context of a new turn of someIDs.
func newTurn(t *testing.T) context.Context {
	return state.NewContext(t.Context(), someIDs)
}

// put stores a document as another bot would.
func put(t *testing.T, storage state.Storage, key, document string) {
	t.Helper()
	if _, err := storage.Write(t.Context(), map[string]state.Item{key: {Value: json.RawMessage(document)}}); err != nil {
		t.Fatal(err)
	}
}

// stored returns the document under key, "" if there is none.
func stored(t *testing.T, storage state.Storage, key string) string {
	t.Helper()
	items, err := storage.Read(t.Context(), []string{key})
	if err != nil {
		t.Fatal(err)
	}
	return string(items[key].Value)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func value[T any](t *testing.T, ctx context.Context, p *state.Property[T]) T {
	t.Helper()
	v, _, err := p.Get(ctx)
	must(t, err)
	return v
}

func TestKeysAreThoseOfTheOfficialSDKs(t *testing.T) {
	storage := state.NewMemory()
	for _, test := range []struct {
		name  string
		scope *state.Scope
		form  state.KeyForm
		want  string
	}{
		{"conversation in .NET form", state.NewConversation(storage), state.DotNet, "test/conversations/c1"},
		{"conversation in JavaScript form", state.NewConversation(storage), state.JavaScript, "test/conversations/c1/"},
		{"user in .NET form", state.NewUser(storage), state.DotNet, "test/users/u1"},
		{"user in JavaScript form", state.NewUser(storage), state.JavaScript, "test/users/u1/"},
		{"private conversation in .NET form", state.NewPrivateConversation(storage), state.DotNet, "test/conversations/c1/users/u1"},
		{"private conversation in JavaScript form", state.NewPrivateConversation(storage), state.JavaScript, "test/conversations/c1/users/u1/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.scope.KeyForm = test.form
			key, err := test.scope.Key(newTurn(t))
			must(t, err)
			if key != test.want {
				t.Errorf("key is %q, want %q", key, test.want)
			}
		})
	}
}

func TestAnEmptyIDIsAnErrorThatNamesTheMissingPiece(t *testing.T) {
	storage := state.NewMemory()
	conversation, user, private := state.NewConversation(storage), state.NewUser(storage), state.NewPrivateConversation(storage)
	for _, test := range []struct {
		name    string
		scope   *state.Scope
		ids     state.IDs
		missing string
	}{
		{"conversation without channel", conversation, state.IDs{Conversation: "c", User: "u"}, "channelId"},
		{"conversation without conversation", conversation, state.IDs{Channel: "test", User: "u"}, "conversation.id"},
		{"conversation without user", conversation, state.IDs{Channel: "test", Conversation: "c"}, ""},
		{"user without channel", user, state.IDs{Conversation: "c", User: "u"}, "channelId"},
		{"user without conversation", user, state.IDs{Channel: "test", User: "u"}, ""},
		{"user without user", user, state.IDs{Channel: "test", Conversation: "c"}, "from.id"},
		{"private without channel", private, state.IDs{Conversation: "c", User: "u"}, "channelId"},
		{"private without conversation", private, state.IDs{Channel: "test", User: "u"}, "conversation.id"},
		{"private without user", private, state.IDs{Channel: "test", Conversation: "c"}, "from.id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := state.NewContext(t.Context(), test.ids)
			err := state.NewProperty[int](test.scope, "n").Set(ctx, 1)
			if test.missing == "" {
				must(t, err)
				return
			}
			if !errors.Is(err, state.ErrMissingID) || !strings.HasSuffix(err.Error(), test.missing) {
				t.Errorf("error is %v, want ErrMissingID for %s", err, test.missing)
			}
		})
	}
}

func TestStateOutsideOfATurnIsAnError(t *testing.T) {
	conversation := state.NewConversation(state.NewMemory())
	n := state.NewProperty[int](conversation, "n")
	_, _, getErr := n.Get(t.Context())
	for name, err := range map[string]error{
		"Get": getErr, "Set": n.Set(t.Context(), 1), "Delete": n.Delete(t.Context()),
		"Save": conversation.Save(t.Context()), "Load": conversation.Load(t.Context()),
		"Clear": conversation.Clear(t.Context()), "ExpireAt": conversation.ExpireAt(t.Context(), time.Now()),
	} {
		if !errors.Is(err, state.ErrNoTurn) {
			t.Errorf("%s: %v, want ErrNoTurn", name, err)
		}
	}
}

func TestStateIsReadOnceATurnAndWrittenOnlyIfItChanged(t *testing.T) {
	type list struct{ Items []string }
	for _, test := range []struct {
		name          string
		before        string
		turn          func(t *testing.T, ctx context.Context, s *state.Scope)
		reads, writes int
		after         string
	}{
		{"nothing used", `{"n":1}`, func(*testing.T, context.Context, *state.Scope) {}, 0, 0, `{"n":1}`},
		{"read only", `{"n":1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			value(t, ctx, state.NewProperty[int](s, "n"))
			value(t, ctx, state.NewProperty[int](s, "m"))
		}, 1, 0, `{"n":1}`},
		{"read with a default", ``, func(t *testing.T, ctx context.Context, s *state.Scope) {
			v, err := state.NewProperty[int](s, "n").GetOr(ctx, 7)
			must(t, err)
			if v != 7 {
				t.Errorf("GetOr is %d, want 7", v)
			}
		}, 1, 0, ``},
		{"set to the same value", `{"n": 1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, state.NewProperty[int](s, "n").Set(ctx, 1))
		}, 1, 0, `{"n": 1}`},
		{"set to the same value in other spelling", `{"o": {"Items": ["a"] } }`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, state.NewProperty[list](s, "o").Set(ctx, list{[]string{"a"}}))
		}, 1, 0, `{"o": {"Items": ["a"] } }`},
		{"set and set back", `{"n":1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			n := state.NewProperty[int](s, "n")
			must(t, n.Set(ctx, 2))
			must(t, n.Set(ctx, 1))
		}, 1, 0, `{"n":1}`},
		{"set without get", ``, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, state.NewProperty[string](s, "s").Set(ctx, "<a & b>"))
		}, 1, 1, `{"s":"<a & b>"}`},
		{"set, set, save, get, save", ``, func(t *testing.T, ctx context.Context, s *state.Scope) {
			n := state.NewProperty[int](s, "n")
			must(t, n.Set(ctx, 1))
			must(t, n.Set(ctx, 2))
			must(t, s.Save(ctx))
			if got := value(t, ctx, n); got != 2 {
				t.Errorf("after save: %d, want 2", got)
			}
			must(t, s.Save(ctx))
		}, 1, 1, `{"n":2}`},
		{"save twice with changes", ``, func(t *testing.T, ctx context.Context, s *state.Scope) {
			n := state.NewProperty[int](s, "n")
			must(t, n.Set(ctx, 1))
			must(t, s.Save(ctx))
			must(t, n.Set(ctx, 2))
		}, 1, 2, `{"n":2}`},
		{"delete", `{"a":1,"n":2,"z":3}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			n := state.NewProperty[int](s, "n")
			must(t, n.Delete(ctx))
			if _, ok, err := n.Get(ctx); ok || err != nil {
				t.Errorf("Get after Delete: %v, %v", ok, err)
			}
		}, 1, 1, `{"a":1,"z":3}`},
		{"delete what is not there", `{"a":1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, state.NewProperty[int](s, "n").Delete(ctx))
		}, 1, 0, `{"a":1}`},
		{"a pointer changed in place", `{"p":{"Items":["a"]}}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			p := value(t, ctx, state.NewProperty[*list](s, "p"))
			p.Items = append(p.Items, "b")
		}, 1, 1, `{"p":{"Items":["a","b"]}}`},
		{"a map changed in place", `{"m":{"a":1}}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			value(t, ctx, state.NewProperty[map[string]int](s, "m"))["b"] = 2
		}, 1, 1, `{"m":{"a":1,"b":2}}`},
		{"a map set and then changed in place", ``, func(t *testing.T, ctx context.Context, s *state.Scope) {
			m := map[string]int{"a": 1}
			must(t, state.NewProperty[map[string]int](s, "m").Set(ctx, m))
			m["b"] = 2
		}, 1, 1, `{"m":{"a":1,"b":2}}`},
		{"a map read and left alone, in other spelling", `{"m":{"b":1, "a":2.0}}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			value(t, ctx, state.NewProperty[map[string]int](s, "other"))
			value(t, ctx, state.NewProperty[map[string]float64](s, "m"))
		}, 1, 0, `{"m":{"b":1, "a":2.0}}`},
		{"a default changed in place", ``, func(t *testing.T, ctx context.Context, s *state.Scope) {
			m, err := state.NewProperty[map[string]int](s, "m").GetOr(ctx, map[string]int{})
			must(t, err)
			m["a"] = 1
			if got := value(t, ctx, state.NewProperty[map[string]int](s, "m")); got["a"] != 1 {
				t.Errorf("Get after the change of the default: %v", got)
			}
		}, 1, 1, `{"m":{"a":1}}`},
		{"a default left alone", ``, func(t *testing.T, ctx context.Context, s *state.Scope) {
			_, err := state.NewProperty[map[string]int](s, "m").GetOr(ctx, map[string]int{"a": 1})
			must(t, err)
		}, 1, 0, ``},
		{"changed in place and read as another type", `{"m":{"a":1}}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			value(t, ctx, state.NewProperty[map[string]int](s, "m"))["a"] = 2
			if got := value(t, ctx, state.NewProperty[struct{ A int }](s, "m")); got.A != 2 {
				t.Errorf("read as another type: %d, want 2", got.A)
			}
		}, 1, 1, `{"m":{"a":2}}`},
		{"null is no value", `{"n":null}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			if v, err := state.NewProperty[int](s, "n").GetOr(ctx, 3); v != 3 || err != nil {
				t.Errorf("GetOr of null: %d, %v", v, err)
			}
		}, 1, 0, `{"n":null}`},
		{"clear", `{"n":1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, s.Clear(ctx))
			if _, ok, _ := state.NewProperty[int](s, "n").Get(ctx); ok {
				t.Error("the property is there after Clear")
			}
		}, 1, 1, `{"botlapse.cleared":"…"}`},
		{"clear what is empty", ``, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, s.Clear(ctx))
		}, 1, 0, ``},
		{"clear twice", `{"n":1,"k":2}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, s.Clear(ctx, "k"))
			must(t, s.Save(ctx))
			must(t, s.Clear(ctx, "k"))
		}, 1, 1, `{"k":2,"botlapse.cleared":"…"}`},
		{"clear, then set", `{"n":1,"keep":{"a": 1}}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, s.Clear(ctx, "keep"))
			must(t, state.NewProperty[int](s, "m").Set(ctx, 2))
		}, 1, 1, `{"keep":{"a": 1},"botlapse.cleared":"…","m":2}`},
		{"clear loses values that were handed out", `{"m":{"a":1}}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			m := value(t, ctx, state.NewProperty[map[string]int](s, "m"))
			must(t, s.Clear(ctx))
			m["a"] = 2
		}, 1, 1, `{"botlapse.cleared":"…"}`},
		{"clear keeps values in place that were changed", `{"m":{"a":1},"n":1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			m := value(t, ctx, state.NewProperty[map[string]int](s, "m"))
			m["a"] = 2
			must(t, s.Clear(ctx, "m"))
			m["a"] = 3
		}, 1, 1, `{"m":{"a":3},"botlapse.cleared":"…"}`},
		{"the .NET type tag outlives clearing", `{"$type":"Dictionary","n":1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, s.Clear(ctx))
		}, 1, 1, `{"$type":"Dictionary","botlapse.cleared":"…"}`},
		{"load drops changes", `{"n":1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			n := state.NewProperty[int](s, "n")
			must(t, n.Set(ctx, 2))
			must(t, s.Load(ctx))
			if got := value(t, ctx, n); got != 1 {
				t.Errorf("after Load: %d, want 1", got)
			}
		}, 2, 0, `{"n":1}`},
		{"delete the document", `{"n":1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, s.Delete(ctx))
			if _, ok, _ := state.NewProperty[int](s, "n").Get(ctx); ok {
				t.Error("the property is there after Delete")
			}
		}, 0, 0, ``},
		{"delete the document, then set", `{"n":1}`, func(t *testing.T, ctx context.Context, s *state.Scope) {
			must(t, s.Delete(ctx))
			must(t, state.NewProperty[int](s, "m").Set(ctx, 2))
		}, 0, 1, `{"m":2}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			memory := state.NewMemory()
			if test.before != "" {
				put(t, memory, conversationKey, test.before)
			}
			faults := &statetest.Faults{Storage: memory}
			s := state.NewConversation(faults)
			ctx := newTurn(t)
			test.turn(t, ctx, s)
			must(t, s.Save(ctx))
			if r, w := faults.Count(statetest.Read), faults.Count(statetest.Write); r != test.reads || w != test.writes {
				t.Errorf("%d reads and %d writes, want %d and %d", r, w, test.reads, test.writes)
			}
			if got := hideMark(stored(t, memory, conversationKey)); got != test.after {
				t.Errorf("stored is\n%s, want\n%s", got, test.after)
			}
		})
	}
}

// hideMark replaces the random part of a document that was cleared.
func hideMark(document string) string {
	const mark = `"botlapse.cleared":"`
	before, after, ok := strings.Cut(document, mark)
	if !ok {
		return document
	}
	_, after, _ = strings.Cut(after, `"`)
	return before + mark + `…"` + after
}

// A document that a C# or JavaScript bot has written goes through a turn that
// changes one property, and every other byte is as before.
func TestUnknownPropertiesKeepBytesAndOrder(t *testing.T) {
	const dotnet = `{"$type":"System.Collections.Generic.Dictionary` + "`" + `2[[System.String, System.Private.CoreLib],[System.Object, System.Private.CoreLib]], System.Private.CoreLib",` +
		`"DialogState":{"$type":"Microsoft.Bot.Builder.Dialogs.DialogState, Microsoft.Bot.Builder.Dialogs","dialogStack":{"$type":"List","$values":[]}},` +
		`"n":1,"LastAccessedTimeProperty":"2026-11-21T04:53:17.2441234Z","big":12345678901234567890.10,"e":1E+2}`
	const js = "{\n\t\"n\" :\r\n 1 ,\n  \"Ümlaut \\\"q\\\" \\u00fc\": [ 1, {\"}\" : \"]\\\\\"} ] ,\"esc\":\"<\\/script>\",\"n2\": null\n}"
	for _, document := range []string{dotnet, js} {
		memory := state.NewMemory()
		put(t, memory, conversationKey, document)
		s := state.NewConversation(memory)
		ctx := newTurn(t)
		must(t, state.NewProperty[int](s, "n").Set(ctx, 2))
		must(t, s.Save(ctx))
		want := strings.Replace(strings.Replace(document, `"n":1`, `"n":2`, 1), "\"n\" :\r\n 1", "\"n\" :\r\n 2", 1)
		if got := stored(t, memory, conversationKey); got != want {
			t.Errorf("stored is\n%s, want\n%s", got, want)
		}
	}
}

func TestCorruptStateIsAnErrorAndStaysAsItIs(t *testing.T) {
	for _, document := range []string{`[]`, `"text"`, `null`, `{"n":1`, ``, `{"n":"one"}`} {
		t.Run(document, func(t *testing.T) {
			memory := state.NewMemory()
			put(t, memory, conversationKey, document)
			s := state.NewConversation(memory)
			ctx := newTurn(t)
			if _, _, err := state.NewProperty[int](s, "n").Get(ctx); !errors.Is(err, state.ErrCorrupt) {
				t.Errorf("Get: %v, want ErrCorrupt", err)
			}
			must(t, s.Save(ctx))
			if got := stored(t, memory, conversationKey); got != document {
				t.Errorf("stored is %q, want %q", got, document)
			}
		})
	}
}

func TestAValueWithoutJSONFormFails(t *testing.T) {
	s := state.NewConversation(state.NewMemory())
	ctx := newTurn(t)
	if err := state.NewProperty[any](s, "f").Set(ctx, func() {}); err == nil {
		t.Error("Set of a function succeeded")
	}
	m := map[string]any{}
	must(t, state.NewProperty[map[string]any](s, "m").Set(ctx, m))
	m["c"] = make(chan int)
	if err := s.Save(ctx); err == nil || !strings.Contains(err.Error(), `"m"`) {
		t.Errorf("Save of a channel: %v, want an error that names the property", err)
	}
}

// two runs two turns that both read before either has saved.
func two(t *testing.T, storage state.Storage, options func(*state.Scope), first, second func(ctx context.Context, s *state.Scope) error) error {
	t.Helper()
	a, b := state.NewConversation(storage), state.NewConversation(storage)
	if options != nil {
		options(a)
		options(b)
	}
	ctxA, ctxB := newTurn(t), newTurn(t)
	must(t, a.Load(ctxA))
	must(t, b.Load(ctxB))
	must(t, first(ctxA, a))
	must(t, a.Save(ctxA))
	must(t, second(ctxB, b))
	return b.Save(ctxB)
}

func set(name string, v int) func(context.Context, *state.Scope) error {
	return func(ctx context.Context, s *state.Scope) error { return state.NewProperty[int](s, name).Set(ctx, v) }
}

func remove(name string) func(context.Context, *state.Scope) error {
	return func(ctx context.Context, s *state.Scope) error {
		return state.NewProperty[int](s, name).Delete(ctx)
	}
}

func clearAll(ctx context.Context, s *state.Scope) error { return s.Clear(ctx) }

func TestNoUpdateIsLost(t *testing.T) {
	sum := func(ctx context.Context, s *state.Scope) error {
		n := state.NewProperty[int](s, "n")
		n.Merge = func(mine, theirs int) (int, error) { return mine + theirs, nil }
		return n.Set(ctx, 10)
	}
	refuse := func(ctx context.Context, s *state.Scope) error {
		n := state.NewProperty[int](s, "n")
		n.Merge = func(mine, theirs int) (int, error) { return 0, errors.New("no way") }
		return n.Set(ctx, 10)
	}
	deleteDocument := func(ctx context.Context, s *state.Scope) error { return s.Delete(ctx) }
	loses := func(s *state.Scope) { s.LastWriteWins = true }
	for _, test := range []struct {
		name          string
		before        string
		options       func(*state.Scope)
		first, second func(context.Context, *state.Scope) error
		conflict      bool
		after         string
	}{
		{"different properties both win", `{"a":1,"b":1}`, nil, set("a", 2), set("b", 2), false, `{"a":2,"b":2}`},
		{"different new properties both win", ``, nil, set("a", 2), set("b", 2), false, `{"a":2,"b":2}`},
		{"the same property with different values is a conflict", `{"a":1}`, nil, set("a", 2), set("a", 3), true, `{"a":2}`},
		{"the same new property is a conflict", ``, nil, set("a", 2), set("a", 3), true, `{"a":2}`},
		{"the same property with the same value is one too, as of two counters", `{"a":1}`, nil, set("a", 2), set("a", 2), true, `{"a":2}`},
		{"of names that are there twice, those that the turn leaves alone are no changes", `{"a":1,"a":2,"b":1}`, nil, set("a", 3), set("b", 2), false, `{"a":1,"a":3,"b":2}`},
		{"a property deleted and changed is a conflict", `{"a":1,"b":1}`, nil, remove("a"), set("a", 3), true, `{"b":1}`},
		{"a property changed and deleted is a conflict", `{"a":1,"b":1}`, nil, set("a", 3), remove("a"), true, `{"a":3,"b":1}`},
		{"a property deleted on both sides is none", `{"a":1,"b":1}`, nil, remove("a"), remove("a"), false, `{"b":1}`},
		{"the last write wins if asked for", `{"a":1,"b":1}`, loses, set("a", 2), set("a", 3), false, `{"a":3,"b":1}`},
		{"the last deletion wins if asked for", `{"a":1,"b":1}`, loses, set("a", 2), remove("a"), false, `{"b":1}`},
		{"even then other properties stay", `{"a":1,"b":1}`, loses, set("b", 2), set("a", 3), false, `{"a":3,"b":2}`},
		{"a merge function decides", `{"n":1}`, nil, set("n", 2), sum, false, `{"n":12}`},
		{"a merge function may refuse", `{"n":1}`, nil, set("n", 2), refuse, true, `{"n":2}`},
		{"P32 a save from before a clearing does not bring state back", `{"a":1}`, nil, clearAll, set("b", 2), true, `{"botlapse.cleared":"…"}`},
		{"P32 not even where the last write wins", `{"a":1}`, loses, clearAll, set("a", 2), true, `{"botlapse.cleared":"…"}`},
		{"P32 nor after the document was deleted", `{"a":1}`, loses, deleteDocument, set("a", 2), true, ``},
		{"nothing is cleared that somebody has just written", `{"a":1}`, nil, set("b", 2), clearAll, true, `{"a":1,"b":2}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			memory := state.NewMemory()
			if test.before != "" {
				put(t, memory, conversationKey, test.before)
			}
			err := two(t, memory, test.options, test.first, test.second)
			if test.conflict == (err == nil) {
				t.Errorf("second save: %v; conflict wanted: %v", err, test.conflict)
			}
			if err != nil && !strings.Contains(err.Error(), conversationKey) {
				t.Errorf("error %q does not name the key", err)
			}
			if got := hideMark(stored(t, memory, conversationKey)); got != test.after {
				t.Errorf("stored is %s, want %s", got, test.after)
			}
		})
	}
}

// Another SDK clears by storing an empty object, without the mark.
func TestAClearingByAnotherSDKIsNotUndone(t *testing.T) {
	memory := state.NewMemory()
	put(t, memory, conversationKey, `{"a":1}`)
	s := state.NewConversation(memory)
	ctx := newTurn(t)
	must(t, state.NewProperty[int](s, "b").Set(ctx, 1))
	put(t, memory, conversationKey, `{}`)
	if err := s.Save(ctx); !errors.Is(err, state.ErrConflict) {
		t.Errorf("Save: %v, want ErrConflict", err)
	}
}

func TestAStorageThatSpellsValuesAnewCausesNoConflict(t *testing.T) {
	memory := state.NewMemory()
	put(t, memory, conversationKey, `{"a":{"x":1.0,"y":"ü"},"b":1}`)
	s := state.NewConversation(memory)
	ctx := newTurn(t)
	must(t, state.NewProperty[map[string]int](s, "a").Set(ctx, map[string]int{"x": 2}))
	put(t, memory, conversationKey, `{ "b": 1, "a": {"y":"\u00fc","x":1} }`)
	must(t, s.Save(ctx))
	if got, want := stored(t, memory, conversationKey), `{ "b": 1, "a": {"x":2} }`; got != want {
		t.Errorf("stored is %s, want %s", got, want)
	}
}

func TestManyTurnsAtOnceLoseNothing(t *testing.T) {
	memory := state.NewMemory()
	s := state.NewConversation(memory)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			ctx := newTurn(t)
			if err := set(fmt.Sprint("p", i), i)(ctx, s); err != nil {
				t.Error(err)
			}
			if err := s.Save(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ctx := newTurn(t)
	for i := range 4 {
		if got := value(t, ctx, state.NewProperty[int](s, fmt.Sprint("p", i))); got != i {
			t.Errorf("p%d is %d", i, got)
		}
	}
}

// TestI1ASaveWhoseAnswerWasLostIsNotDoneTwice saves again in the same turn,
// after a save that failed, though it may have been carried out.
func TestI1ASaveWhoseAnswerWasLostIsNotDoneTwice(t *testing.T) {
	lost := errors.New("connection reset")
	loses := func(s *state.Scope) { s.LastWriteWins = true }
	for _, test := range []struct {
		name    string
		done    bool // whether the first save was carried out
		options func(*state.Scope)
		change  func(ctx context.Context, s *state.Scope) error
		between string // what somebody else stores before the second save
		fails   bool
		after   string
	}{
		{"nothing else was written", false, nil, set("n", 2), ``, false, `{"n":2,"m":1}`},
		{"it was carried out", true, nil, set("n", 2), ``, true, `{"n":2,"m":1}`},
		{"it was carried out, and written on top of", true, nil, set("n", 2), `{"n":2,"m":2}`, true, `{"n":2,"m":2}`},
		{"somebody else wrote something else", false, nil, set("n", 2), `{"n":1,"m":2}`, false, `{"n":2,"m":2}`},
		{"somebody else wrote the same property", false, nil, set("n", 2), `{"n":5,"m":1}`, true, `{"n":5,"m":1}`},
		{"it was carried out, and the last write wins", true, loses, func(ctx context.Context, s *state.Scope) error {
			return state.NewProperty[string](s, "m").Set(ctx, "x")
		}, ``, false, `{"n":1,"m":"x"}`},
		{"it cleared, and was carried out", true, nil, clearAll, ``, true, `{"botlapse.cleared":"…"}`},
		{"it was carried out, and the document deleted", true, nil, set("n", 2), `none`, true, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := state.NewMemory()
				put(t, memory, conversationKey, `{"n":1,"m":1}`)
				fail := func(ctx context.Context, call statetest.Call) error {
					if call.Op == statetest.Write && call.N == 1 {
						return lost
					}
					return nil
				}
				faults := &statetest.Faults{Storage: memory, Before: fail}
				if test.done {
					faults.Before, faults.After = nil, fail
				}
				s := state.NewConversation(faults)
				if test.options != nil {
					test.options(s)
				}
				n := state.NewProperty[int](s, "n")
				n.Merge = func(_, theirs int) (int, error) { return theirs + 1, nil }
				ctx := newTurn(t)
				must(t, n.Set(ctx, 1)) // no change, but it has a Merge
				must(t, test.change(ctx, s))
				if err := s.Save(ctx); !errors.Is(err, lost) {
					t.Fatalf("first save: %v", err)
				}
				switch test.between {
				case ``:
				case `none`:
					must(t, memory.Delete(t.Context(), []string{conversationKey}))
				default:
					put(t, memory, conversationKey, test.between)
				}
				err := s.Save(ctx)
				if test.fails != (err != nil) || errors.Is(err, state.ErrConflict) {
					t.Errorf("second save: %v; failure wanted: %v", err, test.fails)
				}
				if got := hideMark(stored(t, memory, conversationKey)); got != test.after {
					t.Errorf("stored is %s, want %s", got, test.after)
				}
			})
		})
	}
}

// overtaken returns a scope of a storage in which somebody else is first, before
// each of a number of writes.
func overtaken(memory *state.Memory, times int) (*statetest.Faults, *state.Scope) {
	other := state.NewConversation(memory)
	m := state.NewProperty[int](other, "m")
	faults := &statetest.Faults{Storage: memory, Before: func(ctx context.Context, call statetest.Call) error {
		if call.Op != statetest.Write || call.N > times {
			return nil
		}
		ctx = state.NewContext(ctx, someIDs)
		return errors.Join(m.Set(ctx, call.N), other.Save(ctx))
	}}
	return faults, state.NewConversation(faults)
}

func TestI3MergingGoesOnForAsLongAsTheTurnHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := state.NewMemory()
		faults, s := overtaken(memory, 50)
		ctx, cancel := context.WithTimeout(newTurn(t), 10*time.Second)
		defer cancel()
		must(t, set("n", 1)(ctx, s))
		must(t, s.Save(ctx))
		if got := stored(t, memory, conversationKey); got != `{"m":50,"n":1}` || faults.Count(statetest.Write) != 51 {
			t.Errorf("after %d writes, stored is %s", faults.Count(statetest.Write), got)
		}
	})
}

func TestI3AMergeThatIsOutOfTimeSaysWhatHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults, s := overtaken(state.NewMemory(), 1<<30)
		ctx, cancel := context.WithTimeout(newTurn(t), 10*time.Second)
		defer cancel()
		must(t, set("n", 1)(ctx, s))
		begin := time.Now()
		err := s.Save(ctx)
		n := faults.Count(statetest.Write)
		if want := fmt.Sprintf("state: write %q: others were first, %d times: context deadline exceeded", conversationKey, n); err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v, want %s", err, want)
		}
		// Waits grow to 80 ms on average, and are not all alike.
		if took := time.Since(begin); took != 10*time.Second || n < 90 || n > 200 {
			t.Errorf("%d attempts in %v", n, took)
		}
	})
}

// TestI3NoTurnIsRefused has four replicas, and users of several conversations at
// once, change the same documents.
func TestI3NoTurnIsRefused(t *testing.T) {
	for _, test := range []struct {
		name             string
		replicas, atOnce int // turns at once of a replica
		documents        int
	}{
		{"one conversation on 2 replicas", 2, 1, 1},
		{"one conversation on 4 replicas", 4, 1, 1},
		{"three users on 4 replicas, in five conversations each", 4, 15, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const turns = 12000
				slow := func(context.Context, statetest.Call) error {
					time.Sleep(rand.N(4 * time.Millisecond))
					return nil
				}
				memory := state.NewMemory()
				var refused, done atomic.Int64
				var running sync.WaitGroup
				for range test.replicas {
					user := state.NewUser(&statetest.Faults{Storage: memory, Before: slow, After: slow})
					n := state.NewProperty[int](user, "n")
					n.Merge = func(_, theirs int) (int, error) { return theirs + 1, nil }
					for range test.atOnce {
						running.Go(func() {
							for i := range turns / test.replicas / test.atOnce {
								ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
								ctx = state.NewContext(ctx, state.IDs{Channel: "test", User: fmt.Sprint(i % test.documents)})
								v, err := n.GetOr(ctx, 0)
								if err := errors.Join(err, n.Set(ctx, v+1), user.Save(ctx)); err != nil {
									refused.Add(1)
								}
								done.Add(1)
								cancel()
							}
						})
					}
				}
				running.Wait()
				sum := 0
				for i := range test.documents {
					var document struct{ N int }
					must(t, json.Unmarshal([]byte(stored(t, memory, fmt.Sprint("test/users/", i))), &document))
					sum += document.N
				}
				if refused.Load() > 0 || int64(sum) != done.Load() {
					t.Errorf("of %d turns %d were refused, and %d are counted", done.Load(), refused.Load(), sum)
				}
			})
		})
	}
}

// A storage that refuses what it says is current does so for ever: an item that
// it does not find and cannot make, such as one of another key.
func TestSaveGivesUpWhereNobodyHasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := &statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
			if call.Op == statetest.Write {
				return state.ErrConflict
			}
			return nil
		}}
		s := state.NewConversation(faults)
		ctx := newTurn(t)
		must(t, set("a", 1)(ctx, s))
		if err := s.Save(ctx); !errors.Is(err, state.ErrConflict) {
			t.Errorf("Save: %v, want ErrConflict", err)
		}
		if n := faults.Count(statetest.Write); n != 5 {
			t.Errorf("%d attempts, want 5", n)
		}
	})
}

func TestAFailedReadIsTriedAgain(t *testing.T) {
	down := errors.New("storage is down")
	faults := &statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
		if call.N == 1 {
			return down
		}
		return nil
	}}
	s := state.NewConversation(faults)
	n := state.NewProperty[int](s, "n")
	ctx := newTurn(t)
	if err := n.Set(ctx, 1); !errors.Is(err, down) || !strings.Contains(err.Error(), conversationKey) {
		t.Errorf("Set: %v, want the storage's error with the key", err)
	}
	must(t, n.Set(ctx, 1))
	if err := s.Save(ctx); !errors.Is(err, down) {
		t.Errorf("Save: %v, want the storage's error", err)
	}
	must(t, s.Save(ctx))
}

func TestContextErrorsStayThemselves(t *testing.T) {
	ctx, cancel := context.WithCancel(newTurn(t))
	cancel()
	s := state.NewConversation(state.NewMemory())
	if _, _, err := state.NewProperty[int](s, "n").Get(ctx); err != context.Canceled {
		t.Errorf("Get: %v, want context.Canceled itself", err)
	}
}

func TestGoroutinesOfOneTurnShareOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := &statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
			time.Sleep(time.Second)
			return nil
		}}
		s := state.NewConversation(faults)
		ctx := newTurn(t)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if err := set(fmt.Sprint("p", i), i)(ctx, s); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		impatient, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if err := set("p", 1)(impatient, s); err != context.DeadlineExceeded {
			t.Errorf("Set with a short deadline: %v", err)
		}
		wg.Wait()
		must(t, s.Save(ctx))
		if r, w := faults.Count(statetest.Read), faults.Count(statetest.Write); r != 1 || w != 1 {
			t.Errorf("%d reads and %d writes, want 1 and 1", r, w)
		}
	})
}

func TestExpireAtEndsTheLifeOfTheDocument(t *testing.T) {
	for _, test := range []struct {
		name string
		at   time.Duration // from the start; the write is at 10 s
		gone time.Duration // from the start; 0 for never
	}{
		{"without a time it stays", 0, 0},
		{"with a time it is gone from then on", time.Minute, time.Minute},
		{"with a time past it is gone a second after the write", 5 * time.Second, 11 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory, start := state.NewMemory(), time.Now()
				s := state.NewConversation(memory)
				ctx := newTurn(t)
				if test.at > 0 {
					must(t, s.ExpireAt(ctx, start.Add(test.at)))
				}
				must(t, set("a", 1)(ctx, s))
				time.Sleep(10 * time.Second)
				must(t, s.Save(ctx))
				if test.gone == 0 {
					time.Sleep(1000 * time.Hour)
				} else {
					time.Sleep(test.gone - 10*time.Second - time.Nanosecond)
				}
				if stored(t, memory, conversationKey) == "" {
					t.Fatal("gone too early")
				}
				if time.Sleep(time.Nanosecond); test.gone > 0 && stored(t, memory, conversationKey) != "" {
					t.Error("there too long")
				}
			})
		})
	}
}

func TestTwoScopesDoNotMix(t *testing.T) {
	storage := state.NewMemory()
	conversation, user := state.NewConversation(storage), state.NewUser(storage)
	ctx := newTurn(t)
	must(t, set("n", 1)(ctx, conversation))
	must(t, set("n", 2)(ctx, user))
	must(t, conversation.Save(ctx))
	must(t, user.Save(ctx))

	other := state.NewContext(t.Context(), state.IDs{Channel: "test", Conversation: "c2", User: "u1"})
	if _, ok, _ := state.NewProperty[int](conversation, "n").Get(other); ok {
		t.Error("another conversation has the property")
	}
	if got := value(t, other, state.NewProperty[int](user, "n")); got != 2 {
		t.Errorf("the user's property in another conversation is %d, want 2", got)
	}
}

func TestWiringMistakesPanic(t *testing.T) {
	s := state.NewConversation(state.NewMemory())
	for name, f := range map[string]func(){
		"no storage": func() { state.NewUser(nil) },
		"no scope":   func() { state.NewProperty[int](nil, "n") },
		"no name":    func() { state.NewProperty[int](s, "") },
	} {
		func() {
			defer func() {
				if v := recover(); v == nil || !strings.HasPrefix(fmt.Sprint(v), "state: ") {
					t.Errorf("%s: recovered %v", name, v)
				}
			}()
			f()
		}()
	}
}

// TestAfterASaveThatMergedValuesAreThoseOfBothSides saves twice in a turn,
// with another turn's save before the first.
func TestAfterASaveThatMergedValuesAreThoseOfBothSides(t *testing.T) {
	union := func(mine, theirs map[string]int) (map[string]int, error) {
		maps.Copy(mine, theirs)
		return mine, nil
	}
	for _, test := range []struct {
		name       string
		merge      func(mine, theirs map[string]int) (map[string]int, error)
		mine       func(cart map[string]int, n func(int)) // what the turn changes first
		afterwards bool                                   // the value from before is changed in place
		want       string                                 // "" for a conflict
	}{
		{"another's value is read anew", nil, func(_ map[string]int, n func(int)) { n(2) }, false, `{"cart":{"x":1,"y":2,"z":3},"n":2}`},
		{"the old one must not be changed", nil, func(_ map[string]int, n func(int)) { n(2) }, true, ""},
		{"a merged value is read anew", union, func(cart map[string]int, _ func(int)) { cart["a"] = 1 }, false, `{"cart":{"a":1,"x":1,"y":2,"z":3},"n":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			storage := state.NewMemory()
			put(t, storage, conversationKey, `{"cart":{"x":1},"n":1}`)
			s := state.NewConversation(storage)
			cart, n := state.NewProperty[map[string]int](s, "cart"), state.NewProperty[int](s, "n")
			cart.Merge = test.merge
			ctx := newTurn(t)
			before := value(t, ctx, cart)
			test.mine(before, func(v int) { must(t, n.Set(ctx, v)) })
			put(t, storage, conversationKey, `{"cart":{"x":1,"y":2},"n":1}`)
			must(t, s.Save(ctx))
			if test.afterwards {
				before["z"] = 3
			} else {
				value(t, ctx, cart)["z"] = 3
			}
			err := s.Save(ctx)
			if test.want == "" {
				if !errors.Is(err, state.ErrConflict) {
					t.Errorf("error is %v, stored %s", err, stored(t, storage, conversationKey))
				}
				return
			}
			if got := stored(t, storage, conversationKey); err != nil || got != test.want {
				t.Errorf("stored %s (%v), want %s", got, err, test.want)
			}
		})
	}
}

func TestNullIsNoValue(t *testing.T) {
	s := state.NewConversation(state.NewMemory())
	p := state.NewProperty[map[string]int](s, "m")
	ctx := newTurn(t)
	must(t, p.Set(ctx, nil))
	def, err := p.GetOr(ctx, map[string]int{"a": 1})
	if err != nil || def["a"] != 1 {
		t.Errorf("after Set(nil), GetOr gives %v: %v", def, err)
	}
	def["b"] = 2
	if got, ok, err := p.Get(ctx); !ok || err != nil || got["b"] != 2 {
		t.Errorf("after the default was changed, Get gives %v, %v: %v", got, ok, err)
	}
}
