package bolt_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
	"github.com/botlapse/botlapse/state/statetest"
)

// What do the calls of a turn cost, one at a time on a small file?
func BenchmarkStorage(b *testing.B) {
	statetest.Benchmark(b, func(b *testing.B) state.Storage { return open(b, filepath.Join(b.TempDir(), "state.db")) })
}

const conversations = 10_000

func conversation(n int) string {
	return fmt.Sprintf("msteams/conversations/19:meeting_%08d@thread.tacv2", n)
}

// filled returns the storage, with a document of 500 bytes in each of the
// conversations, and the path of its file.
func filled(b *testing.B) (s *bolt.Storage, path string) {
	path = filepath.Join(b.TempDir(), "state.db")
	s = open(b, path)
	s.DB().NoSync = true
	for _, n := range rand.Perm(conversations) {
		write(b, s, conversation(n), document(n))
	}
	s.DB().NoSync = false
	return s, path
}

func document(n int) state.Item {
	return state.Item{Value: fmt.Appendf(nil, `{"n":%8d,"text":"%s"}`, n, bytes.Repeat([]byte("x"), 500-len(`{"n":12345678,"text":""}`))), TTL: time.Hour}
}

// How many writes a second reach the disk, by how many write at once?
func BenchmarkWriters(b *testing.B) {
	for _, writers := range []int{1, 32} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s, _ := filled(b)
			transaction := transactions(b, s)
			work := make(chan int)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for n := range work {
						write(b, s, conversation(n%conversations), document(n))
					}
				})
			}
			n := 0
			for ; b.Loop(); n++ {
				work <- n * 7919 // a prime, so that they come in no order
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "writes/s")
			b.ReportMetric(float64(n)/float64(transactions(b, s)-transaction), "writes/transaction")
		})
	}
}

// What does it cost to read one of many conversations, by how many read at
// once for each processor?
func BenchmarkReaders(b *testing.B) {
	s, _ := filled(b)
	for _, readers := range []int{1, 32} {
		b.Run(fmt.Sprint(readers), func(b *testing.B) {
			b.SetParallelism(readers)
			b.RunParallel(func(pb *testing.PB) {
				for n := 0; pb.Next(); n += 7919 {
					key := conversation(n % conversations)
					if items, err := s.Read(b.Context(), []string{key}); err != nil || len(items) != 1 {
						b.Errorf("Read returns %v, %v", items, err)
						return
					}
				}
			})
		})
	}
}

// How large is the file for each conversation in it, and how much of that is
// not yet room for others?
func BenchmarkSize(b *testing.B) {
	for b.Loop() {
		s, path := filled(b)
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		var used int64
		if err := s.DB().View(func(tx *bbolt.Tx) error { used = tx.Size(); return nil }); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/conversations, "B/conversation")
		b.ReportMetric(float64(used)/conversations, "used-B/conversation")
	}
}
