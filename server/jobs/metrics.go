package jobs

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// meter counts what this replica does.
type meter struct {
	jobs, runs  *prometheus.CounterVec
	jobTime     *prometheus.HistogramVec
	periodicEnd *prometheus.GaugeVec
}

func newMeter(reg prometheus.Registerer) *meter {
	m := &meter{
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_jobs_total",
			Help: "Runs of jobs, by kind and outcome: done, failed (tried again), interrupted (done by another replica), " +
				"later (put off), dead.",
		}, []string{"kind", "outcome"}),
		jobTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "usher_job_seconds", Help: "How long runs of jobs took, by kind.", Buckets: []float64{.01, .05, .1, .5, 1, 5, 30},
		}, []string{"kind"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_periodic_total", Help: "Runs of periodic work, by name and outcome: done, failed.",
		}, []string{"name", "outcome"}),
		periodicEnd: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "usher_periodic_last_seconds", Help: "How long the last run of periodic work took on this replica, by name.",
		}, []string{"name"}),
	}
	if reg != nil {
		reg.MustRegister(m.jobs, m.jobTime, m.runs, m.periodicEnd)
	}
	return m
}

func (m *meter) job(kind, outcome string, took time.Duration) {
	m.jobs.WithLabelValues(kind, outcome).Inc()
	m.jobTime.WithLabelValues(kind).Observe(took.Seconds())
}

func (m *meter) periodic(name string, err error, took time.Duration) {
	outcome := outcomeDone
	if err != nil {
		outcome = outcomeFailed
	}
	m.runs.WithLabelValues(name, outcome).Inc()
	m.periodicEnd.WithLabelValues(name).Set(took.Seconds())
}

// backlog tells what waits, as of the moment that somebody asks. All replicas tell the same.
type backlog struct{ c *Client }

var (
	oldestMetric = prometheus.NewDesc("usher_jobs_oldest_seconds",
		"For how long the oldest job that could be done has waited, by area; 0 when none waits.", []string{"area"}, nil)
	deadMetric = prometheus.NewDesc("usher_jobs_dead", "Jobs that were given up and are still kept.", nil, nil)
)

// Describe implements prometheus.Collector.
func (backlog) Describe(ch chan<- *prometheus.Desc) { ch <- oldestMetric; ch <- deadMetric }

// Collect implements prometheus.Collector. A database that does not answer shows elsewhere; here the figures are missing.
func (b backlog) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for area := range b.c.registry.queues {
		oldest, err := b.c.engine.JobList(ctx, river.NewJobListParams().Queues(area).States(rivertype.JobStateAvailable).
			OrderBy(river.JobListOrderByScheduledAt, river.SortOrderAsc).First(1))
		if err != nil {
			return
		}
		age := time.Duration(0)
		if len(oldest.Jobs) > 0 {
			age = max(0, time.Since(oldest.Jobs[0].ScheduledAt))
		}
		ch <- prometheus.MustNewConstMetric(oldestMetric, prometheus.GaugeValue, age.Seconds(), area)
	}
	var dead int64
	row := b.c.db.SQL().QueryRowContext(ctx, "SELECT count(*) FROM river_job WHERE state IN ('discarded', 'cancelled')")
	if row.Scan(&dead) == nil {
		ch <- prometheus.MustNewConstMetric(deadMetric, prometheus.GaugeValue, float64(dead))
	}
}
