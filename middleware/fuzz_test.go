package middleware_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// FuzzSessions finds a conversation with any record, be it another version's or broken,
// and plays any schedule on it. No turn fails; nothing fires early, or twice in a
// session; and in the end all are told, and nobody looks any more.
func FuzzSessions(f *testing.F) {
	const began = `"session":"s1","began":"2000-01-01T00:00:00Z"`
	for i, record := range []string{
		`{}`, `null`, `7`, `{"session":7}`, `{` + began + `}`,
		`{` + began + `,"ended":"1999-12-31T00:00:00Z","on_return":"Welcome back."}`,
		`{` + began + `,"ended":"2100-01-01T00:00:00Z"}`,
		`{` + began + `,"asked":"2000-01-01T00:00:01Z","resolved":"2000-01-01T00:00:02Z","postponed":"2000-01-01T01:00:00Z","held":"2000-01-01T02:00:00Z"}`,
		`{` + began + `,"by":"agent","handed_off":"2000-01-01T00:00:00Z"}`,
		`{` + began + `,"fired":{"idle":{"mark":"1999-12-31T00:00:00Z","times":1,"at":"1999-12-31T00:30:00Z"}}}`,
		`{` + began + `,"fired":{"idle":{"times":-1},"other":{"vetoed":true}}}`,
		`{` + began + `,"open":{"action":{"say":"Goodbye."},"covers":true,"rule":"idle","at":"1999-12-31T23:59:59Z","due":"1999-12-31T23:59:59Z"}}`,
		`{` + began + `,"open":{"action":{"say":"Goodbye.","close":true},"at":"2000-01-01T00:00:00Z","due":"1990-01-01T00:00:00Z","tried":true}}`,
		`{` + began + `,"open":{"events":[{"kind":"ended","session":"s1","seq":1}]},"seq":-1}`,
	} {
		f.Add(`"2000-01-01T00:00:00Z"`, record, int64(time.Minute), []byte{byte(i), 0x21, 0x42, 0x13, 0x84, 0xf1})
	}
	f.Add(`946684800`, `{}`, int64(1), []byte{})
	f.Add(`"2999-01-01T00:00:00Z"`, `{}`, int64(time.Hour), []byte{0, 1})
	f.Add(`-1e12`, `{}`, int64(time.Hour), []byte{0x31, 2})
	f.Fuzz(func(t *testing.T, lastAccessed, record string, after int64, schedule []byte) {
		if !json.Valid([]byte(lastAccessed)) || !json.Valid([]byte(record)) || len(schedule) > 30 || after < 1 || after > int64(2*time.Hour) {
			return
		}
		synctest.Test(t, func(t *testing.T) { playOn(t, lastAccessed, record, time.Duration(after), schedule) })
	})
}

func playOn(t *testing.T, lastAccessed, record string, after time.Duration, schedule []byte) {
	var found map[string]json.RawMessage
	if json.Unmarshal([]byte(record), &found) == nil && found != nil {
		for name := range found {
			if strings.EqualFold(name, "armed") {
				delete(found, name) // or else it is taken for the truth
			}
		}
		encoded, err := json.Marshal(found)
		if err != nil {
			t.Fatal(err)
		}
		record = string(encoded)
	}
	s := newShared()
	s.timeout = after
	recording := &recorder{Storage: s.storage}
	s.storage = recording
	if _, err := s.storage.Write(t.Context(), map[string]state.Item{
		"test/conversations/a": {Value: fmt.Appendf(nil, `{"lastAccessed":%s,"botlapse.session":%s,"count":1}`, lastAccessed, record)},
	}); err != nil {
		t.Fatal(err)
	}
	r := s.start(t, middleware.SessionsOptions{Grace: 1000 * time.Hour})
	for _, b := range schedule {
		time.Sleep([]time.Duration{0, 1, after - 1, after, after / 2, 2 * after, time.Hour, 9 * time.Second}[b>>4&7])
		var err error
		switch b & 3 {
		case 0, 1:
			err = r.try(t, "a")
		case 2:
			err = r.event(t, "a", silent)
		case 3:
			err = r.adapter.Continue(t.Context(), referenceTo("a"), silent)
		}
		if err != nil {
			t.Errorf("%v: %v", time.Since(s.channel.begin), err)
		}
	}
	r.say(t, "a") // so that all is in order
	last := time.Now()
	synctest.Wait()
	s.channel.take()
	time.Sleep(after - 1)
	synctest.Wait()
	if sent := s.channel.take(); len(sent) > 0 {
		t.Errorf("%v after the last message, sent were %q", after-1, sent)
	}
	time.Sleep(time.Hour)
	if texts := only(s.channel); len(texts) != 1 || texts[0] != farewell {
		t.Errorf("sent were %q", texts)
	}
	expectNone(t, s.store)

	ends := make(map[string]int)
	var before policy.Record
	for _, v := range recording.versions {
		if v.record.Session == before.Session && before.Ended.IsZero() && !v.record.Ended.IsZero() {
			if ends[before.Session]++; ends[before.Session] > 1 {
				t.Errorf("session %s has ended twice", before.Session)
			}
			if silence := v.at.Sub(v.record.Input); silence < after {
				t.Errorf("session %s has ended after %v", before.Session, silence)
			}
		}
		before = v.record
	}
	if at := before.Ended; at.Before(last.Add(after)) || at.After(last.Add(after+11*time.Second)) {
		t.Errorf("the last input was at %v, the end at %v", last, at)
	}
}

// A recorder keeps the records that are stored.
type recorder struct {
	state.Storage
	versions []recorded
}

type recorded struct {
	at     time.Time
	record policy.Record
}

func (r *recorder) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	etags, err := r.Storage.Write(ctx, items)
	for _, item := range items {
		var document struct {
			LastAccessed json.RawMessage `json:"lastAccessed"`
			Record       policy.Record   `json:"botlapse.session"`
		}
		if err == nil && json.Unmarshal(item.Value, &document) == nil {
			var seconds float64 // as Python writes it
			if json.Unmarshal(document.LastAccessed, &seconds) == nil {
				document.Record.Input = time.Unix(int64(seconds), 0)
			} else if err := json.Unmarshal(document.LastAccessed, &document.Record.Input); err != nil {
				document.Record.Input = time.Time{}
			}
			r.versions = append(r.versions, recorded{time.Now(), document.Record})
		}
	}
	return etags, err
}
