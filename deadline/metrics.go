package deadline

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// The instruments are those of the process's meter provider, also of one that
// is set later.
var (
	meter = otel.Meter("github.com/botlapse/botlapse/deadline")

	armed      = counter("botlapse.deadline.armed", "Deadlines that were armed.")
	moved      = counter("botlapse.deadline.moved", "Deadlines that came due and are to come due again.")
	parked     = counter("botlapse.deadline.parked", "Deadlines that were set aside.")
	claimsLost = counter("botlapse.deadline.claims_lost", "Claims that were lost before they were settled: taken by another process, or armed anew.")
)

func counter(name, description string) metric.Int64Counter {
	c, _ := meter.Int64Counter(name, metric.WithDescription(description)) // the names are valid
	return c
}

var storeDuration, _ = meter.Float64Histogram("botlapse.deadline.store.duration",
	metric.WithUnit("s"),
	metric.WithDescription("How long calls of the store took, by operation: arm, claim, settle; and outcome: ok, lost, error."),
	metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30))

// storeAttributes are those of calls, by operation and outcome, made once.
var storeAttributes = make(map[[2]string]metric.MeasurementOption)

func init() {
	for _, operation := range []string{"arm", "claim", "settle"} {
		for _, outcome := range []string{"ok", "lost", "error"} {
			storeAttributes[[2]string{operation, outcome}] = metric.WithAttributeSet(attribute.NewSet(
				attribute.String("operation", operation), attribute.String("outcome", outcome)))
		}
	}
}

// A meteredStore measures a store.
type meteredStore struct{ Store }

func measure(ctx context.Context, operation string, call func() error) error {
	begin := time.Now()
	err := call()
	outcome := "ok"
	switch {
	case errors.Is(err, ErrLost):
		outcome = "lost"
	case err != nil:
		outcome = "error"
	}
	storeDuration.Record(ctx, time.Since(begin).Seconds(), storeAttributes[[2]string{operation, outcome}])
	return err
}

func (s meteredStore) Arm(ctx context.Context, d Deadline) error {
	return measure(ctx, "arm", func() error { return s.Store.Arm(ctx, d) })
}

func (s meteredStore) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) (claims []Claim, next time.Time, err error) {
	err = measure(ctx, "claim", func() (err error) {
		claims, next, err = s.Store.Claim(ctx, now, lease, limit)
		return err
	})
	return claims, next, err
}

func (s meteredStore) Settle(ctx context.Context, c Claim, o Outcome) error {
	return measure(ctx, "settle", func() error { return s.Store.Settle(ctx, c, o) })
}
