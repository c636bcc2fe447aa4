package state_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/botlapse/botlapse/state"
)

// What does it cost to find out a document's key?
func BenchmarkKey(b *testing.B) {
	private := state.NewPrivateConversation(state.NewMemory())
	ctx := state.NewContext(context.Background(), someIDs)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := private.Key(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// What does it cost to read a property, once its document is loaded?
func BenchmarkPropertyGet(b *testing.B) {
	s := state.NewConversation(state.NewMemory())
	n := state.NewProperty[int](s, "n")
	ctx := state.NewContext(context.Background(), someIDs)
	if err := n.Set(ctx, 1); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := n.Get(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// What does it cost to change a property, once its document is loaded?
func BenchmarkPropertySet(b *testing.B) {
	s := state.NewConversation(state.NewMemory())
	n := state.NewProperty[int](s, "n")
	ctx := state.NewContext(context.Background(), someIDs)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if err := n.Set(ctx, i); err != nil {
			b.Fatal(err)
		}
	}
}

// What does it cost to load a document, change one property and save it, by
// the number of properties it has?
func BenchmarkSave(b *testing.B) {
	for _, properties := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(properties), func(b *testing.B) {
			s := state.NewConversation(state.NewMemory())
			n := state.NewProperty[int](s, "p0")
			ctx := state.NewContext(context.Background(), someIDs)
			for i := range properties {
				if err := state.NewProperty[int](s, fmt.Sprint("p", i)).Set(ctx, i); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Save(ctx); err != nil {
				b.Fatal(err)
			}
			i := properties
			b.ReportAllocs()
			for b.Loop() {
				i++
				ctx := state.NewContext(context.Background(), someIDs)
				if err := n.Set(ctx, i); err != nil {
					b.Fatal(err)
				}
				if err := s.Save(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
