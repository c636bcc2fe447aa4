package bot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// An outage is what is away, and how, from begin for length.
type outage struct {
	begin                time.Time
	length               time.Duration
	reads, writes, sends bool
	hangs                bool // what is asked has no answer, instead of an error
	lost                 bool // what is asked is carried out, and the answer lost
}

func (o *outage) lasts() bool {
	return !time.Now().Before(o.begin) && time.Now().Before(o.begin.Add(o.length))
}

var errAway = errors.New("away")

// A site is a storage and a channel, and the processes of a bot between them, of
// which one runs at a time.
type site struct {
	outage
	handle func(p *process) bot.Handler
	open   func(p *process) state.Storage

	mu      sync.Mutex
	process *process
	got     map[string]int // how often the channel got which text from the bot
}

// A process is one run of the bot. What it does after its end reaches nobody.
type process struct {
	*site
	dead    chan struct{}
	handler http.Handler

	conversation, user     *state.Scope
	inConversation, ofUser *state.Property[int]
}

// start starts a process.
func (s *site) start(t *testing.T) {
	p := &process{site: s, dead: make(chan struct{})}
	discard := slog.New(slog.DiscardHandler)
	base, err := connector.New(&connector.Options{Transport: p, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	storage := s.open(p)
	p.conversation, p.user = state.NewConversation(storage), state.NewUser(storage)
	p.inConversation, p.ofUser = state.NewProperty[int](p.conversation, "count"), state.NewProperty[int](p.user, "count")
	adapter := bot.NewAdapter(base, middleware.AutoSave(p.conversation, p.user), middleware.Expire(p.conversation, timeout, nil))
	adapter.Logger = discard
	p.handler = adapter.HTTPHandler(s.handle(p))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = p
}

// kill ends the process that runs, and starts another one.
func (s *site) kill(t *testing.T) {
	close(s.running().dead)
	s.start(t)
}

func (s *site) running() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// ask returns when what a process asks for has its answer.
func (p *process) ask(ctx context.Context, affected bool) error {
	away := affected && p.lasts()
	if away && p.hangs {
		select {
		case <-time.After(time.Until(p.begin.Add(p.length))):
		case <-ctx.Done():
			return ctx.Err()
		case <-p.dead:
		}
		away = false
	}
	select {
	case <-p.dead:
		return errAway
	default:
	}
	if away {
		return errAway
	}
	return nil
}

// RoundTrip carries what the connector sends to the channel.
func (p *process) RoundTrip(r *http.Request) (*http.Response, error) {
	var a schema.Activity
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		return nil, err
	}
	arrived := p.sends && p.lost && p.lasts()
	if arrived {
		p.get(a.Text)
	}
	if err := p.ask(r.Context(), p.sends); err != nil {
		return nil, err
	}
	if !arrived {
		p.get(a.Text)
	}
	return &http.Response{StatusCode: http.StatusCreated, Body: io.NopCloser(strings.NewReader(`{"id":"r1"}`)), Request: r}, nil
}

func (s *site) get(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got[text]++
}

const (
	patience = 15 * time.Second // of the channel, for an answer
	pause    = time.Second      // before it delivers again
)

// activity returns a message as the channel has it.
func (m said) activity(id int) string {
	return fmt.Sprintf(`{%s,"id":"%d","text":%q,"channelId":"test","serviceUrl":"http://localhost/channel",`+
		`"conversation":{"id":%q},"from":{"id":"u of %[4]s"},"recipient":{"id":"bot"}}`, m.kind, id, m.text, m.conversation)
}

// post delivers an activity to a process once.
func (p *process) post(activity string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "http://localhost/api/messages", strings.NewReader(activity))
	r.RemoteAddr = "127.0.0.1:1"
	p.handler.ServeHTTP(w, r)
	return w
}

// deliver delivers an activity until it is acknowledged, and returns the answer.
func (s *site) deliver(activity string) (answer string) {
	for {
		p := s.running()
		var w *httptest.ResponseRecorder
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			w = p.post(activity)
		}()
		select {
		case <-answered:
			if w.Code == http.StatusOK {
				return w.Body.String()
			}
		case <-p.dead:
		case <-time.After(patience):
		}
		time.Sleep(pause)
	}
}

