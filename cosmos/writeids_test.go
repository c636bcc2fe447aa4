package cosmos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/state"
)

const counted = "test/conversations/c"

// A tally is a scope in which turns are counted, and listed.
type tally struct {
	*state.Scope
	n    *state.Property[int]
	list *state.Property[[]string]
}

func newTally(scope *state.Scope) *tally {
	l := &tally{Scope: scope}
	l.n = state.NewProperty[int](scope, "n")
	l.n.Merge = func(_, theirs int) (int, error) { return theirs + 1, nil }
	l.list = state.NewProperty[[]string](scope, "list")
	l.list.Merge = func(mine, theirs []string) ([]string, error) {
		return append(theirs, mine[len(mine)-1]), nil
	}
	return l
}

// count counts a turn.
func (l *tally) count(ctx context.Context, name string) error {
	n, err := l.n.GetOr(ctx, 0)
	if err != nil {
		return err
	}
	list, err := l.list.GetOr(ctx, nil)
	if err != nil {
		return err
	}
	return errors.Join(l.n.Set(ctx, n+1), l.list.Set(ctx, append(list, name)))
}

// turn counts a turn and saves it.
func (l *tally) turn(ctx context.Context, name string) error {
	if err := l.count(ctx, name); err != nil {
		return err
	}
	return l.Save(ctx)
}

func newTurn(t testing.TB) context.Context {
	return state.NewContext(t.Context(), state.IDs{Channel: "test", Conversation: "c", User: "u"})
}

// check checks that the turns are counted and listed, each once.
func checkCounted(t *testing.T, s state.Storage, key string, turns []string) {
	t.Helper()
	value, _ := read(t, s, key)
	var document struct {
		N    int
		List []string
	}
	if err := json.Unmarshal([]byte(value), &document); err != nil {
		t.Fatal(err)
	}
	slices.Sort(document.List)
	turns = slices.Sorted(slices.Values(turns))
	if document.N != len(turns) || !slices.Equal(document.List, turns) {
		t.Errorf("%s: counted are %d turns, listed are %d, want %d\n%q, want\n%q", key, document.N, len(document.List), len(turns), document.List, turns)
	}
}

// spoil answers the first write of an item with fault. Between is called ahead
// of the next one, which is its repetition.
func spoil(server *cosmostest.Server, fault cosmostest.Fault, between func()) {
	var mu sync.Mutex
	writes := 0
	server.Fault = func(r cosmostest.Request) cosmostest.Fault {
		if r.Op != cosmostest.CreateItem && r.Op != cosmostest.ReplaceItem && r.Op != cosmostest.UpsertItem {
			return cosmostest.Fault{}
		}
		mu.Lock()
		writes++
		n := writes
		mu.Unlock()
		switch n {
		case 1:
			return fault
		case 2:
			between()
		}
		return cosmostest.Fault{}
	}
}

// TestI1AWriteWhoseAnswerWasLostIsKnown has replicas write on top of a write
// whose answer was lost, before it is repeated.
func TestI1AWriteWhoseAnswerWasLostIsKnown(t *testing.T) {
	for _, before := range []string{"", `{"n":0}`} {
		for _, done := range []bool{true, false} {
			for _, others := range []int{0, 1, 7, 100} {
				for _, who := range []string{"another replica", "another turn of the same process", "six other replicas"} {
					t.Run(fmt.Sprintf("%q, carried out %v, then %d writes of %s", before, done, others, who), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							server := newServer(t, byID)
							storage := newStorage(t, server)
							if before != "" {
								write(t, storage, counted, before, "")
							}
							a := newTally(state.NewConversation(storage))
							b := []*tally{a}
							switch who {
							case "another replica":
								b = []*tally{newTally(state.NewConversation(newStorage(t, server)))}
							case "six other replicas":
								b = nil
								for range 6 {
									b = append(b, newTally(state.NewConversation(newStorage(t, server))))
								}
							}
							ctx, turns := newTurn(t), []string{"first", "second"}
							if err := a.count(ctx, "first"); err != nil {
								t.Fatal(err)
							}
							spoil(server, cosmostest.Fault{Reset: true, Committed: done}, func() {
								for i := range others {
									name := fmt.Sprint("other ", i)
									if err := b[i%len(b)].turn(newTurn(t), name); err != nil {
										t.Error(err)
									}
									turns = append(turns, name)
								}
							})
							if err := a.Save(ctx); err != nil {
								t.Fatal(err)
							}
							checkCounted(t, storage, counted, slices.DeleteFunc(slices.Clone(turns), func(name string) bool { return name == "second" }))
							// What comes after in the same turn is put on top of what is there now.
							if err := errors.Join(a.count(ctx, "second"), a.Save(ctx)); err != nil {
								t.Fatal(err)
							}
							checkCounted(t, storage, counted, turns)
						})
					})
				}
			}
		}
	}
}

