/*
Package metered measures a storage with OpenTelemetry.

	conversation := state.NewConversation(metered.New(storage, "conversations"))

It records one histogram, botlapse.storage.duration, in seconds, with the
storage's name, the operation (read, write, delete) and the outcome (ok,
conflict, error), at the process's meter provider.
*/
package metered

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/botlapse/botlapse/state"
)

var duration, _ = otel.Meter("github.com/botlapse/botlapse/state/metered").Float64Histogram("botlapse.storage.duration",
	metric.WithUnit("s"),
	metric.WithDescription("How long calls of a storage took, by name, operation: read, write, delete; and outcome: ok, conflict, error."),
	metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30))

// Storage is a [state.Storage] that measures another. It is safe for concurrent
// use, and has the errors of the other.
type Storage struct {
	next       state.Storage
	attributes map[[2]string]metric.MeasurementOption // by operation and outcome
}

// New returns a storage that does what next does, and measures it under a name.
// It panics if next is nil.
func New(next state.Storage, name string) *Storage {
	if next == nil {
		panic("metered: nil Storage")
	}
	s := &Storage{next, make(map[[2]string]metric.MeasurementOption)}
	for _, operation := range []string{"read", "write", "delete"} {
		for _, outcome := range []string{"ok", "conflict", "error"} {
			s.attributes[[2]string{operation, outcome}] = metric.WithAttributeSet(attribute.NewSet(
				attribute.String("storage", name), attribute.String("operation", operation), attribute.String("outcome", outcome)))
		}
	}
	return s
}

// Read implements [state.Storage].
func (s *Storage) Read(ctx context.Context, keys []string) (map[string]state.Item, error) {
	begin := time.Now()
	items, err := s.next.Read(ctx, keys)
	s.record(ctx, begin, "read", err)
	return items, err
}

// Write implements [state.Storage].
func (s *Storage) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	begin := time.Now()
	etags, err := s.next.Write(ctx, items)
	s.record(ctx, begin, "write", err)
	return etags, err
}

// Delete implements [state.Storage].
func (s *Storage) Delete(ctx context.Context, keys []string) error {
	begin := time.Now()
	err := s.next.Delete(ctx, keys)
	s.record(ctx, begin, "delete", err)
	return err
}

func (s *Storage) record(ctx context.Context, begin time.Time, operation string, err error) {
	outcome := "ok"
	switch {
	case errors.Is(err, state.ErrConflict):
		outcome = "conflict"
	case err != nil:
		outcome = "error"
	}
	duration.Record(ctx, time.Since(begin).Seconds(), s.attributes[[2]string{operation, outcome}])
}
