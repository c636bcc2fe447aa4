package state_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// A book is a conversation scope with bookkeeping: a number that each turn
// raises by one.
type book struct {
	storage *state.Memory
	scope   *state.Scope
	turns   *state.Bookkeeping
	word    *state.Property[string]
}

func newBook() *book {
	b := &book{storage: state.NewMemory()}
	b.scope = state.NewConversation(b.storage)
	b.turns = state.NewBookkeeping(b.scope, "turns")
	b.word = state.NewProperty[string](b.scope, "word")
	return b
}

// begin begins a turn, the n-th of the conversation.
func (b *book) begin(t *testing.T) context.Context {
	t.Helper()
	ctx := state.NewContext(t.Context(), state.IDs{Channel: "test", Conversation: "c1"})
	var number int
	check(t, b.turns.Update(ctx, func(values []json.RawMessage) (time.Time, error) {
		stored, _ := strconv.Atoi(string(values[0]))
		if number == 0 {
			number = stored + 1
		}
		values[0] = fmt.Append(nil, max(number, stored))
		return time.Time{}, nil
	}))
	return ctx
}

func (b *book) stored(t *testing.T) string {
	t.Helper()
	items, err := b.storage.Read(t.Context(), []string{"test/conversations/c1"})
	check(t, err)
	var doc map[string]json.RawMessage
	if item, ok := items["test/conversations/c1"]; !ok {
		return "nothing"
	} else {
		check(t, json.Unmarshal(item.Value, &doc))
	}
	delete(doc, "botlapse.cleared")
	text, err := json.Marshal(doc)
	check(t, err)
	return string(text)
}