// TestI1WithoutMergeAnOwnWriteIsNoConflict is the case of two properties.
func TestI1WithoutMergeAnOwnWriteIsNoConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		one, two := newStorage(t, server), newStorage(t, server)
		write(t, one, counted, `{"a":1,"b":1}`, "")
		a, b := state.NewConversation(one), state.NewConversation(two)
		ctx := newTurn(t)
		if err := state.NewProperty[int](a, "a").Set(ctx, 2); err != nil {
			t.Fatal(err)
		}
		spoil(server, cosmostest.Fault{Status: 503, Committed: true}, func() {
			ctx := newTurn(t)
			if err := errors.Join(state.NewProperty[int](b, "b").Set(ctx, 2), b.Save(ctx)); err != nil {
				t.Error(err)
			}
		})
		if err := a.Save(ctx); err != nil {
			t.Error(err)
		}
		if got, _ := read(t, one, counted); got != `{"a":2,"b":2}` {
			t.Errorf("stored %s", got)
		}
	})
}

// TestI1WhatCannotBeFoundOutIsNoConflict: after an ErrConflict nothing was
// written. Where that is not known, the error is another one.
func TestI1WhatCannotBeFoundOutIsNoConflict(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, server *cosmostest.Server, s *cosmos.Storage){
		"a bot in another language keeps the document and drops the rest": func(t *testing.T, server *cosmostest.Server, s *cosmos.Storage) {
			value, _ := read(t, s, counted)
			put(t, server, "test*2fconversations*2fc", `{"id":"test*2fconversations*2fc","realId":"`+counted+`","document":`+value+`}`)
		},
		"an unconditional write": func(t *testing.T, _ *cosmostest.Server, s *cosmos.Storage) {
			value, _ := read(t, s, counted)
			write(t, s, counted, value, "")
		},
		"a deletion": func(t *testing.T, _ *cosmostest.Server, s *cosmos.Storage) {
			if err := s.Delete(t.Context(), []string{counted}); err != nil {
				t.Error(err)
			}
		},
		"writes of more replicas than the list has room for": func(t *testing.T, server *cosmostest.Server, _ *cosmos.Storage) {
			for i := range 20 {
				if err := newTally(state.NewConversation(newStorage(t, server))).turn(newTurn(t), fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newServer(t, byID)
				storage, other := newStorage(t, server), newStorage(t, server)
				write(t, storage, counted, `{"n":0}`, "")
				a, ctx, want := newTally(state.NewConversation(storage)), newTurn(t), ""
				if err := a.count(ctx, "first"); err != nil {
					t.Fatal(err)
				}
				spoil(server, cosmostest.Fault{Reset: true, Committed: true}, func() {
					between(t, server, other)
					want, _ = read(t, other, counted)
				})
				err := a.Save(ctx)
				if err == nil || errors.Is(err, state.ErrConflict) || !strings.Contains(err.Error(), "may have been written") || !strings.Contains(err.Error(), counted) {
					t.Errorf("error is %v", err)
				}
				if got, _ := read(t, storage, counted); got != want {
					t.Errorf("stored %s, want %s", got, want)
				}
			})
		})
	}
}

// TestWriteIDsTakeLittleRoom: an id for each replica, and 8 at most.
func TestWriteIDsTakeLittleRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, byID)
		for n := 1; n <= 12; n++ {
			l := newTally(state.NewConversation(newStorage(t, server)))
			for i := range 10 {
				if err := l.turn(newTurn(t), fmt.Sprint(n, i)); err != nil {
					t.Fatal(err)
				}
			}
			var list string
			if err := json.Unmarshal(raw(t, server, "test*2fconversations*2fc")["writeIds"], &list); err != nil {
				t.Fatal(err)
			}
			ids := strings.Fields(list)
			if len(ids) > min(n+1, 8) || len(list) > 79 {
				t.Errorf("after the writes of %d replicas, the item has %q", n, list)
			}
			slices.Sort(ids)
			if len(slices.Compact(ids)) != len(strings.Fields(list)) {
				t.Errorf("%q has an id twice", list)
			}
		}
	})
}
