package bottest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/state"
)

// over returns the bot with its state in storage, whatever process uses it.
func over(storage state.Storage) bottest.Program {
	return func(base core.Adapter) (http.Handler, func(context.Context) error) {
		return newBotOver(base, base.(*bottest.Process).Storage(storage))
	}
}

// saying returns a bot whose turns do as they are told.
func saying(handle bot.Handler) bottest.Program {
	return func(base core.Adapter) (http.Handler, func(context.Context) error) {
		adapter := bot.NewAdapter(base)
		return adapter.HTTPHandler(handle), adapter.Close
	}
}

func TestTranscripts(t *testing.T) {
	for file, program := range map[string]bottest.Program{
		"order.txt":   newBot,
		"group.txt":   newBot,
		"mishaps.txt": over(state.NewMemory()),
		"kinds.txt":   saying(kinds),
	} {
		bottest.Play(t, filepath.Join("testdata", file), program)
	}
}

// kinds is a handler that sends activities of many kinds.
func kinds(ctx context.Context, turn *bot.Turn) error {
	replies := map[string][]schema.Activity{
		"lines":   {{Text: "Your order:\r\n\n  2 tea\n"}, {Text: "That is all."}},
		"buttons": {{Text: "How?", SuggestedActions: schema.SuggestedActions{Actions: []schema.CardAction{{Title: "Bus"}, {Title: "Car"}}}}},
		"card": {{Attachments: []schema.Attachment{{ContentType: "application/vnd.microsoft.card.hero", Content: map[string]any{
			"title": "Travel", "text": "How?", "buttons": []any{map[string]any{"title": "Bus"}},
		}}}}},
		"files":   {{Text: "Here.", Attachments: []schema.Attachment{{ContentType: "image/png", Name: "a.png"}, {ContentType: "image/gif"}, {ContentType: "text/x", Content: []int{1}}}}},
		"typing":  {{Type: schema.Typing}, {Text: "Well."}},
		"goodbye": {{Type: schema.EndOfConversation, Code: "completedSuccessfully", Text: "a < b"}},
		"nothing": {{}},
		"data":    {{ChannelData: map[string]any{"x": 1}}},
	}[turn.Activity.Text+turn.Activity.Name]
	if turn.Activity.Name == "pay" {
		turn.SetInvokeResponse(200, map[string]any{"paid": true})
	}
	_, err := turn.Send(ctx, replies...)
	return err
}

func TestWhatNobodyExpectsFailsTheTest(t *testing.T) {
	const welcome = "What would you like?"
	for _, test := range []struct {
		name  string
		story func(c *bottest.Chat)
		want  string
	}{
		{"all is as expected", func(c *bottest.Chat) { c.Says("hi").Expects(welcome) }, ""},
		{"nothing is as expected", func(c *bottest.Chat) { c.Silence(time.Hour).Expects() }, ""},
		{"another text", func(c *bottest.Chat) { c.Says("hi").Expects("Hello.") }, "the bot said\n\t" + welcome + "\nwant\n\tHello."},
		{"nothing", func(c *bottest.Chat) { c.Expects(welcome) }, "the bot said\n\tnothing\nwant\n\t" + welcome},
		{"another order", func(c *bottest.Chat) { c.Says("hi").Says("tea").Expects("How many?", welcome) },
			"the bot said\n\t" + welcome + "\n\tHow many?\nwant\n\tHow many?\n\t" + welcome},
		{"something is left", func(c *bottest.Chat) { c.Says("hi") }, "nothing expects what the bot has said at last:\n\t" + welcome},
		{"something is left elsewhere", func(c *bottest.Chat) { c.With("", "", "other").Says("hi"); c.Expects() }, "nothing expects what the bot has said at last:\n\t" + welcome},
		{"what is taken is not left", func(c *bottest.Chat) { c.Says("hi").Sent() }, ""},
		{"a turn that failed is not taken", func(c *bottest.Chat) { c.Channel.Refuses(403); c.Says("hi").Sent() }, "nothing expects what the bot has said at last:\n\t= 500 the turn failed"},
		{"a turn that failed is expected", func(c *bottest.Chat) { c.Channel.Refuses(403); c.Says("hi").Expects("= 500 the turn failed") }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{TB: t}
				test.story(bottest.New(r, newBot))
				r.end()
				if got := strings.Join(r.errors, "\n"); got != test.want {
					t.Errorf("the errors are\n%s\nwant\n%s", got, test.want)
				}
			})
		})
	}
}

