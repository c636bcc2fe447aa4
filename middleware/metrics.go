package middleware

import (
	"context"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// The instruments are those of the process's meter provider, also of one that
// is set later. Attributes have few values, whatever the channels send.
var (
	meter = otel.Meter("github.com/botlapse/botlapse/middleware")

	turnDuration, _ = meter.Float64Histogram("botlapse.turn.duration",
		metric.WithUnit("s"),
		metric.WithDescription("How long turns took from the arrival of the activity, by kind: message, invoke, other, proactive; and outcome: ok, error."),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120))

	expiries, _ = meter.Int64Counter("botlapse.expiries",
		metric.WithDescription("Turns in which the conversation was found expired, by reason: input, activity, proactive."))
)

// Attributes by kind and outcome, and by reason, made once.
var (
	turnAttributes   = make(map[[2]string]metric.MeasurementOption)
	expiryAttributes = make(map[string]metric.MeasurementOption)
)

func init() {
	for _, kind := range []string{"message", "invoke", "other", "proactive"} {
		for _, outcome := range []string{"ok", "error"} {
			turnAttributes[[2]string{kind, outcome}] = metric.WithAttributeSet(attribute.NewSet(attribute.String("kind", kind), attribute.String("outcome", outcome)))
		}
	}
	for _, reason := range []string{"input", "activity", "proactive"} {
		expiryAttributes[reason] = metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", reason)))
	}
}

// measure records a turn that has ended.
func measure(ctx context.Context, turn *Turn, err error) {
	kind, outcome := "other", "ok"
	switch {
	case turn.proactive:
		kind = "proactive"
	case turn.Activity.Type == schema.Message:
		kind = "message"
	case turn.Activity.Type == schema.Invoke:
		kind = "invoke"
	}
	if err != nil {
		outcome = "error"
	}
	turnDuration.Record(ctx, time.Since(turn.arrived).Seconds(), turnAttributes[[2]string{kind, outcome}])
}

// countExpiry counts a turn in which the conversation has expired.
func countExpiry(ctx context.Context, turn *Turn, input bool) {
	reason := "activity"
	switch {
	case turn.proactive:
		reason = "proactive"
	case input:
		reason = "input"
	}
	expiries.Add(ctx, 1, expiryAttributes[reason])
}
