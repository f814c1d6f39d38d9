package lease_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/periodicwork"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/lease"
)

const name = "test.lease"

// row keeps a lease in a table that the server has.
type row struct{}

func (row) Insert(ctx context.Context, tx *ent.Client, now time.Time) error {
	return tx.PeriodicWork.Create().SetID(name).SetNextTime(now).SetLeaseTime(now).SetHolder(uuid.Nil).
		OnConflictColumns(periodicwork.FieldID).Ignore().Exec(ctx)
}

func (row) Lock(ctx context.Context, tx *ent.Client) (lease.Mark, error) {
	r, err := tx.PeriodicWork.Query().Where(periodicwork.ID(name), dbtx.ForUpdate).Only(ctx)
	if err != nil {
		return lease.Mark{}, err
	}
	return lease.Mark{Holder: r.Holder, Until: r.LeaseTime}, nil
}

func (row) Write(ctx context.Context, tx *ent.Client, m lease.Mark) error {
	return tx.PeriodicWork.UpdateOneID(name).SetHolder(m.Holder).SetLeaseTime(m.Until).Exec(ctx)
}

func newLease(db *dbtx.DB, d time.Duration) lease.Lease {
	return lease.Lease{DB: db, Row: row{}, Holder: uuid.New(), Duration: d}
}

func wantTake(ctx context.Context, t *testing.T, l lease.Lease, want bool) {
	t.Helper()
	if taken, now, err := l.Take(ctx); taken != want || err != nil || now.IsZero() {
		t.Fatalf("Take = %t at %v, %v, want %t", taken, now, err, want)
	}
}

func wantRelease(ctx context.Context, t *testing.T, l lease.Lease, want bool) {
	t.Helper()
	got, calls := false, 0
	err := l.Release(ctx, func(_ *ent.Client, ours bool) error { got, calls = ours, calls+1; return nil })
	if err != nil || got != want || calls != 1 {
		t.Fatalf("Release: ours %t in %d calls, %v, want %t in one", got, calls, err, want)
	}
}

// One holder has a lease, until it gives the lease back or the time is over; whoever lost it learns that.
func TestLease(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		first, second := newLease(db, time.Hour), newLease(db, time.Hour)
		wantRelease(t.Context(), t, first, false) // there is no row
		wantTake(t.Context(), t, first, true)
		wantTake(t.Context(), t, second, false)
		wantRelease(t.Context(), t, second, false)
		wantTake(t.Context(), t, second, false)
		wantRelease(t.Context(), t, first, true)
		wantRelease(t.Context(), t, first, false)

		brief := newLease(db, 50*time.Millisecond)
		wantTake(t.Context(), t, brief, true)
		time.Sleep(100 * time.Millisecond)
		wantTake(t.Context(), t, second, true)
		wantRelease(t.Context(), t, brief, false)
		wantTake(t.Context(), t, brief, false)

		// What fails last leaves the lease as it was.
		failed := errors.New("failed on purpose")
		if err := second.Release(t.Context(), func(*ent.Client, bool) error { return failed }); !errors.Is(err, failed) {
			t.Errorf("Release = %v, want %v", err, failed)
		}
		wantRelease(t.Context(), t, second, true)
	})
}

// A lease that is kept lasts longer than it was taken for, and who loses it stops.
func TestLease_keep(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		const d = 2 * time.Second
		holder, other := newLease(db, d), newLease(db, d)
		wantTake(t.Context(), t, holder, true)
		err := holder.Keep(t.Context(), func(ctx context.Context) error {
			time.Sleep(2 * d)
			wantTake(ctx, t, other, false)
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("Keep = %v, want the work to go on", err)
		}
		err = holder.Keep(t.Context(), func(ctx context.Context) error {
			wantRelease(ctx, t, holder, true)
			select {
			case <-ctx.Done():
			case <-time.After(30 * time.Second):
			}
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Keep = %v, want the work to be interrupted", err)
		}
	})
}