// A faulty is a storage that a process shares with others, and that is away now
// and then.
type faulty struct {
	state.Storage
	*process
}

func (f faulty) Read(ctx context.Context, keys []string) (map[string]state.Item, error) {
	if err := f.ask(ctx, f.reads); err != nil {
		return nil, err
	}
	return f.Storage.Read(ctx, keys)
}

func (f faulty) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	if err := f.ask(ctx, f.writes); err != nil {
		return nil, err
	}
	return f.Storage.Write(ctx, items)
}

// inMemory returns a storage that all processes open.
func inMemory() func(*process) state.Storage {
	memory := state.NewMemory()
	return func(p *process) state.Storage { return faulty{memory, p} }
}

// count counts a message in conversation and user state.
func (p *process) count(ctx context.Context) error {
	for _, property := range []*state.Property[int]{p.inConversation, p.ofUser} {
		n, err := property.GetOr(ctx, 0)
		if err != nil {
			return err
		}
		if err := property.Set(ctx, n+1); err != nil {
			return err
		}
	}
	return nil
}

// answer answers the message.
func answer(ctx context.Context, turn *bot.Turn) error {
	text := "re " + turn.Activity.Text
	if turn.Activity.Type == schema.Invoke {
		turn.SetInvokeResponse(http.StatusOK, text)
		return nil
	}
	_, err := turn.SendText(ctx, text)
	return err
}

// bots are what a bot may do in a turn.
var bots = []struct {
	name   string
	once   bool // it answers once in an outage of the storage
	handle func(p *process) bot.Handler
}{
	{"counts and answers", true, func(p *process) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			if err := p.count(ctx); err != nil {
				return err
			}
			return answer(ctx, turn)
		}
	}},
	{"says that it is typing, counts and answers", true, func(p *process) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			if _, err := turn.Send(ctx, schema.Activity{Type: schema.Typing}); err != nil {
				return err
			}
			if err := p.count(ctx); err != nil {
				return err
			}
			return answer(ctx, turn)
		}
	}},
	{"answers and counts", false, func(p *process) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			if err := answer(ctx, turn); err != nil {
				return err
			}
			return p.count(ctx)
		}
	}},
	{"says something, counts and answers", false, func(p *process) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			if _, err := turn.SendText(ctx, "moment"); err != nil {
				return err
			}
			if err := p.count(ctx); err != nil {
				return err
			}
			return answer(ctx, turn)
		}
	}},
}

// A said is one message of a user.
type said struct {
	after        time.Duration // when it is sent
	conversation string
	text, kind   string
}

const (
	aPlain   = `"type":"message"`
	aReplies = `"type":"message","deliveryMode":"expectReplies"`
	anInvoke = `"type":"invoke"`
)

var messages = []said{
	{0, "c1", "a", aPlain},
	{500 * time.Millisecond, "c1", "b", aPlain},
	{11 * time.Second, "c1", "c", aPlain},
	{14 * time.Second, "c2", "d", aPlain},
}

var all = append(messages,
	said{2 * time.Second, "c3", "e", aReplies},
	said{3 * time.Second, "c4", "f", anInvoke})

