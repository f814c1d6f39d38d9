// Package lease has one server at a time do something. A lease ends by itself, so a holder that dies keeps the others
// waiting for no longer than that.
//
// There are two kinds. [Row] is kept in a row of the database, by the clock of the database, since those of two servers may
// differ; a holder that lost it finds out before it writes. [Redis] may forget its leases: it is for what is merely
// wasteful when two servers do it. A holder whose lease is over may still be in the middle of a call, so a lease proves
// nothing about what was asked of others; its owner decides what follows from that.
package lease

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/dbtx"
)

// Mark is what a row says about its lease.
type Mark struct {
	// Holder is uuid.Nil for nobody.
	Holder uuid.UUID
	// Until is the moment before which nobody else takes the lease; the zero time for a row that is free.
	Until time.Time
}

// Free reports whether somebody may take the lease at a moment of the database's clock.
func (m Mark) Free(now time.Time) bool { return !m.Until.After(now) }

// Row is the row that a lease is kept in. Its other columns belong to whoever implements Row.
type Row interface {
	// Insert makes the row unless it is there.
	Insert(ctx context.Context, tx *ent.Client, now time.Time) error
	// Lock locks the row until tx ends, and returns its mark. An error that ent.IsNotFound knows means that there is no row.
	Lock(ctx context.Context, tx *ent.Client) (Mark, error)
	// Write writes the mark of a row that is locked.
	Write(ctx context.Context, tx *ent.Client, m Mark) error
}

// Lease is one holder's lease of a row. Every field is required.
type Lease struct {
	DB  *dbtx.DB
	Row Row
	// Holder is a random id of this one attempt.
	Holder uuid.UUID
	// Duration is how long the lease is the holder's after it was taken or extended.
	Duration time.Duration
}

// Take takes the lease if it is free. now is the time of the database at that moment.
func (l Lease) Take(ctx context.Context) (taken bool, now time.Time, err error) {
	err = l.DB.Run(ctx, func(tx *ent.Client) error {
		if now, err = l.DB.Now(ctx, tx); err != nil {
			return err
		}
		if err := l.Row.Insert(ctx, tx, now); err != nil {
			return err
		}
		mark, err := l.Row.Lock(ctx, tx)
		if err != nil || !mark.Free(now) {
			return err
		}
		taken = true
		return l.Row.Write(ctx, tx, Mark{l.Holder, now.Add(l.Duration)})
	})
	if err != nil {
		return false, time.Time{}, fmt.Errorf("take lease: %w", err)
	}
	return taken, now, nil
}

// Release gives the lease back. last writes the rest of the row in the same transaction; ours is false when the lease was
// lost, and then the mark of the row is somebody else's and stays.
func (l Lease) Release(ctx context.Context, last func(tx *ent.Client, ours bool) error) error {
	err := l.locked(ctx, func(tx *ent.Client, now time.Time, ours bool) error {
		if ours {
			if err := l.Row.Write(ctx, tx, Mark{Until: now}); err != nil {
				return err
			}
		}
		return last(tx, ours)
	})
	if err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}

// extend makes the lease longer. ours is false when it was lost.
func (l Lease) extend(ctx context.Context) (ours bool, err error) {
	err = l.locked(ctx, func(tx *ent.Client, now time.Time, still bool) error {
		if ours = still; !ours {
			return nil
		}
		return l.Row.Write(ctx, tx, Mark{l.Holder, now.Add(l.Duration)})
	})
	return ours, err
}

// locked runs fn while the row is locked; ours says whether its lease still is this holder's.
func (l Lease) locked(ctx context.Context, fn func(tx *ent.Client, now time.Time, ours bool) error) error {
	return l.DB.Run(ctx, func(tx *ent.Client) error {
		mark, err := l.Row.Lock(ctx, tx)
		if err != nil && !ent.IsNotFound(err) {
			return err
		}
		ours := err == nil && mark.Holder == l.Holder
		// After the lock, for which this may have waited.
		now, err := l.DB.Now(ctx, tx)
		if err != nil {
			return err
		}
		return fn(tx, now, ours)
	})
}

// Keep runs work and extends the lease meanwhile. When the lease is lost, or may be because the database does not answer,
// the context of work is cancelled. Keep returns when work has ended.
func (l Lease) Keep(ctx context.Context, work func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	tick := time.NewTicker(l.Duration / 3)
	defer tick.Stop()
	kept := time.Now()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		bounded, cancelBounded := context.WithTimeout(ctx, l.Duration/4)
		ours, err := l.extend(bounded)
		cancelBounded()
		switch {
		case err == nil && ours:
			kept = time.Now()
		case err == nil, time.Since(kept) > l.Duration*2/3:
			cancel()
		}
	}
}
