package metered_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/metered"
	"github.com/botlapse/botlapse/state/statetest"
)

func TestStorage(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Storage { return metered.New(state.NewMemory(), "test") })
}

func TestCallsAreCounted(t *testing.T) {
	reader := metric.NewManualReader()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	away := errors.New("away")
	faults := &statetest.Faults{Storage: state.NewMemory()}
	s := metered.New(faults, "conversations")
	item := func(etag string) map[string]state.Item {
		return map[string]state.Item{"a": {Value: []byte(`{}`), ETag: etag}}
	}
	s.Write(t.Context(), item(""))
	s.Write(t.Context(), item(""))
	s.Read(t.Context(), []string{"a"})
	if _, err := s.Write(t.Context(), item(state.ETagNone)); !errors.Is(err, state.ErrConflict) {
		t.Errorf("error is %v", err)
	}
	faults.Before = func(context.Context, statetest.Call) error { return away }
	if err := s.Delete(t.Context(), []string{"a"}); !errors.Is(err, away) {
		t.Errorf("error is %v", err)
	}

	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := make(map[[2]string]uint64)
	for _, p := range all.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints {
		value := func(key attribute.Key) string {
			v, _ := p.Attributes.Value(key)
			return v.AsString()
		}
		if value("storage") == "conversations" {
			got[[2]string{value("operation"), value("outcome")}] = p.Count
		}
	}
	for call, want := range map[[2]string]uint64{{"write", "ok"}: 2, {"read", "ok"}: 1, {"write", "conflict"}: 1, {"delete", "error"}: 1} {
		if got[call] != want {
			t.Errorf("%v: %d, want %d", call, got[call], want)
		}
	}
	if len(got) != 4 {
		t.Errorf("counted are %v", got)
	}
}