// play has messages delivered, kills the process unless kill is 0, and checks
// what the storage and the channel have at the end.
func (s *site) play(t *testing.T, messages []said, once bool, kill time.Duration) {
	t.Helper()
	s.got = make(map[string]int)
	s.begin = time.Now()
	s.start(t)
	var deliveries sync.WaitGroup
	for i, m := range messages {
		deliveries.Go(func() {
			time.Sleep(m.after)
			if strings.Contains(s.deliver(m.activity(i)), "re "+m.text) {
				s.get("re " + m.text)
			}
		})
	}
	if kill > 0 {
		time.Sleep(time.Until(s.begin.Add(kill)))
		s.kill(t)
	}
	deliveries.Wait()
	time.Sleep(5 * time.Minute) // of what was acknowledged, all has ended

	want := make(map[string]int)
	for _, m := range messages {
		want[m.conversation]++
		if n := s.got["re "+m.text]; n == 0 || once && kill == 0 && n != 1 {
			t.Errorf("%q was answered %d times", m.text, n)
		}
	}
	p := s.running()
	for conversation, n := range want {
		ctx := state.NewContext(t.Context(), state.IDs{Channel: "test", Conversation: conversation, User: "u of " + conversation})
		here, _, err1 := p.inConversation.Get(ctx)
		inAll, _, err2 := p.ofUser.Get(ctx)
		if err := errors.Join(err1, err2); err != nil || here != n || inAll != n {
			t.Errorf("%s: counted were %d and %d messages (%v), want %d", conversation, here, inAll, err, n)
		}
	}
}

// kills are when processes are killed: never, before turns are acknowledged, when
// they may be, when they are given up, when the channel does that, and later.
var kills = []time.Duration{0, time.Second, 10500 * time.Millisecond, 13500 * time.Millisecond, 15500 * time.Millisecond, 30 * time.Second}

// lengths are those of outages. The last one is as long as a turn may take.
var lengths = []time.Duration{5 * time.Second, 20 * time.Second, 2 * time.Minute}

// eachOutage calls test in a bubble for outages of several lengths and kinds.
func eachOutage(t *testing.T, name string, o outage, lengths []time.Duration, test func(t *testing.T, o outage)) {
	for _, o.length = range lengths {
		for _, o.hangs = range []bool{true, false} {
			how := map[bool]string{true: "without an answer", false: "with errors"}[o.hangs]
			bubble(t, fmt.Sprintf("%s, %v %s", name, o.length, how), func(t *testing.T) {
				test(t, o)
			})
		}
	}
}

func TestT1NoMessageIsLostInAnOutageOfTheStorage(t *testing.T) {
	for _, b := range bots {
		for part, o := range map[string]outage{"of reads": {reads: true}, "of writes": {writes: true}, "from the start": {reads: true, writes: true}} {
			for _, kill := range kills {
				eachOutage(t, fmt.Sprintf("a bot that %s, %s, killed after %v", b.name, part, kill), o, lengths, func(t *testing.T, o outage) {
					s := &site{outage: o, handle: b.handle}
					s.open = inMemory()
					s.play(t, all, b.once, kill)
				})
			}
		}
	}
}

func TestT1NoMessageIsLostThroughAConnectorThatHangs(t *testing.T) {
	for _, b := range bots {
		for lost, o := range map[string]outage{"before": {sends: true}, "after": {sends: true, lost: true}} {
			for _, kill := range kills {
				eachOutage(t, fmt.Sprintf("a bot that %s, %s the channel has it, killed after %v", b.name, lost, kill), o, lengths, func(t *testing.T, o outage) {
					s := &site{outage: o, handle: b.handle}
					s.open = inMemory()
					s.play(t, all, false, kill)
				})
			}
		}
	}
}

// TestT1NoMessageIsLostInAnOutageOfCosmosDB has the storage repeat its requests
// as it does.
func TestT1NoMessageIsLostInAnOutageOfCosmosDB(t *testing.T) {
	b := bots[0]
	for part, o := range map[string]outage{"of reads": {reads: true}, "of writes": {writes: true}, "from the start": {reads: true, writes: true}} {
		for _, kill := range kills {
			eachOutage(t, fmt.Sprintf("%s, killed after %v", part, kill), o, lengths, func(t *testing.T, o outage) {
				s := &site{outage: o, handle: b.handle}
				s.open = inCosmosDB(t, s)
				s.play(t, all, o.length < lengths[2], kill)
			})
		}
	}
}

// TestT1AWriteWhoseAnswerWasLostCountsOnce has Cosmos DB carry out the first write
// of each item, and then be away for less than a turn may take.
func TestT1AWriteWhoseAnswerWasLostCountsOnce(t *testing.T) {
	b := bots[0]
	eachOutage(t, "of writes", outage{writes: true, lost: true}, lengths[:2], func(t *testing.T, o outage) {
		s := &site{outage: o, handle: b.handle}
		s.open = inCosmosDB(t, s)
		s.play(t, messages, b.once, 0)
	})
}

