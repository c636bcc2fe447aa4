package middleware

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/botlapse/botlapse/bot"
)

// The counter is one of the process's meter provider, also of one that is set
// later.
var expiries, _ = otel.Meter("github.com/botlapse/botlapse/middleware").Int64Counter("botlapse.expiries",
	metric.WithDescription("Turns in which the conversation was found expired, by reason: input, activity, proactive."))

// lateness is how late rules fire.
var lateness, _ = otel.Meter("github.com/botlapse/botlapse/middleware").Float64Histogram("botlapse.deadline.lateness",
	metric.WithUnit("s"),
	metric.WithDescription("How long after they were due rules fired, by outcome."),
	metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600))

// expiryAttributes are the attributes by reason, made once.
var expiryAttributes = make(map[string]metric.MeasurementOption)

func init() {
	for _, reason := range []string{"input", "activity", "proactive"} {
		expiryAttributes[reason] = metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", reason)))
	}
}

// countExpiry counts a turn in which the conversation has expired.
func countExpiry(ctx context.Context, turn *bot.Turn, input bool) {
	reason := "activity"
	switch {
	case turn.Proactive():
		reason = "proactive"
	case input:
		reason = "input"
	}
	expiries.Add(ctx, 1, expiryAttributes[reason])
}
