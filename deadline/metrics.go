package deadline

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// The instruments are those of the process's meter provider, also of one that
// is set later.
var (
	meter = otel.Meter("github.com/botlapse/botlapse/deadline")

	armed       = counter("botlapse.deadline.armed", "Deadlines that were armed.")
	moved       = counter("botlapse.deadline.moved", "Deadlines that came due while the conversation was in use, and were moved.")
	parked      = counter("botlapse.deadline.parked", "Deadlines that were set aside after their turns had failed.")
	claimsLost  = counter("botlapse.deadline.claims_lost", "Claims that were lost before they were settled: taken by another process, or armed anew.")
	unconfirmed = counter("botlapse.deadline.unconfirmed", "Messages of which it is not known whether they were sent, because a process ended.")

	lateness, _ = meter.Float64Histogram("botlapse.deadline.lateness",
		metric.WithUnit("s"),
		metric.WithDescription("How long after they were due conversations expired, by outcome: told, handled, silent, left, failed."),
		metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600))
)

func counter(name, description string) metric.Int64Counter {
	c, _ := meter.Int64Counter(name, metric.WithDescription(description)) // the names are valid
	return c
}

// observe records how late a conversation that was due has expired.
func observe(ctx context.Context, due time.Time, outcome string) {
	lateness.Record(ctx, time.Since(due).Seconds(), metric.WithAttributes(attribute.String("outcome", outcome)))
}
