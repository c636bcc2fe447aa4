package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"
	"github.com/spf13/cobra"
)

// maxLine is the longest line that chat reads, in bytes.
const maxLine = 256 << 10

func (p *program) chatCommand() *cobra.Command {
	var user, channel string
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Talk to the bot in the terminal",
		Long:  "Talk to the bot in the terminal, without network. The end of input ends it.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(p.lookup, p.envFile)
			if user == "" {
				err = errors.Join(err, errors.New("--user is empty"))
			}
			if channel == "" {
				err = errors.Join(err, errors.New("--channel is empty"))
			}
			if err != nil {
				return err
			}
			return p.chat(cmd.Context(), c, user, channel)
		},
	}
	cmd.Flags().StringVar(&user, "user", "you", "id of the user")
	cmd.Flags().StringVar(&channel, "channel", "emulator", "id of the channel, which decides how choices are shown")
	return cmd
}

// chat reads messages until the end of input or until ctx is done.
func (p *program) chat(ctx context.Context, c *config, user, channel string) error {
	kept, file, err := c.openLocal()
	if err != nil {
		return err
	}
	defer file.Close()
	c.logLevel = max(c.logLevel, slog.LevelWarn) // what happens can be seen
	logger := p.logger(c)
	partner, err := newBot(&terminal{out: p.stdout}, kept, c, logger)
	if err != nil {
		return err
	}
	defer partner.adapter.Close(context.WithoutCancel(ctx))
	defer partner.start()(context.WithoutCancel(ctx))
	ask := func() {}
	if f, ok := p.stdin.(*os.File); ok && isTerminal(f) {
		fmt.Fprintln(p.stdout, hello(c))
		ask = func() { fmt.Fprint(p.stdout, "> ") }
	}
	lines, readErr := readLines(ctx, p.stdin)
	conversation := "chat" // goes on where it was left, if state is kept in a file
	if c.stateFile == "" {
		conversation = rand.Text()
	}
	for n := 1; ; n++ {
		ask()
		var line string
		select {
		case <-ctx.Done():
			return nil
		case l, ok := <-lines:
			if !ok {
				return *readErr
			}
			line = l
		}
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		err := partner.adapter.Process(ctx, schema.Activity{
			Type:         schema.Message,
			ID:           strconv.Itoa(n),
			Timestamp:    time.Now().UTC(),
			ChannelID:    channel,
			From:         schema.ChannelAccount{ID: user, Name: user},
			Recipient:    schema.ChannelAccount{ID: "bot"},
			Conversation: schema.ConversationAccount{ID: conversation},
			Locale:       "en-US",
			Text:         line,
		}, partner.handle)
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(p.stderr, "botlapse: the turn failed:", err)
		}
	}
}

func hello(c *config) string {
	switch {
	case c.policyFile != "":
		return fmt.Sprintf("Say something. %s says what happens when you fall silent. Ctrl-D ends it.", c.policyFile)
	case c.expireAfter == 0:
		return "Say something. The conversation never expires. Ctrl-D ends it."
	}
	return fmt.Sprintf("Say something. After %v of silence the bot starts over. Ctrl-D ends it.", c.expireAfter)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// readLines sends the lines of r until its end, an error, or until ctx is done
// and another line comes. The error is set before the channel is closed.
func readLines(ctx context.Context, r io.Reader) (<-chan string, *error) {
	lines, err := make(chan string), new(error)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(r)
		s.Buffer(nil, maxLine)
		for s.Scan() {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
		if *err = s.Err(); errors.Is(*err, bufio.ErrTooLong) {
			*err = fmt.Errorf("a line is longer than %d bytes", maxLine)
		}
	}()
	return lines, err
}

var errNoRequests = errors.New("a terminal has no HTTP requests")

// A terminal is a core.Adapter that prints what the bot sends.
type terminal struct {
	mu   sync.Mutex
	out  io.Writer
	sent int
}

func (t *terminal) SendActivity(ctx context.Context, a schema.Activity) (id string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent++
	if a.Type == schema.Message {
		_, err = io.WriteString(t.out, format(a))
	}
	return "bot-" + strconv.Itoa(t.sent), err
}

// format returns the lines by which a message is shown.
func format(a schema.Activity) string {
	var b strings.Builder
	if a.Text != "" {
		fmt.Fprintf(&b, "%s\n", a.Text)
	}
	var titles []string
	for _, action := range a.SuggestedActions.Actions {
		titles = append(titles, action.Title)
	}
	for _, attachment := range a.Attachments {
		if attachment.ContentType == "application/vnd.microsoft.card.hero" {
			var card struct {
				Text    string
				Buttons []struct{ Title string }
			}
			if data, err := json.Marshal(attachment.Content); err == nil {
				json.Unmarshal(data, &card) // what is no card shows nothing
			}
			if card.Text != "" {
				fmt.Fprintf(&b, "%s\n", card.Text)
			}
			for _, button := range card.Buttons {
				titles = append(titles, button.Title)
			}
			continue
		}
		fmt.Fprintf(&b, "[%s %s]\n", attachment.ContentType, attachment.Name)
	}
	for i, title := range titles {
		fmt.Fprintf(&b, "  (%d) %s", i+1, title)
	}
	if len(titles) > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

func (t *terminal) ParseRequest(context.Context, *http.Request) (schema.Activity, error) {
	return schema.Activity{}, errNoRequests
}

func (t *terminal) ProcessActivity(context.Context, schema.Activity, activity.Handler) error {
	return errNoRequests
}

func (t *terminal) ProactiveMessage(context.Context, schema.ConversationReference, activity.Handler) error {
	return errNoRequests
}

func (t *terminal) DeleteActivity(context.Context, string, schema.ConversationReference) error {
	return nil // what is printed stays printed
}

func (t *terminal) UpdateActivity(ctx context.Context, a schema.Activity) error {
	_, err := t.SendActivity(ctx, a)
	return err
}
