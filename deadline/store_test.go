package deadline_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/deadline/deadlinetest"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

func TestMemory(t *testing.T) {
	deadlinetest.Run(t, func(t *testing.T) deadline.Store { return deadline.NewMemory() })
}

func TestBolt(t *testing.T) {
	deadlinetest.Run(t, func(t *testing.T) deadline.Store { return openBolt(t, filepath.Join(t.TempDir(), "state.db")) })
}

func openBolt(t testing.TB, path string) *deadline.Bolt {
	file, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	store, err := deadline.NewBolt(file.DB())
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// openCosmos returns what one process has of an account, in which it makes what is
// missing.
func openCosmos(t testing.TB, server *cosmostest.Server) (state.Storage, deadline.Store) {
	account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	initializer := &cosmos.Initializer{Account: account, Database: "bot", Conversation: "conversations", User: "users", Deadlines: "deadlines", TimeToLive: -1, CreateDatabase: true}
	if err := initializer.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cosmos.New(account, "bot", "conversations", nil), cosmos.NewDeadlines(account, "bot", "deadlines", nil)
}

// TestCorruptEntriesOfBoltAreInNobodysWay: they are listed as parked, and are
// replaced when they are armed anew.
func TestCorruptEntriesOfBoltAreInNobodysWay(t *testing.T) {
	file, err := bolt.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	store, err := deadline.NewBolt(file.DB())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	arm := func(key string, due time.Time) {
		t.Helper()
		if err := store.Arm(t.Context(), deadline.Deadline{Key: key, Due: due}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"a", "b", "c"} {
		arm(key, now)
	}
	if err := file.DB().Update(func(tx *bbolt.Tx) error {
		entries := tx.Bucket([]byte("deadline")).Bucket([]byte("entries"))
		return errors.Join(entries.Put([]byte("a"), []byte("{")), entries.Put([]byte("b"), []byte("{")))
	}); err != nil {
		t.Fatal(err)
	}
	parked := make(map[string]bool)
	if err := store.Entries(t.Context(), func(e deadline.Entry) bool {
		parked[e.Key] = strings.HasPrefix(e.Parked, "corrupt: ")
		return true
	}); err != nil || !parked["a"] || !parked["b"] || parked["c"] || len(parked) != 3 {
		t.Errorf("listed are %v: %v", parked, err)
	}
	arm("a", now.Add(time.Hour))
	for range 3 {
		claims, next, err := store.Claim(t.Context(), time.Time{}, now.Add(time.Second), 2*time.Hour, 10)
		if err != nil || len(claims) > 1 || len(claims) == 1 && claims[0].Key != "c" || !next.Equal(now.Add(time.Hour)) {
			t.Errorf("claimed are %+v, next is %v: %v", claims, next, err)
		}
	}
}