// A recorder is a test that may fail.
type recorder struct {
	testing.TB
	errors   []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
func (r *recorder) Failed() bool      { return len(r.errors) > 0 }
func (r *recorder) Cleanup(f func())  { r.cleanups = append(r.cleanups, f) }

func (r *recorder) end() {
	for _, f := range r.cleanups {
		f()
	}
}

func TestNewWantsABubble(t *testing.T) {
	defer func() {
		if v := fmt.Sprint(recover()); !strings.Contains(v, "synctest.Test") {
			t.Errorf("it said %s", v)
		}
	}()
	bottest.New(&recorder{TB: t}, newBot)
}

func TestUsersAndConversationsAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ada := bottest.New(t, newBot)
		bob := ada.With("", "bob", "") // in the same conversation
		eve := ada.With("webchat", "eve", "eve's")
		ada.Says("hi").Expects("What would you like?")
		eve.Says("hi")
		bob.Says("tea").Expects("How many?")
		eve.Expects("What would you like?")
		ada.Silence(timeout)
		eve.Says("hello").Expects(notice, "What would you like?")
		a := bob.Says("5").Sent()
		if len(a) != 2 || a[1].Recipient.ID != "bob" || a[1].ChannelID != "test" || a[1].Conversation.ID != "user" || a[1].ReplyToID == "" {
			t.Errorf("bob got %+v", a)
		}
	})
}

func TestAnActivityKeepsWhatItBringsAndGetsWhatItLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []schema.Activity
		var raw string
		c := bottest.New(t, saying(func(_ context.Context, turn *bot.Turn) error {
			got, raw = append(got, turn.Activity), string(turn.Raw)
			return nil
		}))
		c.Says(`{"type":"event","id":"e1","from":{"id":"clock"},"entities":[{"type":"mention"}]}`)
		c.Says(`{"no":"type"}`)
		if a := got[0]; a.Type != "event" || a.ID != "e1" || a.From.ID != "clock" || a.Recipient.ID != "bot" || a.Conversation.ID != "user" || a.ChannelID != "test" || !a.Timestamp.Equal(time.Now()) {
			t.Errorf("the bot got %+v", a)
		}
		if a := got[1]; a.Type != schema.Message || a.Text != `{"no":"type"}` || a.ID == "" || a.From.ID != "user" || a.ServiceURL == "" {
			t.Errorf("the bot got %+v from %s", a, raw)
		}
		c.Says(`{"type":"event","id":"e1","from":{"id":"clock"}}`) // a second delivery of the first one
		if len(got) != 2 {
			t.Errorf("there were %d turns", len(got))
		}
	})
}

func TestABotThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		c := bottest.New(t, func(core.Adapter) (http.Handler, func(context.Context) error) {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-r.Context().Done() // the channel hangs up
				close(hangs)
			}), nil
		})
		begin := time.Now()
		c.Says("hi").Expects("= no answer")
		if took := time.Since(begin); took != 15*time.Second {
			t.Errorf("the channel waited for %v", took)
		}
		<-hangs
	})
}

// counting returns a bot that notes when its processes begin and end.
func counting(notes *[]string) bottest.Program {
	n := 0
	return func(base core.Adapter) (http.Handler, func(context.Context) error) {
		n++
		name := fmt.Sprint("process ", n)
		*notes = append(*notes, name+" begins")
		adapter := bot.NewAdapter(base)
		adapter.AckAfter = time.Second
		return adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
				time.Sleep(time.Minute)
				_, err := turn.SendText(ctx, name)
				return err
			}), func(ctx context.Context) error {
				err := adapter.Close(ctx)
				*notes = append(*notes, name+" ends")
				return err
			}
	}
}

func TestAProcessThatIsRestartedEndsInOrderAndOneThatIsKilledDoesNot(t *testing.T) {
	var notes []string
	synctest.Test(t, func(t *testing.T) {
		c := bottest.New(t, counting(&notes))
		c.Says("hi").Expects() // acknowledged, and going on
		c.Restart().Expects("process 1")
		c.Says("hi")
		begin := time.Now()
		if c.Kill(0); c.Alive() || time.Since(begin) != 0 {
			t.Errorf("after %v, alive is %v", time.Since(begin), c.Alive())
		}
		c.Silence(time.Hour).Says("is anybody there?").Expects()
		c.Restart()
		c.Says("hi").Silence(time.Minute).Expects("process 3")
		c.Says("hi").Kill(0) // which leaves a turn
	})
	want := "process 1 begins, process 1 ends, process 2 begins, process 2 ends, process 3 begins, process 3 ends"
	if got := strings.Join(notes, ", "); got != want {
		t.Errorf("there were\n%s\nwant\n%s", got, want)
	}
}

