package jobs

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"

	entsql "entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/periodicwork"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/lease"
)

// leaseDuration is how long a replica has a piece of periodic work. The lease is extended while the work goes on, so this is
// only how long the others wait when that replica dies in the middle.
const leaseDuration = 6 * time.Second

// periodic is work that is done again and again.
type periodic struct {
	name string
	work func(ctx context.Context) error
	// next is when it is due again, after a run that began at start.
	next func(start time.Time) time.Time
	// period is the usual time between two runs.
	period time.Duration
	// atOnce: the very first time is now, and not one period from now.
	atOnce bool
}

// Every has work done all the time, period after period, by one replica at a time. Whichever comes first does it: there is
// no leader to be elected, and when a replica dies in the middle another one does it some seconds later. Runs that were
// missed are not made up for. A period is a second at least.
func (r *Registry) Every(name string, period time.Duration, work func(ctx context.Context) error) {
	period = max(period, time.Second)
	r.periodic = append(r.periodic, periodic{
		name: name, work: work, period: period, atOnce: true,
		next: func(start time.Time) time.Time { return start.Add(period) },
	})
}

// Daily has work done once a day, at a time of day in UTC. A day that nobody was there is made up for at the next start.
func (r *Registry) Daily(name string, at time.Duration, work func(ctx context.Context) error) {
	r.periodic = append(r.periodic, periodic{
		name: name, work: work, period: 24 * time.Hour, next: func(start time.Time) time.Time { return nextTimeOfDay(start, at) },
	})
}

// nextTimeOfDay is the next moment after now that is at after midnight.
func nextTimeOfDay(now time.Time, at time.Duration) time.Time {
	next := now.UTC().Truncate(24 * time.Hour).Add(at)
	if !next.After(now) {
		next = next.Add(24 * time.Hour)
	}
	return next
}

// repeat does p whenever it is due and nobody else does it, until ctx is done.
func (c *Client) repeat(ctx context.Context, p periodic) {
	for ctx.Err() == nil {
		wait, err := c.turn(ctx, p)
		if err != nil && ctx.Err() == nil {
			c.calm.ErrorContext(ctx, "periodic work cannot be claimed", "work", p.name, "err", err)
			wait = leaseDuration
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// turn does p if it is due and free, and says when to look again.
func (c *Client) turn(ctx context.Context, p periodic) (wait time.Duration, err error) {
	// Most turns end here, without a transaction: another replica was first.
	row, err := c.db.Read.PeriodicWork.Get(ctx, p.name)
	if err != nil && !ent.IsNotFound(err) {
		return 0, fmt.Errorf("read periodic work: %w", err)
	}
	if wait := waitFor(row, time.Now()); wait > 0 {
		return spread(wait), nil
	}
	locked := &workRow{periodic: p}
	l := lease.Lease{DB: c.db, Row: locked, Holder: uuid.New(), Duration: leaseDuration}
	taken, start, err := l.Take(ctx)
	if err != nil {
		return 0, fmt.Errorf("claim periodic work: %w", err)
	}
	if !taken {
		return spread(max(waitFor(locked.row, start), leaseDuration/10)), nil
	}
	began := time.Now()
	err = l.Keep(ctx, func(ctx context.Context) error {
		return Safely(ctx, c.options.Log, p.name, func() error { return p.work(ctx) })
	})
	c.registry.meter.periodic(p.name, err, time.Since(began))
	if err != nil && ctx.Err() == nil {
		c.options.Log.ErrorContext(ctx, "periodic work failed", "work", p.name, "err", masked(err))
	}
	next := p.next(start)
	if ctx.Err() != nil {
		next = start // it was interrupted: whoever is left does it
	}
	if err := release(ctx, l, p.name, next); err != nil {
		return 0, err
	}
	return max(0, time.Until(p.next(began))), nil
}

// release says when the work is due again, if the lease was not lost. A server that stops does so too.
func release(ctx context.Context, l lease.Lease, name string, next time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseDuration)
	defer cancel()
	err := l.Release(ctx, func(tx *ent.Client, ours bool) error {
		if !ours {
			return nil
		}
		return tx.PeriodicWork.Update().Where(periodicwork.ID(name)).SetNextTime(next).Exec(ctx)
	})
	if err != nil {
		return fmt.Errorf("release periodic work: %w", err)
	}
	return nil
}

// waitFor is how long row is not due, or in other hands.
func waitFor(row *ent.PeriodicWork, now time.Time) time.Duration {
	if row == nil {
		return 0
	}
	if wait := row.NextTime.Sub(now); wait > 0 {
		return wait
	}
	// Whoever has it is usually done long before the lease is over.
	return min(row.LeaseTime.Sub(now), leaseDuration/4)
}

// spread keeps replicas from coming at the same moment.
func spread(wait time.Duration) time.Duration {
	return wait + time.Duration(rand.Int64N(int64(min(wait, time.Second)/10+1))) //nolint:gosec // it only spreads load
}

// workRow is the row of periodic work as a lease has it. Work that is not due counts as work that somebody has.
type workRow struct {
	periodic
	// row is as it was locked.
	row *ent.PeriodicWork
}

// Insert implements [lease.Row].
func (w *workRow) Insert(ctx context.Context, tx *ent.Client, now time.Time) error {
	first := now
	if !w.atOnce {
		first = w.next(now)
	}
	err := tx.PeriodicWork.Create().SetID(w.name).SetNextTime(first).SetLeaseTime(now).SetHolder(uuid.Nil).
		OnConflict(entsql.ConflictColumns(periodicwork.FieldID), entsql.DoNothing()).Exec(ctx)
	if err != nil && isNoRows(err) { // somebody else made it
		return nil
	}
	return err
}

// Lock implements [lease.Row].
func (w *workRow) Lock(ctx context.Context, tx *ent.Client) (m lease.Mark, err error) {
	if w.row, err = tx.PeriodicWork.Query().Where(periodicwork.ID(w.name), dbtx.ForUpdate).Only(ctx); err != nil {
		return m, err
	}
	m = lease.Mark{Holder: w.row.Holder, Until: w.row.LeaseTime}
	if w.row.NextTime.After(m.Until) {
		m.Until = w.row.NextTime
	}
	return m, nil
}

// Write implements [lease.Row].
func (w *workRow) Write(ctx context.Context, tx *ent.Client, m lease.Mark) error {
	return tx.PeriodicWork.Update().Where(periodicwork.ID(w.name)).SetHolder(m.Holder).SetLeaseTime(m.Until).Exec(ctx)
}

// isNoRows: what Ent reports when a conflict left nothing to insert.
func isNoRows(err error) bool { return err.Error() == sql.ErrNoRows.Error() }
