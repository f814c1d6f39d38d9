package telephony

import (
	"github.com/prometheus/client_golang/prometheus"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// Metrics count changes of dispatch rules and PINs.
type Metrics struct {
	collisions *prometheus.CounterVec
	clashes    *prometheus.CounterVec
	findings   *prometheus.CounterVec
	sweeps     *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		collisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_pin_collisions_total", Help: "PINs that were drawn and that another room of the same line has, or had.",
		}, []string{"trunk"}),
		clashes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_dial_in_clashes_total", Help: "Dispatch rules that LiveKit refused because of another one, by whose that was.",
		}, []string{"with"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_dial_in_findings_total", Help: "Dispatch rules that a sweep found to be other than they should, by what was wrong.",
		}, []string{"state"}),
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_dial_in_sweeps_total", Help: "Comparisons of meetings, dispatch rules and rooms, by how they ended.",
		}, []string{"outcome"}),
	}
	reg.MustRegister(m.collisions, m.clashes, m.findings, m.sweeps)
	// They are there before the first one, so that an alert can be made.
	for _, with := range []string{clashOwn, clashOrphan, clashLive, clashForeign, clashPair} {
		m.clashes.WithLabelValues(with)
	}
	for _, state := range []usherv1.DispatchRuleState{missing, orphaned, duplicate} {
		m.findings.WithLabelValues(stateName(state))
	}
	for _, outcome := range []string{"ok", "failed"} {
		m.sweeps.WithLabelValues(outcome)
	}
	return m
}
