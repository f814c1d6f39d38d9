package jobs

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/periodicwork"
	"github.com/usher-meet/usher/server/dbtx"
)

// lease is how long a replica has a piece of periodic work. It is made longer while the work goes on, so it only is how long
// the others wait when that replica dies in the middle.
const lease = 6 * time.Second

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

// Every has work done all the time, period after period, by one replica at a time. Whichever comes first does it: there is no
// leader to be elected, and when a replica dies in the middle another one does it some seconds later. Runs that were missed
// are not made up for. A period is a second at least.
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
			wait = lease
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
	holder := uuid.New()
	row, start, err := c.claim(ctx, p, holder)
	if err != nil {
		return 0, err
	}
	if row.Holder != holder {
		return spread(max(waitFor(row, start), lease/10)), nil
	}
	began := time.Now()
	err = c.hold(ctx, p, holder)
	c.registry.meter.periodic(p.name, err, time.Since(began))
	if err != nil && ctx.Err() == nil {
		c.options.Log.ErrorContext(ctx, "periodic work failed", "work", p.name, "err", masked(err))
	}
	next := p.next(start)
	if ctx.Err() != nil {
		next = start // it was interrupted: whoever is left does it
	}
	if err := c.release(ctx, p, holder, next); err != nil {
		return 0, err
	}
	return max(0, time.Until(p.next(began))), nil
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
	return min(row.LeaseTime.Sub(now), lease/4)
}

// spread keeps replicas from coming at the same moment.
func spread(wait time.Duration) time.Duration {
	return wait + time.Duration(rand.Int64N(int64(min(wait, time.Second)/10+1))) //nolint:gosec // it only spreads load
}

// claim gives p to holder if it is due and free, by the clock of the database: those of two replicas may differ. The row says
// who has it.
func (c *Client) claim(ctx context.Context, p periodic, holder uuid.UUID) (row *ent.PeriodicWork, now time.Time, err error) {
	err = c.db.Run(ctx, func(tx *ent.Client) error {
		if now, err = databaseTime(ctx, c.db, tx); err != nil {
			return err
		}
		first := now
		if !p.atOnce {
			first = p.next(now)
		}
		err := tx.PeriodicWork.Create().SetID(p.name).SetNextTime(first).SetLeaseTime(now).SetHolder(uuid.Nil).
			OnConflict(entsql.ConflictColumns(periodicwork.FieldID), entsql.DoNothing()).Exec(ctx)
		if err != nil && !isNoRows(err) { // somebody else made it
			return err
		}
		if row, err = tx.PeriodicWork.Query().Where(periodicwork.ID(p.name), dbtx.ForUpdate).Only(ctx); err != nil {
			return err
		}
		if row.NextTime.After(now) || row.LeaseTime.After(now) {
			return nil
		}
		row, err = tx.PeriodicWork.UpdateOne(row).SetHolder(holder).SetLeaseTime(now.Add(lease)).Save(ctx)
		return err
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("claim periodic work: %w", err)
	}
	return row, now, nil
}

// isNoRows: what Ent reports when a conflict left nothing to insert.
func isNoRows(err error) bool { return err.Error() == sql.ErrNoRows.Error() }

// databaseTime is the present moment, by one clock for all replicas.
func databaseTime(ctx context.Context, db *dbtx.DB, tx *ent.Client) (now time.Time, err error) {
	if db.Dialect == dialect.SQLite {
		return time.Now().UTC().Truncate(time.Microsecond), nil // all on one machine
	}
	err = tx.SQL.Tx.QueryRowContext(ctx, "SELECT clock_timestamp()").Scan(&now)
	return now.UTC(), err
}

// hold does the work and keeps the lease meanwhile. When that is lost (the database did not answer, and another replica may
// have begun), the work is interrupted.
func (c *Client) hold(ctx context.Context, p periodic, holder uuid.UUID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Safely(ctx, c.options.Log, p.name, func() error { return p.work(ctx) }) }()
	tick := time.NewTicker(lease / 3)
	defer tick.Stop()
	kept := time.Now()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		switch ours, err := c.extend(ctx, p, holder); {
		case err == nil && ours:
			kept = time.Now()
		case err == nil, time.Since(kept) > lease*2/3:
			cancel()
		}
	}
}

// extend makes the lease of holder longer, if it is still its own.
func (c *Client) extend(ctx context.Context, p periodic, holder uuid.UUID) (ours bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lease/4)
	defer cancel()
	err = c.db.Run(ctx, func(tx *ent.Client) error {
		now, err := databaseTime(ctx, c.db, tx)
		if err != nil {
			return err
		}
		n, err := tx.PeriodicWork.Update().Where(periodicwork.ID(p.name), periodicwork.Holder(holder)).
			SetLeaseTime(now.Add(lease)).Save(ctx)
		ours = n > 0
		return err
	})
	return ours, err
}

// release ends the lease of holder and says when the work is due again. A server that stops does so too.
func (c *Client) release(ctx context.Context, p periodic, holder uuid.UUID, next time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lease)
	defer cancel()
	err := c.db.Run(ctx, func(tx *ent.Client) error {
		now, err := databaseTime(ctx, c.db, tx)
		if err != nil {
			return err
		}
		return tx.PeriodicWork.Update().Where(periodicwork.ID(p.name), periodicwork.Holder(holder)).
			SetNextTime(next).SetLeaseTime(now).Exec(ctx)
	})
	if err != nil {
		return fmt.Errorf("release periodic work: %w", err)
	}
	return nil
}