func (b *book) wantStored(t *testing.T, want string) {
	t.Helper()
	if got := b.stored(t); got != want {
		t.Errorf("stored is %s, want %s", got, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPA1BookkeepingIsNotTheBotsToUndo(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*book, context.Context) error
		want string
	}{
		{"a turn that changes nothing else stores it", func(b *book, ctx context.Context) error { return nil }, `{"turns":2,"word":"old"}`},
		{"Clear leaves it", func(b *book, ctx context.Context) error { return b.scope.Clear(ctx) }, `{"turns":2}`},
		{"Clear and Set leave it", func(b *book, ctx context.Context) error {
			return errors.Join(b.scope.Clear(ctx), b.word.Set(ctx, "new"))
		}, `{"turns":2,"word":"new"}`},
		{"Load leaves it", func(b *book, ctx context.Context) error { return b.scope.Load(ctx) }, `{"turns":2,"word":"old"}`},
		{"Delete leaves it", func(b *book, ctx context.Context) error { return b.scope.Delete(ctx) }, `{"turns":2}`},
		{"Delete and Set leave it", func(b *book, ctx context.Context) error {
			return errors.Join(b.scope.Delete(ctx), b.word.Set(ctx, "new"))
		}, `{"turns":2,"word":"new"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBook()
			ctx := b.begin(t)
			check(t, b.word.Set(ctx, "old"))
			check(t, b.scope.Save(ctx))
			ctx = b.begin(t)
			check(t, test.do(b, ctx))
			check(t, b.scope.Save(ctx))
			b.wantStored(t, test.want)
		})
	}
}

func TestDeleteTakesTheStateAtOnce(t *testing.T) {
	b := newBook()
	ctx := b.begin(t)
	check(t, b.scope.Delete(ctx))
	b.wantStored(t, "nothing")
	check(t, b.word.Set(ctx, "old"))
	check(t, b.scope.Save(ctx))
	ctx = b.begin(t)
	check(t, b.scope.Delete(ctx))
	b.wantStored(t, `{"turns":1}`)
}

// TestPA1DeleteDoesNotTakeBookkeepingThatWasStoredMeanwhile, by another turn, while
// it found nothing, or nothing but properties.
func TestPA1DeleteDoesNotTakeBookkeepingThatWasStoredMeanwhile(t *testing.T) {
	for name, first := range map[string]func(*testing.T, *book){
		"nothing": func(*testing.T, *book) {},
		"a property": func(t *testing.T, b *book) {
			_, err := b.storage.Write(t.Context(), map[string]state.Item{"test/conversations/c1": {Value: json.RawMessage(`{"word":"first"}`)}})
			check(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook()
			first(t, b)
			meanwhile := false
			faults := &statetest.Faults{Storage: b.storage, After: func(_ context.Context, call statetest.Call) error {
				if call.Op == statetest.Read && !meanwhile {
					meanwhile = true
					check(t, b.scope.Save(b.begin(t)))
				}
				return nil
			}}
			other := state.NewConversation(faults)
			state.NewBookkeeping(other, "turns")
			check(t, other.Delete(state.NewContext(t.Context(), state.IDs{Channel: "test", Conversation: "c1"})))
			b.wantStored(t, `{"turns":1}`)
		})
	}
}

func TestBookkeepingIsComputedFromWhatIsStoredByThen(t *testing.T) {
	b := newBook()
	for range 4 {
		check(t, b.scope.Save(b.begin(t)))
	}
	early := b.begin(t) // the fifth turn
	for range 3 {
		check(t, b.scope.Save(b.begin(t)))
	}
	check(t, b.word.Set(early, "late"))
	check(t, b.scope.Save(early))
	b.wantStored(t, `{"turns":7,"word":"late"}`)
}

func TestCommitStoresBookkeepingAlone(t *testing.T) {
	b := newBook()
	ctx := b.begin(t)
	check(t, b.word.Set(ctx, "unsaved"))
	check(t, b.turns.Commit(ctx))
	b.wantStored(t, `{"turns":1}`)
	check(t, b.scope.Save(ctx))
	b.wantStored(t, `{"turns":1,"word":"unsaved"}`)
}

func TestCommitIsRefusedIfSomebodyElseHasWritten(t *testing.T) {
	for name, commit := range map[string]func(*book, context.Context) error{
		"the bookkeeping": func(b *book, ctx context.Context) error { return b.turns.Commit(ctx) },
		"cleared":         func(b *book, ctx context.Context) error { return b.turns.CommitCleared(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook()
			ctx := b.begin(t)
			other := b.begin(t)
			check(t, b.word.Set(other, "theirs"))
			check(t, b.scope.Save(other))
			if err := commit(b, ctx); !errors.Is(err, state.ErrConflict) {
				t.Errorf("error is %v, want ErrConflict", err)
			}
			b.wantStored(t, `{"turns":1,"word":"theirs"}`)
			check(t, b.scope.Load(ctx))
			check(t, commit(b, ctx))
		})
	}
}

func TestCommitAsideLeavesTheTurnAsItWas(t *testing.T) {
	b := newBook()
	ctx := b.begin(t)
	check(t, b.word.Set(ctx, "mine"))
	other := b.begin(t)
	check(t, state.NewProperty[int](b.scope, "n").Set(other, 1))
	check(t, b.scope.Save(other))
	check(t, b.turns.CommitAside(ctx, func(values []json.RawMessage) (time.Time, error) {
		if string(values[0]) != "1" && string(values[0]) != "5" {
			t.Errorf("stored is %s, want what the other turn has stored", values[0])
		}
		values[0] = json.RawMessage("5")
		return time.Time{}, nil
	}))
	b.wantStored(t, `{"n":1,"turns":5}`)
	check(t, b.scope.Save(ctx))
	b.wantStored(t, `{"n":1,"turns":5,"word":"mine"}`)
	if err := b.turns.CommitAside(t.Context(), nil); !errors.Is(err, state.ErrNoTurn) {
		t.Errorf("outside of a turn, error is %v", err)
	}
}

func TestWhatWasClearedByCommitDoesNotComeBack(t *testing.T) {
	b := newBook()
	kept := state.NewProperty[int](b.scope, "kept")
	ctx := b.begin(t)
	check(t, errors.Join(b.word.Set(ctx, "old"), kept.Set(ctx, 7)))
	check(t, b.scope.Save(ctx))

	late := b.begin(t)
	check(t, b.word.Set(late, "older"))
	ctx = b.begin(t)
	check(t, b.word.Set(ctx, "unsaved"))
	check(t, b.turns.CommitCleared(ctx, "kept"))
	b.wantStored(t, `{"kept":7,"turns":2}`)
	if _, ok, err := b.word.Get(ctx); ok || err != nil {
		t.Errorf("the turn still has the word (error %v)", err)
	}
	if err := b.scope.Save(late); !errors.Is(err, state.ErrConflict) {
		t.Errorf("error of a save from before is %v, want ErrConflict", err)
	}
	check(t, b.word.Set(ctx, "new"))
	check(t, b.scope.Save(ctx))
	b.wantStored(t, `{"kept":7,"turns":2,"word":"new"}`)
}

func TestPB2BookkeepingSaysHowLongTheDocumentLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		ctx := state.NewContext(t.Context(), state.IDs{Channel: "test", Conversation: "c1"})
		check(t, b.turns.Update(ctx, func(values []json.RawMessage) (time.Time, error) {
			values[0] = json.RawMessage(`1`)
			return time.Now().Add(time.Hour), nil
		}))
		check(t, b.scope.Save(ctx))
		time.Sleep(time.Hour - 1)
		b.wantStored(t, `{"turns":1}`)
		time.Sleep(time.Nanosecond)
		b.wantStored(t, "nothing")
	})
}

// TestPB2ADeletedDocumentLivesForAsLongAsWhatIsStoredByThen, and not for as long as
// what was stored when the turn began.
func TestPB2ADeletedDocumentLivesForAsLongAsWhatIsStoredByThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		begin := func(hours int) context.Context {
			ctx := state.NewContext(t.Context(), state.IDs{Channel: "test", Conversation: "c1"})
			check(t, b.turns.Update(ctx, func(values []json.RawMessage) (time.Time, error) {
				stored, _ := strconv.Atoi(string(values[0]))
				values[0] = fmt.Append(nil, max(hours, stored))
				return time.Now().Add(time.Duration(max(hours, stored)) * time.Hour), nil
			}))
			return ctx
		}
		early := begin(1)
		late := begin(5)
		check(t, b.word.Set(late, "theirs"))
		check(t, b.scope.Save(late))
		check(t, b.scope.Delete(early))
		time.Sleep(5*time.Hour - 1)
		b.wantStored(t, `{"turns":5}`)
	})
}

func TestCommitClearedMeetsATurnThatHasBegunBefore(t *testing.T) {
	b := newBook()
	check(t, b.scope.Save(b.begin(t))) // and nothing but bookkeeping
	early := b.begin(t)
	check(t, b.turns.CommitCleared(b.begin(t)))
	check(t, b.word.Set(early, "late"))
	if err := b.scope.Save(early); !errors.Is(err, state.ErrConflict) {
		t.Errorf("error is %v, want ErrConflict", err)
	}
	b.wantStored(t, `{"turns":2}`)
}

func TestNamesOfBookkeepingAreReserved(t *testing.T) {
	for name, f := range map[string]func(*state.Scope){
		"a property after it":  func(s *state.Scope) { state.NewBookkeeping(s, "x"); state.NewProperty[int](s, "x") },
		"a property before it": func(s *state.Scope) { state.NewProperty[int](s, "x"); state.NewBookkeeping(s, "x") },
		"two on one scope":     func(s *state.Scope) { state.NewBookkeeping(s, "x"); state.NewBookkeeping(s, "y") },
		"without a name":       func(s *state.Scope) { state.NewBookkeeping(s) },
		"without a scope":      func(s *state.Scope) { state.NewBookkeeping(nil, "x") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f(state.NewConversation(state.NewMemory()))
		})
	}
}
