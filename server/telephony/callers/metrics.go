package callers

import "github.com/prometheus/client_golang/prometheus"

// Metrics count and time the holding of callers.
type Metrics struct {
	holds   prometheus.Histogram
	removed prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		holds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "usher_phone_hold_seconds",
			Help: "How long LiveKit took to hold a caller. About 0.05 s after they have joined the first words can be heard.",
			// The budget of 50 ms in steps, and then what is heard.
			Buckets: []float64{.005, .01, .02, .03, .05, .1, .2, .5, 1},
		}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "usher_phone_removed_total", Help: "Callers who were removed because they could not be held in time.",
		}),
	}
	reg.MustRegister(m.holds, m.removed)
	return m
}