func TestAProcessThatDoesNotEndInOrderFailsTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		c := bottest.New(r, func(base core.Adapter) (http.Handler, func(context.Context) error) {
			return http.NotFoundHandler(), func(context.Context) error { return errors.New("stuck") }
		})
		c.Kill(0).Restart() // one that was killed need not
		r.end()
		if got := strings.Join(r.errors, "\n"); got != "the process did not end in order: stuck" {
			t.Errorf("the errors are %s", got)
		}
	})
}

func TestReplicasShareWhatTheyAreGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := bottest.New(t, over(state.NewMemory()))
		two := one.Replica()
		one.Says("hi").Expects("What would you like?")
		two.Says("tea").Expects("How many?")
		two.Kill(0)
		one.Says("3").Expects("3 tea, coming up.")
		two.Says("4").Expects()
		two.Restart()
		two.Says("hi").Expects("What would you like?")
	})
}

// TestAProcessMayEndAtAnyStep: what was answered is remembered, and what was
// not is asked again, at whatever step the process ends.
func TestAProcessMayEndAtAnyStep(t *testing.T) {
	for n := 0; ; n++ {
		alive := true
		synctest.Test(t, func(t *testing.T) {
			c := bottest.New(t, over(state.NewMemory()))
			c.Kill(n)
			c.Says("hi")
			answered := len(c.Sent()) == 1
			saved := n >= 3 // it reads, sends, and writes
			alive = c.Alive()
			c.Restart()
			want := "What would you like?"
			if saved {
				want = "How many?"
			}
			if answered != (n >= 2) {
				t.Errorf("after %d steps, answered is %v", n, answered)
			}
			c.Says("tea").Expects(want)
		})
		if alive {
			if n != 4 {
				t.Errorf("it took %d steps, want 3", n-1)
			}
			return
		}
	}
}

// TestPlayComparesAndRewrites runs this test program on a transcript.
func TestPlayComparesAndRewrites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t.txt")
	play := func(script string, flags ...string) (output, after string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], append(flags, "-test.run=^TestPlayOne$")...)
		cmd.Env = append(os.Environ(), "BOTTEST_TRANSCRIPT="+file)
		out, _ := cmd.CombinedOutput()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(out), string(data)
	}
	const right, wrong = "# c\n> hi\n< What would you like?\n", "# c\n> hi\n< Hello.\n> tea"
	if out, after := play(right); !strings.HasPrefix(out, "PASS") || after != right {
		t.Errorf("a right one: %s\n%s", out, after)
	}
	if out, after := play(wrong); !strings.Contains(out, "t.txt:3: the bot has\n") || !strings.Contains(out, "FAIL") || after != wrong {
		t.Errorf("a wrong one: %s\n%s", out, after)
	}
	if out, after := play(wrong, "-update"); !strings.HasPrefix(out, "PASS") || after != right+"> tea\n< How many?\n" {
		t.Errorf("a wrong one to be rewritten: %s\n%s", out, after)
	}
	if out, after := play("? hi\n> hi", "-update"); !strings.Contains(out, `t.txt:1: no line begins with "?"`) || after != "? hi\n> hi" {
		t.Errorf("what is no transcript: %s\n%s", out, after)
	}
	if out, _ := play(strings.ReplaceAll(right, "\n", "\r\n")); !strings.HasPrefix(out, "PASS") {
		t.Errorf("one with other line ends: %s", out)
	}
}

// TestPlayOne plays the transcript of TestPlayComparesAndRewrites.
func TestPlayOne(t *testing.T) {
	if file := os.Getenv("BOTTEST_TRANSCRIPT"); file != "" {
		bottest.Play(t, file, newBot)
	}
}

// reminding returns a bot that writes again a minute after each message, after
// no two of them at the same instant.
func reminding() bottest.Program {
	return func(base core.Adapter) (http.Handler, func(context.Context) error) {
		adapter := bot.NewAdapter(base)
		var reminders sync.WaitGroup
		var n atomic.Int64
		stop := make(chan struct{})
		return adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
				ref := turn.Reference()
				reminders.Go(func() {
					select {
					case <-time.After(time.Minute + time.Duration(n.Add(1))):
						adapter.Continue(context.Background(), ref, func(ctx context.Context, turn *bot.Turn) error {
							_, err := turn.SendText(ctx, "a minute later")
							return err
						})
					case <-stop:
					}
				})
				if turn.Activity.Text == "hi" {
					return nil
				}
				_, err := turn.SendText(ctx, turn.Activity.Text+"\n\r\n!")
				return err
			}), func(ctx context.Context) error {
				close(stop)
				reminders.Wait()
				return adapter.Close(ctx)
			}
	}
}
