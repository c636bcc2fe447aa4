package deadline_test

import (
	"path/filepath"
	"testing"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/deadline/deadlinetest"
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
