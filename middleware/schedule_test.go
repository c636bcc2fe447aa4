package middleware_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// A version is a document that was stored.
type version struct {
	at           time.Time
	LastAccessed time.Time       `json:"lastAccessed"`
	Count        int             `json:"count"`
	Record       json.RawMessage `json:"botlapse.session"`
	Cleared      string          `json:"botlapse.cleared"`
}

// telling reports whether the user is to be told.
func (v version) telling() bool { return strings.Contains(string(v.Record), `"say"`) }

// A slowStorage takes its time, and keeps all versions of the documents.
type slowStorage struct {
	state.Storage
	random *rand.Rand

	mu       sync.Mutex
	versions map[string][]version
}

func (s *slowStorage) pause() {
	s.mu.Lock()
	d := time.Duration(s.random.Int64N(int64(20 * time.Millisecond)))
	s.mu.Unlock()
	time.Sleep(d)
}

func (s *slowStorage) Read(ctx context.Context, keys []string) (map[string]state.Item, error) {
	s.pause()
	defer s.pause()
	return s.Storage.Read(ctx, keys)
}

func (s *slowStorage) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	s.pause()
	defer s.pause()
	s.mu.Lock()
	defer s.mu.Unlock()
	etags, err := s.Storage.Write(ctx, items)
	for key, item := range items {
		v := version{at: time.Now()}
		if err == nil && json.Unmarshal(item.Value, &v) == nil {
			s.versions[key] = append(s.versions[key], v)
		}
	}
	return etags, err
}

// Each of 2 000 schedules is of one user who writes six times, now soon, now
// close to the end of the timeout, now long after it, to any of three replicas
// that look at the conversation at the same time.
const (
	bubbles       = 20
	conversations = 100 // in each
	messages      = 6
)

func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(bubbles) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runSchedules(t, seed) })
		})
	}
}

func runSchedules(t *testing.T, seed uint64) {
	world := newShared()
	world.timeout = time.Minute
	slow := &slowStorage{Storage: world.storage, random: rand.New(rand.NewPCG(seed, 0)), versions: make(map[string][]version)}
	world.storage = slow
	var replicas []*replica
	for range 3 {
		replicas = append(replicas, world.start(t, middleware.SessionsOptions{MessagesPerSecond: -1}))
	}
	var users sync.WaitGroup
	for i := range conversations {
		random := rand.New(rand.NewPCG(seed, uint64(i)+1))
		users.Go(func() {
			for range messages {
				switch random.IntN(4) {
				case 0:
					time.Sleep(time.Duration(random.Int64N(int64(world.timeout))))
				case 1:
					time.Sleep(2 * world.timeout)
				default: // close to the end
					time.Sleep(world.timeout + time.Duration(random.Int64N(int64(200*time.Millisecond))) - 100*time.Millisecond)
				}
				if err := replicas[random.IntN(3)].try(t, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	time.Sleep(3 * world.timeout)
	synctest.Wait()

	sent := world.channel.take()
	for i := range conversations {
		id := fmt.Sprint(i)
		farewells, notices, replies := 0, 0, 0
		for _, line := range sent {
			switch _, text, _ := strings.Cut(line, " "+id+": "); {
			case text == farewell:
				farewells++
			case text == notice:
				notices++
			case text != "":
				replies++
			}
		}
		var told, found, dropped, turns int
		var last version
		var answered time.Time // the input that was answered last
		for _, v := range slow.versions["test/conversations/"+id] {
			if last.telling() && v.LastAccessed != last.LastAccessed {
				dropped++ // the user wrote while somebody was about to tell
			}
			switch idle := v.at.Sub(last.LastAccessed); {
			case v.Cleared != last.Cleared: // it has expired
				if idle < world.timeout || v.Count > 0 {
					t.Errorf("%s was cleared after %v, count is %d", id, idle, v.Count)
				}
				if v.telling() {
					told++
				} else {
					found++
				}
			case v.Count != last.Count: // a message was answered
				turns++
				if v.Count != last.Count+1 || last.Count > 0 && v.LastAccessed.Sub(answered) >= world.timeout {
					t.Errorf("%s: %d was answered as message %d after %d, %v later", id, turns, v.Count, last.Count, v.LastAccessed.Sub(answered))
				}
				answered = v.LastAccessed
			}
			last = v
		}
		if turns != messages || replies < turns {
			t.Errorf("%s: %d messages were answered, %d replies sent", id, turns, replies)
		}
		if farewells > told || farewells < told-dropped || notices != found+dropped {
			t.Errorf("%s: %d expiries by themselves, %d told; %d found and %d interrupted, %d told on return", id, told, farewells, found, dropped, notices)
		}
		if last.Count != 0 || last.telling() {
			t.Errorf("%s: left is %+v", id, last)
		}
	}
	expectNone(t, world.store)
}
