package bot

import (
	"context"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// The histogram is one of the process's meter provider, also of one that is set
// later. Its attributes have few values, whatever the channels send.
var turnDuration, _ = otel.Meter("github.com/botlapse/botlapse/bot").Float64Histogram("botlapse.turn.duration",
	metric.WithUnit("s"),
	metric.WithDescription("How long turns took from the arrival of the activity, by kind: message, invoke, other, proactive; and outcome: ok, error."),
	metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120))

// turnAttributes are the attributes by kind and outcome, made once.
var turnAttributes = make(map[[2]string]metric.MeasurementOption)

func init() {
	for _, kind := range []string{"message", "invoke", "other", "proactive"} {
		for _, outcome := range []string{"ok", "error"} {
			turnAttributes[[2]string{kind, outcome}] = metric.WithAttributeSet(attribute.NewSet(attribute.String("kind", kind), attribute.String("outcome", outcome)))
		}
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
