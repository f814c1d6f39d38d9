package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/jobs"
)

// Several replicas sweep: never two at once, never twice in a period, also when it takes longer than the lease, when it
// fails, and when replicas come and go.
func TestEvery_oneAtATime(t *testing.T) {
	t.Parallel()
	addresses(t, func(t *testing.T, address string) {
		var running, runs, slow atomic.Int32
		sweep := func(context.Context) error {
			if running.Add(1) > 1 {
				t.Error("two replicas sweep at the same time")
			}
			defer running.Add(-1)
			if runs.Add(1) == 2 {
				slow.Add(1)
				time.Sleep(8 * time.Second) // longer than the lease
			}
			return errors.New("this sweep fails")
		}
		var stops []func()
		began := time.Now()
		for range 3 {
			r := jobs.NewRegistry()
			r.Every("test.sweep", time.Second, sweep)
			stops = append(stops, start(t, newClient(t, open(t, address), r, jobs.Options{})))
		}
		eventually(t, 60*time.Second, "no further sweeps", func() bool { return runs.Load() >= 4 })
		stops[0]()
		stops[1]()
		before := runs.Load()
		eventually(t, 30*time.Second, "the last replica does not sweep", func() bool { return runs.Load() >= before+2 })
		if most := int32(time.Since(began)/time.Second) + 1; runs.Load() > most {
			t.Errorf("%d sweeps in %v", runs.Load(), time.Since(began))
		}
		if slow.Load() != 1 {
			t.Error("no sweep took long")
		}
	})
}

// The lease is what keeps others out: with it taken away, the work is interrupted.
func TestEvery_lostLease(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		begun, interrupted := make(chan struct{}, 10), make(chan struct{}, 10)
		r := jobs.NewRegistry()
		r.Every("test.sweep", time.Second, func(ctx context.Context) error {
			begun <- struct{}{}
			<-ctx.Done()
			interrupted <- struct{}{}
			return ctx.Err()
		})
		start(t, newClient(t, db, r, jobs.Options{}))
		<-begun
		err := db.Run(t.Context(), func(tx *ent.Client) error {
			return tx.PeriodicWork.Update().SetHolder([16]byte{1}).SetLeaseTime(time.Now().Add(time.Hour)).Exec(t.Context())
		})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-interrupted:
		case <-time.After(30 * time.Second):
			t.Error("the work goes on without its lease")
		}
	})
}

// A server that stops in the middle of a sweep gives it away at once.
func TestEvery_stop(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		begun := make(chan struct{}, 10)
		r := jobs.NewRegistry()
		r.Every("test.sweep", time.Hour, func(ctx context.Context) error {
			begun <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		stop := start(t, newClient(t, db, r, jobs.Options{}))
		<-begun
		stop()
		start(t, newClient(t, db, r, jobs.Options{}))
		select {
		case <-begun:
		case <-time.After(30 * time.Second):
			t.Error("nobody does what was interrupted")
		}
	})
}

// A panic in a sweep ends neither the sweeps nor the server.
func TestEvery_panic(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		var runs atomic.Int32
		log, metrics := &testenv.Log{}, prometheus.NewRegistry()
		r := jobs.NewRegistry()
		r.Every("test.sweep", time.Second, func(context.Context) error { runs.Add(1); panic("boom ada@example.org") })
		start(t, newClient(t, db, r, jobs.Options{Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: metrics}))
		eventually(t, 30*time.Second, "no further sweeps", func() bool { return runs.Load() >= 2 })
		if n := value(t, metrics, "usher_periodic_total", "test.sweep", "failed"); n < 1 {
			t.Errorf("%v failed sweeps in the metrics", n)
		}
		if text := log.String(); !strings.Contains(text, "boom ***") || strings.Contains(text, "ada@") {
			t.Errorf("the log: %s", text)
		}
	})
}

func TestDaily(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		var runs atomic.Int32
		r := jobs.NewRegistry()
		at := time.Duration(time.Now().UTC().Add(-time.Hour).Hour()) * time.Hour // not within the next minutes
		r.Daily("test.night", at, func(context.Context) error { runs.Add(1); return nil })
		stop := start(t, newClient(t, db, r, jobs.Options{}))
		due := func() time.Time {
			row, err := db.Read.PeriodicWork.Get(t.Context(), "test.night")
			if err != nil {
				return time.Time{}
			}
			return row.NextTime
		}
		eventually(t, 30*time.Second, "it is not planned", func() bool { return !due().IsZero() })
		if wait := time.Until(due()); runs.Load() != 0 || wait <= 0 || wait > 24*time.Hour || due().UTC().Hour() != int(at.Hours()) {
			t.Errorf("a new instance: %d runs, the next at %v, want none before %v", runs.Load(), due(), at)
		}
		stop()
		// Nobody was there when it was due.
		err := db.Run(t.Context(), func(tx *ent.Client) error {
			return tx.PeriodicWork.Update().SetNextTime(time.Now().Add(-3 * time.Hour)).Exec(t.Context())
		})
		if err != nil {
			t.Fatal(err)
		}
		start(t, newClient(t, db, r, jobs.Options{}))
		eventually(t, 30*time.Second, "a missed night is not made up for", func() bool { return runs.Load() == 1 && time.Until(due()) > 0 })
	})
}
