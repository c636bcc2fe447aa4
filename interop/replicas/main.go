//go:build unix

// Command replicas lets conversations fall silent at once on three processes of
// the bot that share a Cosmos DB, kills one of them and holds up another while
// they say goodbye, and counts who was told.
//
//	go run ./interop/replicas
//
// It needs no account: the database is an imitation in its own process.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

const (
	replicas = 3
	farewell = "Goodbye."

	// timeout is how long users are silent. All have written before.
	timeout = 20 * time.Second

	// frozen is how long a process is held up, longer than its leases.
	frozen = 40 * time.Second

	// inFlight is how many users a process tells at once.
	inFlight = 64
)

func main() {
	conversations := flag.Int("conversations", 2000, "how many fall silent")
	once := flag.Bool("once", false, "tell at most once, rather than at least once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *conversations, *once); err != nil {
		fmt.Fprintln(os.Stderr, "replicas:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, conversations int, once bool) error {
	folder, err := os.MkdirTemp("", "replicas")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, "botlapse")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/botlapse/botlapse/cmd/botlapse")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	service := cosmostest.New()
	endpoint, closeService, err := serve(service)
	if err != nil {
		return err
	}
	defer closeService()
	users := &users{told: make(map[string]int), changed: make(chan struct{}, 1)}
	channel, closeChannel, err := serve(users)
	if err != nil {
		return err
	}
	defer closeChannel()

	var processes []*process
	for range replicas {
		p, err := start(ctx, program, endpoint, service.Key, once)
		if err != nil {
			return err
		}
		defer p.end()
		processes = append(processes, p)
	}
	begin := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%6.1f s  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
	if err := write(ctx, processes, channel, conversations); err != nil {
		return err
	}
	say("%d users have written, to %d processes", conversations, replicas)

	if err := users.wait(ctx, conversations/10, 2*timeout); err != nil {
		return err
	}
	processes[0].signal(syscall.SIGKILL)
	say("killed a process; %d users were told", users.count())
	processes[1].signal(syscall.SIGSTOP)
	say("held up another one; %d users were told", users.count())
	select {
	case <-time.After(frozen):
	case <-ctx.Done():
		return ctx.Err()
	}
	processes[1].signal(syscall.SIGCONT)
	say("woke it up; %d users were told", users.count())
	if err := users.wait(ctx, conversations, frozen); errors.Is(err, errQuiet) {
		say("nothing happens any more")
	} else if err != nil {
		return err
	}
	for _, p := range processes[1:] {
		if err := p.end(); err != nil {
			return err
		}
	}
	return report(ctx, endpoint, service.Key, users, conversations, once, say)
}

// report counts who was told and what is left, and says what is wrong with it.
func report(ctx context.Context, endpoint, key string, users *users, conversations int, once bool, say func(string, ...any)) error {
	account, err := cosmos.NewAccount(endpoint, &cosmos.AccountOptions{Key: key})
	if err != nil {
		return err
	}
	defer account.Close()
	var keys []string
	for i := range conversations {
		keys = append(keys, fmt.Sprint("test/conversations/", i))
	}
	items, err := cosmos.New(account, "bot", "conversations", nil).Read(ctx, keys)
	if err != nil {
		return err
	}
	full, deadlines := 0, 0
	for _, item := range items {
		if strings.Contains(string(item.Value), "dialogs") {
			full++
		}
	}
	for _, err := range cosmos.NewDeadlines(account, "bot", "deadlines", nil).All(ctx) {
		if err != nil {
			return err
		}
		deadlines++
	}
	var single, more int
	for _, n := range users.told {
		if n == 1 {
			single++
		} else {
			more++
		}
	}
	never := conversations - single - more
	say("told once: %d, more than once: %d, never: %d", single, more, never)
	say("conversations: %d, of them with state left: %d; deadlines left: %d", len(items), full, deadlines)
	// Whom the process was telling that was killed, and with at least once that which
	// was held up, nobody can know to be told.
	switch {
	case full > 0 || deadlines > 0 || len(items) != conversations:
		return errors.New("not all conversations are over")
	case once && (more > 0 || never > inFlight):
		return fmt.Errorf("nobody may be told twice, and %d at most not at all", inFlight)
	case !once && (never > 0 || more > 2*inFlight):
		return fmt.Errorf("everybody must be told, and %d at most more than once", 2*inFlight)
	}
	return nil
}

// serve serves a handler on a free port of this machine.
func serve(h http.Handler) (url string, stop func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: h}
	go server.Serve(listener)
	return "http://" + listener.Addr().String(), server.Close, nil
}

