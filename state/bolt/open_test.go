package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

func TestOpenErrors(t *testing.T) {
	file := func(contents []byte) func(t *testing.T) string {
		return func(t *testing.T) string {
			path := newPath(t)
			if err := os.WriteFile(path, contents, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	database := func(change func(tx *bbolt.Tx) error) func(t *testing.T) string {
		return func(t *testing.T) string {
			path := newPath(t)
			s := open(t, path)
			if err := s.DB().Update(change); err != nil {
				t.Fatal(err)
			}
			closeNow(t, s)
			return path
		}
	}

	for _, tt := range []struct {
		name string
		path func(t *testing.T) string
		want error
		text string
	}{
		{"a directory that is not there", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none", "state.db") }, fs.ErrNotExist, ""},
		{"no path at all", func(t *testing.T) string { return "" }, fs.ErrNotExist, ""},
		{"a directory", func(t *testing.T) string { return t.TempDir() }, syscall.EISDIR, ""},
		{"a short text", file([]byte("hello")), bolt.ErrFormat, ""},
		{"a text of more than a page", file(bytes.Repeat([]byte("hello"), 1000)), bolt.ErrFormat, ""},
		{"a long text", file(bytes.Repeat([]byte("hello"), 100_000)), bolt.ErrFormat, ""},
		{"zeros", file(make([]byte, 1<<16)), bolt.ErrFormat, ""},
		{"a database of something else", database(func(tx *bbolt.Tx) error {
			if err := tx.DeleteBucket([]byte("state")); err != nil {
				return err
			}
			_, err := tx.CreateBucket([]byte("users"))
			return err
		}), bolt.ErrFormat, `no bucket "state"`},
		{"a state file of another format", database(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("state")).Put([]byte("format"), []byte("2"))
		}), bolt.ErrFormat, `format "2", want "1"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path(t)
			before, _ := os.ReadFile(path)
			for range 2 { // the second would be ErrLocked if the first held on
				s, err := bolt.Open(path)
				if s != nil || !errors.Is(err, tt.want) {
					t.Fatalf("Open returns %v, %v, want an error that wraps %q", s, err, tt.want)
				}
				if strings.Count(err.Error(), strconv.Quote(path)) != 1 || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("error %q, want the path and %q in it", err, tt.text)
				}
				if path != "" && strings.Count(err.Error(), path) != 1 {
					t.Errorf("error %q names the path twice", err)
				}
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
				t.Error("the file is changed")
			}
		})
	}
}

// TestOpenDamaged opens files that are cut off or have a page of nonsense.
// What is cut off must be found. Open may overlook the nonsense, but must not
// bring the process down.
func TestOpenDamaged(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	for i := range 100 {
		write(t, s, fmt.Sprint("key ", i), state.Item{Value: make([]byte, 500), TTL: time.Hour})
	}
	var used int64
	if err := s.DB().View(func(tx *bbolt.Tx) error { used = tx.Size(); return nil }); err != nil {
		t.Fatal(err)
	}
	closeNow(t, s)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(contents []byte, damage string) (ok bool) {
		path := newPath(t)
		if err := os.WriteFile(path, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(path)
		if err != nil {
			if !errors.Is(err, bolt.ErrFormat) || !strings.Contains(err.Error(), strconv.Quote(path)) {
				t.Errorf("%s: error %v, want one that wraps bolt.ErrFormat and names the path", damage, err)
			}
			return false
		}
		closeNow(t, s)
		return true
	}

	const step = 1 << 12
	for size := step / 2; size < len(whole); size += step / 2 {
		if ok := try(whole[:size], fmt.Sprintf("cut off at %d", size)); ok != (int64(size) >= used) {
			t.Errorf("a file with %d bytes in use, cut off at %d: it is opened: %t", used, size, ok)
		}
		if page := size &^ (step - 1); size == page {
			garbled := bytes.Clone(whole)
			copy(garbled[page:page+step], bytes.Repeat([]byte{0xa5}, step))
			try(garbled, fmt.Sprintf("garbled at %d", page))
		}
	}
	if !try(whole, "whole") {
		t.Error("the file as it was is refused")
	}
}

func TestOpenEmptyFile(t *testing.T) {
	path := newPath(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, open(t, path), "key", state.Item{})
}

func TestFileIsPrivate(t *testing.T) {
	path := newPath(t)
	open(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %o, want 600", got)
	}
}

// TestLocked opens a file that is open in this process. It runs in a bubble
// to see that Open does not wait.
func TestLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		s := open(t, path)
		start := time.Now()
		_, err := bolt.Open(path)
		if !errors.Is(err, bolt.ErrLocked) || !strings.Contains(err.Error(), strconv.Quote(path)) {
			t.Errorf("error %v, want one that wraps bolt.ErrLocked and names the path", err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("Open waits for %v", d)
		}
		write(t, s, "key", state.Item{})
		closeNow(t, s)
		open(t, path)
	})
}