// TestT1AnOutageOfCosmosDBIsToldBeforeTheChannelGivesUp has the storage wait in
// each way that it has.
func TestT1AnOutageOfCosmosDBIsToldBeforeTheChannelGivesUp(t *testing.T) {
	for how, fault := range map[string]cosmostest.Fault{
		"does not answer":           {Hang: true},
		"is unavailable":            {Status: http.StatusServiceUnavailable},
		"is slow to be unavailable": {Status: http.StatusServiceUnavailable, Delay: 9 * time.Second},
		"is too much":               {Status: http.StatusTooManyRequests, RetryAfter: 5 * time.Second},
		"cannot be reached":         {Reset: true},
	} {
		for op, away := range map[string]func(cosmostest.Op) bool{
			"account": func(cosmostest.Op) bool { return true },
			"read":    func(op cosmostest.Op) bool { return op == cosmostest.ReadItem },
			"write":   func(op cosmostest.Op) bool { return op == cosmostest.CreateItem },
		} {
			bubble(t, "the "+op+" "+how, func(t *testing.T) {
				s := &site{handle: func(p *process) bot.Handler {
					return func(ctx context.Context, turn *bot.Turn) error { return p.count(ctx) }
				}}
				server := newCosmosDB(t)
				var back atomic.Bool
				server.Fault = func(r cosmostest.Request) (f cosmostest.Fault) {
					if away(r.Op) && !back.Load() {
						return fault
					}
					return f
				}
				s.open = openCosmosDB(t, server)
				s.start(t)
				begin := time.Now()
				w := s.running().post(messages[0].activity(0))
				if took := time.Since(begin); w.Code != 500 || took > 13*time.Second {
					t.Errorf("answered with %d after %v", w.Code, took)
				}
				back.Store(true)
				time.Sleep(time.Second) // for which the account is not looked for again
				if w := s.running().post(messages[0].activity(0)); w.Code != 200 {
					t.Errorf("then it is answered with %d", w.Code)
				}
			})
		}
	}
}

func newCosmosDB(t *testing.T) *cosmostest.Server {
	server := cosmostest.New()
	if err := server.CreateContainer("bot", `{"id":"state","partitionKey":{"paths":["/id"],"kind":"Hash"},"defaultTtl":-1}`); err != nil {
		t.Fatal(err)
	}
	return server
}

// openCosmosDB returns what opens the storage in server for a process.
func openCosmosDB(t *testing.T, server *cosmostest.Server) func(*process) state.Storage {
	return func(p *process) state.Storage {
		account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: wire{server, p}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(account.Close)
		return cosmos.New(account, "bot", "state", nil)
	}
}

// inCosmosDB returns a storage that all processes open.
func inCosmosDB(t *testing.T, s *site) func(*process) state.Storage {
	server := newCosmosDB(t)
	carriedOut := make(map[string]bool) // items of which a write was
	server.Fault = func(r cosmostest.Request) (f cosmostest.Fault) {
		isWrite := r.Op == cosmostest.CreateItem || r.Op == cosmostest.ReplaceItem || r.Op == cosmostest.UpsertItem
		if !s.lasts() || isWrite && !s.writes || !isWrite && !s.reads {
			return f
		}
		if s.hangs {
			f.Hang = true
		} else {
			f.Status = http.StatusServiceUnavailable
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		f.Committed = isWrite && s.lost && !carriedOut[r.Item]
		carriedOut[r.Item] = true
		return f
	}
	return openCosmosDB(t, server)
}

// A wire carries the requests of a process to an account, until its end.
type wire struct {
	*cosmostest.Server
	p *process
}

func (w wire) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-w.p.dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := w.p.ask(ctx, false); err != nil {
		return nil, err
	}
	return w.Server.Do(r.WithContext(ctx))
}
