package bottest_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/botlapse/botlapse/bottest"
)

func TestWhatIsNoTranscriptIsAnError(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"nothing", "", "1: nobody says anything"},
		{"a bot that talks to itself", "# c\n< hi\n", "1: nobody says anything"},
		{"an unknown line", "> hi\nhello\n", `2: no line begins with "h"`},
		{"an indented line", "  > hi\n> hi\n", `1: no line begins with " "`},
		{"a line that continues nothing", "| more\n> hi\n", `1: no line begins with "|"`},
		{"a comment that goes on", "# c\n| more\n> hi\n", "1: only what somebody says goes on in a line that begins with |"},
		{"a silence that is no time", "> hi\n< x\n| y\n+half an hour\n", `4: "half an hour" is no time to be silent`},
		{"a silence that goes back", "> hi\n+-1s\n", `2: "-1s" is no time to be silent`},
		{"a silence beyond the end of time", "> hi\n+1000000h\n+1000000h\n", `3: "1000000h" is no time to be silent`},
		{"a user without channel", "@ada\n> hi\n", "1: after @ there are a channel, a user, and perhaps a conversation"},
		{"a word too much", "@webchat ada c1 x\n> hi\n", "1: after @ there are a channel, a user, and perhaps a conversation"},
		{"an unknown happening", "> hi\n! explode\n", "2: after ! there is one of: kill, restart, refuse 403, delay 10s, accept"},
		{"a status that is no refusal", "> hi\n! refuse 200\n", "2: after ! there is one of: kill, restart, refuse 403, delay 10s, accept"},
		{"a delay that is no time", "> hi\n! delay long\n", "2: after ! there is one of: kill, restart, refuse 403, delay 10s, accept"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{TB: t}
				if _, err := bottest.PlayScript(r, newBot, test.script); err == nil || err.Error() != test.want {
					t.Errorf("error is %v, want %s", err, test.want)
				}
				r.end()
			})
		})
	}
}

// TestWhatIsSaidElsewhereStandsBehindItsName, whoever has written before.
func TestWhatIsSaidElsewhereStandsBehindItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, err := bottest.PlayScript(t, reminding(), `
@webchat ada
> hi
@webchat bob team
> hi
+1m1s
> again
@webchat ada
+1h
@webchat bob team
< stale
`)
		want := `
@webchat ada
> hi
@webchat bob team
> hi
+1m1s
@webchat ada
< a minute later
@webchat bob team
< a minute later
> again
< again
|
| !
@webchat ada
+1h
@webchat bob team
< a minute later
`
		if err != nil || got != want {
			t.Errorf("played was (%v)\n%s\nwant\n%s", err, got, want)
		}
	})
}

// FuzzTranscript plays whatever it is, and what comes out of that again: it
// must be the same.
func FuzzTranscript(f *testing.F) {
	for _, script := range []string{
		"> hi\n", "# c\n\n@a b\n> hi\n| there\n+1m\n< x\n| y\n", "> {\"type\":\"typing\"}\n@a b c\n! kill\n> x\n! restart\n> x\n",
		"! refuse 503\n> hi\n= 500 the turn failed\n! accept\n> hi\n", "! delay 20s\n> hi\n+5s\n> you\n+1m\n", "@c u\n@d v\n> hi\n@c u\n> hi\n@d v\n+1h\n",
	} {
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script string) {
		if strings.Count(script, "\n") > 50 {
			return
		}
		play := func(script string) (got string, err error) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{TB: t}
				got, err = bottest.PlayScript(r, reminding(), script)
				r.end()
			})
			return got, err
		}
		once, err := play(script)
		if err != nil {
			return
		}
		if again, err := play(once); err != nil || again != once {
			t.Errorf("played was\n%q\nand then (%v)\n%q", once, err, again)
		}
	})
}
