package middleware_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

// TestARollingDeploymentLosesNobody: for a quarter of an hour two versions run on one
// store, of different policies, timeouts and modes, and users write to either; then
// the old one ends. Each conversation ends once, when one of them says so, and its
// user is told, by itself or on return.
func TestARollingDeploymentLosesNobody(t *testing.T) {
	t.Parallel()
	type release struct {
		timeout time.Duration
		once    bool
		silent  bool
		nudges  bool
	}
	for _, test := range []struct {
		name     string
		old, new release
	}{
		{"a longer timeout", release{timeout: 10 * time.Minute}, release{timeout: 3 * time.Hour}},
		{"a shorter timeout", release{timeout: 3 * time.Hour}, release{timeout: 10 * time.Minute}},
		{"from at least to at most once", release{}, release{once: true}},
		{"from at most to at least once", release{once: true}, release{}},
		{"farewells no more", release{}, release{silent: true}},
		{"farewells from now on", release{silent: true}, release{}},
		{"reminders no more", release{nudges: true}, release{}},
		{"reminders from now on, and all else other too", release{timeout: time.Hour, silent: true, once: true}, release{timeout: 20 * time.Minute, nudges: true}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			s := newShared()
			begin := func(r release) *replica {
				end := policy.Rule{Name: "idle", After: cmp.Or(r.timeout, timeout), Do: policy.Action{End: true, Say: farewell, OnReturn: notice}}
				if r.silent {
					end.Do.Say = ""
				}
				rules := []policy.Rule{end}
				if r.nudges {
					rules = append(rules, policy.Rule{Name: "nudge", After: 5 * time.Minute, Do: policy.Action{Say: nudge}})
				}
				return s.start(t, middleware.SessionsOptions{AtMostOnce: r.once, MessagesPerSecond: -1}, rules...)
			}
			const conversations = 40
			releases := []*replica{begin(test.old), begin(test.old)}
			var last [conversations]time.Time
			say := func(i, n int) {
				last[i] = time.Now()
				releases[(i/2+n)%2].say(t, fmt.Sprint(i))
			}
			for i := range conversations {
				say(i, 0)
				time.Sleep(time.Second)
			}
			old := releases[1]
			releases[1] = begin(test.new)
			if err := old.sessions.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				time.Sleep(4 * time.Minute)
				for i := range conversations {
					if (i+n)%4 > 0 { // the others have fallen silent, for now
						say(i, i%2)
					}
				}
			}
			old = releases[0]
			releases[0] = begin(test.new)
			if err := old.sessions.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			first, latest := cmp.Or(test.old.timeout, timeout), cmp.Or(test.new.timeout, timeout)
			if first > latest {
				first, latest = latest, first
			}
			s.channel.take()
			time.Sleep(first - 1 - time.Minute) // of the last message
			for i := range conversations {
				if document := s.document(t, fmt.Sprint(i)); time.Since(last[i]) < first && !strings.Contains(document, "count") {
					t.Errorf("%d ended early, stored is %s", i, document)
				}
			}
			time.Sleep(latest + 2*time.Minute)
			synctest.Wait()
			told := s.channel.take()
			expectNone(t, s.store)
			for i := range conversations {
				id := fmt.Sprint(i)
				if document := s.document(t, id); !strings.Contains(document, `"ended"`) || strings.Contains(document, "count") || strings.Contains(document, "open") {
					t.Errorf("of %s, stored is %s", id, document)
				}
				n := 0
				for _, line := range told {
					if strings.HasSuffix(line, " "+id+": "+farewell) {
						n++
					}
				}
				releases[i%2].say(t, id)
				back := only(s.channel)
				if want := []string{notice, "message 1"}[min(n, 1):]; n > 1 || !slices.Equal(back, want) {
					t.Errorf("%s was told %d times, and %q on return", id, n, back)
				}
			}
		})
	}
}

// TestMembersOfAGroupHaveTheirOwnSilence, beside that of the group: Sessions over
// private conversations and over conversations, in one file, with queues of their own
// names.
func TestMembersOfAGroupHaveTheirOwnSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file, err := bolt.Open(filepath.Join(t.TempDir(), "state.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		group, member := state.NewConversation(file), state.NewPrivateConversation(file)
		ends := func(after time.Duration, say string) policy.Policy {
			p, err := policy.New(policy.Rule{Name: "idle", After: after, Do: policy.Action{End: true, Say: say, OnReturn: "Welcome back. " + say}})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		groups := middleware.NewSessions(group, ends(30*time.Minute, "All are gone."), &middleware.SessionsOptions{Deadlines: file.Deadlines("group")})
		members := middleware.NewSessions(member, ends(10*time.Minute, "You are gone."), &middleware.SessionsOptions{Deadlines: file.Deadlines("member")})
		inGroup, ofMember := state.NewProperty[int](group, "count"), state.NewProperty[int](member, "count")

		begin := time.Now()
		var mu sync.Mutex
		var sent []string
		channel := &channel{begin: begin, fail: func(a schema.Activity) error {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, fmt.Sprintf("%v to %s: %s", time.Since(begin), a.Recipient.ID, a.Text))
			return nil
		}}
		adapter := bot.NewAdapter(channel, middleware.AutoSave(group, member), groups.Middleware, members.Middleware)
		adapter.Logger = slog.New(slog.DiscardHandler)
		groups.Start(adapter)
		members.Start(adapter)
		defer members.Close(context.Background())
		defer groups.Close(context.Background())
		say := func(user string) {
			t.Helper()
			if err := adapter.Process(t.Context(), schema.Activity{
				Type: schema.Message, Text: "hi", ChannelID: "test", ServiceURL: "https://test/",
				Conversation: schema.ConversationAccount{ID: "g", IsGroup: true}, From: schema.ChannelAccount{ID: user}, Recipient: schema.ChannelAccount{ID: "bot"},
			}, func(ctx context.Context, turn *bot.Turn) error {
				var counts [2]int
				for i, p := range []*state.Property[int]{inGroup, ofMember} {
					n, err := p.GetOr(ctx, 0)
					if err != nil {
						return err
					}
					counts[i] = n + 1
					if err := p.Set(ctx, n+1); err != nil {
						return err
					}
				}
				_, err := turn.SendText(ctx, fmt.Sprintf("%d of all, %d of yours", counts[0], counts[1]))
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(sent, want) {
				t.Errorf("sent were\n%s\nwant\n%s", strings.Join(sent, "\n"), strings.Join(want, "\n"))
			}
			sent = nil
		}
		say("u1")
		time.Sleep(time.Minute)
		say("u2")
		expect("0s to u1: 1 of all, 1 of yours", "1m0s to u2: 2 of all, 1 of yours")
		time.Sleep(4 * time.Minute)
		say("u2")
		expect("5m0s to u2: 3 of all, 2 of yours")
		time.Sleep(5 * time.Minute)
		expect("10m0s to u1: You are gone.")
		say("u1")
		expect("10m0s to u1: 4 of all, 1 of yours")
		time.Sleep(20*time.Minute - 1)
		expect("15m0s to u2: You are gone.", "20m0s to u1: You are gone.")
		time.Sleep(10*time.Minute + 1)
		expect("40m0s to u1: All are gone.")
		say("u2")
		expect("40m0s to u2: 1 of all, 1 of yours")
		time.Sleep(time.Hour)
		expect("50m0s to u2: You are gone.", "1h10m0s to u2: All are gone.")
		for _, name := range []string{"group", "member"} {
			expectNone(t, file.Deadlines(name))
		}
	})
}
