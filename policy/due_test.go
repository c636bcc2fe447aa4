package policy_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/botlapse/botlapse/policy"
)

func thirty(t testing.TB) Policy {
	var rules []Rule
	for i := range 10 {
		rules = append(rules,
			Rule{Name: "idle", When: When{Channels: []string{fmt.Sprintf("channel-%d", i)}}, After: time.Hour, Do: Action{End: true}},
			Rule{Name: fmt.Sprintf("nudge-%d", i), When: When{By: "bot"}, After: time.Hour, Times: 3, Do: Action{Say: "Hello?"}},
			Rule{Name: fmt.Sprintf("ask-%d", i), When: When{At: []string{"other", "ask"}}, Since: Asked, After: time.Hour, Do: Action{Ask: true}, Then: []Step{{Do: Action{End: true}}}})
	}
	p, err := New(rules...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// BenchmarkDue asks what a look at 30 rules costs when nothing is due: at most
// 2 µs, and no allocation.
func BenchmarkDue(b *testing.B) {
	p := thirty(b)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := Record{Input: now, Session: "s", Began: now, Asked: now, Fired: map[string]Fired{"nudge-1": {Times: 1, At: now, Mark: now}}}
	at := Place{Channel: "channel-9", Path: []string{"main", "ask"}, Patience: []time.Duration{time.Hour}}
	b.ReportAllocs()
	for b.Loop() {
		if v := p.Due(r, at, now.Add(time.Minute), User); len(v.Fired) > 0 || v.Next.IsZero() {
			b.Fatal(v)
		}
	}
}

func TestDueOfThirtyRulesDoesNotAllocate(t *testing.T) {
	p := thirty(t)
	r, at := asked(), Place{Channel: "channel-9", Path: []string{"main", "ask"}, Patience: []time.Duration{h}}
	for _, why := range []Cause{Look, User, NoInput} {
		if why == NoInput {
			r.Fired = map[string]Fired{"ask-0": {Since: Asked, Times: 1, Mark: r.Asked}} // counts for nothing
		}
		if n := testing.AllocsPerRun(100, func() {
			if v := p.Due(r, at, after(m), why); len(v.Fired) > 0 || v.Next.IsZero() {
				t.Fatal(show(v))
			}
		}); n != 0 {
			t.Errorf("cause %d: %v allocations", why, n)
		}
	}
}
