package bottest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "have bottest.Play rewrite what bots say in transcripts")

// Play plays a transcript, a file, with a bot of its own in a bubble of its
// own, as the subtest that is called as the file. The test fails if the bot
// says something else than the transcript has. With the flag -update, Play
// writes into the file what the bot says, and leaves the other lines as they
// are. The package comment tells the form of transcripts.
func Play(t *testing.T, file string, program Program) {
	t.Helper()
	t.Run(filepath.Base(file), func(t *testing.T) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.TrimSuffix(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n") + "\n"
		var got string
		synctest.Test(t, func(t *testing.T) {
			got, err = play(New(t, program), want)
		})
		switch {
		case err != nil:
			t.Errorf("%s:%v", file, err)
		case got == want:
		case *update:
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Error(err)
			}
		default:
			n, is, has := difference(got, want)
			t.Errorf("%s:%d: the bot has\n\t%s\nthe transcript has\n\t%s\nIf the bot is right, -update rewrites the transcript. This is what was played:\n%s", file, n, is, has, got)
		}
	})
}

// difference returns the number of the first line in which two texts differ,
// and what is there in each.
func difference(got, want string) (n int, is, has string) {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for n < len(a)-1 && n < len(b)-1 && a[n] == b[n] {
		n++
	}
	return n + 1, a[n], b[n]
}

// play plays a transcript and returns it with what the bot says. Its error
// begins with the number of a line.
func play(c *Chat, script string) (string, error) {
	p := &player{chat: c, at: c}
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, ">") }) {
		return "", errors.New("1: nobody says anything")
	}
	for i := 0; i < len(lines); {
		n := 1 // how many lines the text has
		for i+n < len(lines) && strings.HasPrefix(lines[i+n], "|") {
			n++
		}
		if err := p.play(lines[i : i+n]); err != nil {
			return "", fmt.Errorf("%d: %w", i+1, err)
		}
		i += n
	}
	return p.played.String(), nil
}

// A player plays one transcript.
type player struct {
	chat   *Chat // who talks
	at     *Chat // in which conversation the transcript is, by what was played
	named  bool  // it has said so
	played strings.Builder
}

// play plays a line, and what it is continued by.
func (p *player) play(lines []string) error {
	kind, rest := "", ""
	if strings.TrimSpace(lines[0]) != "" {
		kind, rest = lines[0][:1], strings.TrimPrefix(lines[0][1:], " ")
	}
	if len(lines) > 1 && !strings.Contains("><=", kind) {
		return errors.New("only what somebody says goes on in a line that begins with |")
	}
	switch kind {
	case "<", "=":
		return nil // the bot will tell
	case "@":
		return p.meet(rest)
	}
	if p.at.name() != p.chat.name() {
		p.show(p.chat)
	}
	p.write(lines...)
	switch kind {
	case "", "#":
		return nil
	case ">":
		text := rest
		for _, line := range lines[1:] {
			text += "\n" + strings.TrimPrefix(line[1:], " ")
		}
		p.chat.Says(text)
	case "+":
		d, err := time.ParseDuration(strings.TrimSpace(rest))
		if err != nil || d < 0 || tooLong(d) {
			return fmt.Errorf("%q is no time to be silent", rest)
		}
		p.chat.Silence(d)
	case "!":
		if err := p.happen(strings.Fields(rest)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("no line begins with %q", kind)
	}
	for _, e := range p.chat.root.take(func(*entry) bool { return true }) {
		p.report(e)
	}
	return nil
}

// meet changes who talks: a channel, a user, and a conversation if it is not
// called as the user.
func (p *player) meet(who string) error {
	words := strings.Fields(who)
	if len(words) == 2 {
		words = append(words, words[1])
	}
	if len(words) != 3 {
		return errors.New("after @ there are a channel, a user, and perhaps a conversation")
	}
	p.chat = p.chat.With(words[0], words[1], words[2])
	if !p.named {
		p.named, p.at = true, &Chat{}
	}
	return nil
}

// happen has something happen to the bot or to its channel.
func (p *player) happen(words []string) error {
	verb, object := "", ""
	switch len(words) {
	case 1:
		verb = words[0]
	case 2:
		verb, object = words[0], words[1]
	}
	status, _ := strconv.Atoi(object)
	d, err := time.ParseDuration(object)
	switch {
	case verb == "kill" && object == "":
		p.chat.Kill(0)
	case verb == "restart" && object == "":
		p.chat.Restart()
	case verb == "accept" && object == "":
		p.chat.Channel.Answers(nil)
	case verb == "refuse" && status >= 300 && status <= 599:
		p.chat.Channel.Refuses(status)
	case verb == "delay" && err == nil:
		p.chat.Channel.Delays(d)
	default:
		return errors.New("after ! there is one of: kill, restart, refuse 403, delay 10s, accept")
	}
	synctest.Wait()
	return nil
}

// report writes down what the bot has sent or answered.
func (p *player) report(e *entry) {
	if a := e.activity; !p.at.has(e) {
		p.show(p.chat.With(a.ChannelID, a.Recipient.ID, a.Conversation.ID))
	}
	kind := "<"
	if e.answer {
		kind = "="
	}
	for line := range strings.SplitSeq(e.text, "\n") {
		if line != "" {
			line = " " + line
		}
		p.write(kind + line)
		kind = "|"
	}
}

// show writes down in which conversation the transcript goes on.
func (p *player) show(c *Chat) {
	p.at = c
	p.write(c.name())
}

func (p *player) write(lines ...string) {
	for _, line := range lines {
		p.played.WriteString(line + "\n")
	}
}

// name returns the line by which a transcript names a chat.
func (c *Chat) name() string {
	name := "@" + c.channel + " " + c.user
	if c.conversation != c.user {
		name += " " + c.conversation
	}
	return name
}
