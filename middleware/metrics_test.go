package middleware_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/botlapse/botlapse/middleware"
)

// metrics makes the process's meter provider, of which there is one.
var metrics = sync.OnceValue(func() *metric.ManualReader {
	reader := metric.NewManualReader()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	return reader
})

// collect returns the sums of counters, and the counts of histograms by their
// attributes.
func collect(t *testing.T) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := metrics().Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					values[m.Name+p.Attributes.Encoded(encoder{})] = float64(p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					name := m.Name + p.Attributes.Encoded(encoder{})
					values[name] = float64(p.Count)
					values[name+" sum"] = p.Sum
				}
			}
		}
	}
	return values
}

// An encoder writes attributes as they are named in tests.
type encoder struct{}

func (encoder) Encode(attributes attribute.Iterator) (text string) {
	for attributes.Next() {
		text += fmt.Sprintf(" %s=%s", attributes.Attribute().Key, attributes.Attribute().Value.AsString())
	}
	return text
}

func (encoder) ID() attribute.EncoderID { return attribute.EncoderID{} }

func TestMetrics(t *testing.T) {
	before := collect(t)
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{})
		for i := range 3 {
			r.say(t, fmt.Sprint(i))
		}
		time.Sleep(timeout / 2)
		r.say(t, "0") // whose deadline will be moved
		time.Sleep(timeout)
		synctest.Wait()
		faults, away := breakable(s.storage)
		s.storage = faults
		second := s.start(t, middleware.SessionsOptions{}, silently)
		if err := r.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		second.say(t, "0")
		away.Store(true)
		time.Sleep(timeout)
		synctest.Wait()
		away.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
	})
	after := collect(t)
	for name, want := range map[string]float64{
		"botlapse.deadline.armed":                                   4,
		"botlapse.deadline.store.duration operation=arm outcome=ok": 4,
		"botlapse.deadline.moved":                                   2, // once after a failure
		"botlapse.deadline.parked":                                  0,
		"botlapse.deadline.claims_lost":                             0,
		"botlapse.deadline.lateness outcome=told":                   3,
		"botlapse.deadline.lateness outcome=told sum":               0,
		"botlapse.deadline.lateness outcome=done":                   1,
		"botlapse.expiries reason=proactive":                        4,
		"botlapse.turn.duration kind=message outcome=ok":            5,
		"botlapse.turn.duration kind=proactive outcome=ok":          5,
		"botlapse.turn.duration kind=proactive outcome=error":       1,
		"botlapse.turn.duration kind=proactive outcome=error sum":   0,
	} {
		if got := after[name] - before[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}
