package statetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/botlapse/botlapse/state"
)

// Benchmark measures what the calls of a turn cost on a storage that open
// returns: a read, an unconditional write and a write with the current eTag,
// each of one document of 1 KiB. Open is called for each of them.
func Benchmark(b *testing.B, open func(b *testing.B) state.Storage) {
	const key = "msteams/conversations/19:meeting_MjdhNjM4@thread.tacv2"
	value := fmt.Appendf(nil, `{"text":%q}`, strings.Repeat("x", 1<<10-len(`{"text":""}`)))

	run := func(name string, f func(b *testing.B, s state.Storage, etag string) error) {
		b.Run(name, func(b *testing.B) {
			s := open(b)
			etag, err := writeOne(b.Context(), s, key, state.Item{Value: value})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			if err := f(b, s, etag); err != nil {
				b.Fatal(err)
			}
		})
	}

	run("Read", func(b *testing.B, s state.Storage, _ string) error {
		for b.Loop() {
			items, err := s.Read(b.Context(), []string{key})
			if err != nil {
				return err
			}
			if len(items) != 1 {
				return fmt.Errorf("Read returns %d items, want 1", len(items))
			}
		}
		return nil
	})
	run("Write", func(b *testing.B, s state.Storage, _ string) error {
		for b.Loop() {
			if _, err := writeOne(b.Context(), s, key, state.Item{Value: value}); err != nil {
				return err
			}
		}
		return nil
	})
	run("ConditionalWrite", func(b *testing.B, s state.Storage, etag string) (err error) {
		for b.Loop() {
			if etag, err = writeOne(b.Context(), s, key, state.Item{Value: value, ETag: etag}); err != nil {
				return err
			}
		}
		return nil
	})
}