// write has all users write once, to one process after the other.
func write(ctx context.Context, processes []*process, channel string, conversations int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}
	defer client.CloseIdleConnections()
	var writing sync.WaitGroup
	failed := make([]error, inFlight)
	for w := range failed {
		writing.Go(func() {
			for i := w; i < conversations && failed[w] == nil; i += inFlight {
				body := fmt.Sprintf(`{"type":"message","id":"m","text":"hi","channelId":"test","serviceUrl":%q,"conversation":{"id":"%d"},"from":{"id":"u%d"},"recipient":{"id":"bot"}}`, channel, i, i)
				failed[w] = post(ctx, client, processes[i%len(processes)].url, body)
			}
		})
	}
	writing.Wait()
	return errors.Join(failed...)
}

func post(ctx context.Context, client *http.Client, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the bot answered with %s", resp.Status)
	}
	return nil
}

// users are those of a channel, which count how often they are told.
type users struct {
	mu      sync.Mutex
	told    map[string]int
	changed chan struct{}
}

// ServeHTTP takes what the bot sends.
func (u *users) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var a struct {
		Text         string
		Conversation struct{ ID string }
	}
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	if a.Text == farewell {
		u.mu.Lock()
		u.told[a.Conversation.ID]++
		u.mu.Unlock()
		select {
		case u.changed <- struct{}{}:
		default:
		}
	}
	time.Sleep(50 * time.Millisecond) // as channels do
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, `{"id":"1"}`)
}

func (u *users) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.told)
}

var errQuiet = errors.New("nobody was told for a long time")

// wait waits until n users were told, as long as something happens.
func (u *users) wait(ctx context.Context, n int, patience time.Duration) error {
	for u.count() < n {
		select {
		case <-u.changed:
		case <-time.After(patience):
			return errQuiet
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// A process is one of the bot.
type process struct {
	cmd    *exec.Cmd
	url    string
	killed bool
	ended  bool
}

func start(ctx context.Context, program, endpoint, key string, once bool) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, program, "serve")}
	p.cmd.Dir = filepath.Dir(program)
	p.cmd.Env = []string{"PORT=0", "LOG_LEVEL=error", "CosmosDbEndpoint=" + endpoint, "CosmosDbAuthKey=" + key, "CosmosDbDatabaseId=bot", "CosmosDbCreateDatabase=true",
		fmt.Sprint("ExpireAfterSeconds=", timeout.Seconds()), "ExpireProactiveMessage=" + farewell, fmt.Sprint("AT_MOST_ONCE=", once)}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	var found bool
	if p.url, found = strings.CutPrefix(lines.Text(), "listening on "); !found {
		return nil, errors.Join(fmt.Errorf("the bot does not serve: %q", lines.Text()), p.end())
	}
	go io.Copy(io.Discard, out)
	return p, nil
}

func (p *process) signal(s syscall.Signal) {
	p.killed = p.killed || s == syscall.SIGKILL
	p.cmd.Process.Signal(s)
}

// end ends the process, which may be called again.
func (p *process) end() error {
	if p.ended {
		return nil
	}
	p.ended = true
	p.cmd.Process.Signal(syscall.SIGCONT)
	p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil && !p.killed {
		return fmt.Errorf("the bot has failed: %w", err)
	}
	return nil
}
