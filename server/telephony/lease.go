package telephony

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/dispatchrule"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/lease"
)

// LiveKit has no way to make one rule of a name: who asks twice gets two, or a clash. So what is done about one room's rule
// is done one after another, whichever server does it, also while LiveKit is waited for. A row lock cannot be held that
// long, and neither can a lock that belongs to a connection of the database, of which SQLite has one; a lock in Redis would
// have to be compared with what the database says all the same. Hence a lease: a mark in the room's row that others respect
// until it is taken off, or has lasted so long that whoever set it must have died.
//
// A lease proves nothing about what was asked of LiveKit before its holder died. Therefore the row says "doubtful" from the
// moment in which it is taken until the holder writes down what LiveKit was told, which they can only do while the lease is
// theirs. Who finds a row that is in doubt asks LiveKit for the rules that it has.

const (
	// leaseMargin is how much sooner than its end the holder of a lease stops: what it asked of LiveKit last is on its way.
	leaseMargin = 2 * time.Second
	// maxLeasePause is the longest pause between two looks at a lease that somebody else has.
	maxLeasePause = 100 * time.Millisecond
)

// ruleState is what LiveKit was told about a room.
type ruleState struct {
	// ruleID is empty when there is no rule.
	ruleID, trunkID string
	pinID           uuid.UUID
	held            bool
	// stale is true when LiveKit may have something else.
	stale bool
}

// stateOf is what the row of a room says; nil is a room that LiveKit was never told about.
func stateOf(row *ent.DispatchRule) ruleState {
	if row == nil {
		return ruleState{}
	}
	is := ruleState{ruleID: row.RuleID, trunkID: row.TrunkID, held: row.Held, stale: row.Doubtful}
	if row.PinID != nil {
		is.pinID = *row.PinID
	}
	return is
}

// row is that of a room; nil for none.
func (s *Service) row(ctx context.Context, room uuid.UUID) (*ent.DispatchRule, error) {
	row, err := s.DB.Read.DispatchRule.Get(ctx, room)
	if ent.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find rule of %s: %w", room, err)
	}
	return row, nil
}

// withLease runs fn while nobody else changes the room's rule. fn gets what LiveKit was told before, and returns what it has
// been told when it ends, also when it fails. It fails with fault.ErrConflict when others take too long.
func (s *Service) withLease(
	ctx context.Context, room uuid.UUID, fn func(ctx context.Context, was ruleState) (ruleState, error),
) error {
	holder := uuid.New()
	was, until, err := s.take(ctx, room, holder)
	if err != nil {
		return err
	}
	// Whoever comes when the lease is over must find nobody at work.
	work, cancel := context.WithDeadline(ctx, until.Add(-min(leaseMargin, s.Lease/4)))
	defer cancel()
	is, err := fn(work, was)
	// A caller who gave up leaves no lease behind.
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), s.Lease)
	defer cancelLast()
	return errors.Join(err, s.release(last, room, holder, is))
}

// take waits for the lease of a room and takes it.
func (s *Service) take(ctx context.Context, room, holder uuid.UUID) (was ruleState, until time.Time, err error) {
	give, cancel := context.WithTimeout(ctx, 2*s.Lease)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, maxLeasePause) {
		// A look is cheaper than an attempt.
		row, err := s.row(ctx, room)
		if err != nil {
			return ruleState{}, time.Time{}, err
		}
		leased, err := s.isLeased(ctx, row)
		if err != nil {
			return ruleState{}, time.Time{}, err
		}
		if !leased {
			was, until, taken, err := s.tryTake(ctx, room, holder)
			if taken || err != nil {
				return was, until, err
			}
		}
		timer := time.NewTimer(pause/2 + rand.N(pause)) //nolint:gosec // so that those who wait do not all look at once
		select {
		case <-timer.C:
		case <-give.Done():
			timer.Stop()
			if ctx.Err() != nil {
				return ruleState{}, time.Time{}, ctx.Err()
			}
			return ruleState{}, time.Time{}, fault.ErrConflict.Saying(
				"another server is changing how this room is dialled: repeat the call",
			)
		}
	}
}

// tryTake takes the lease of a room unless somebody has it. until is by the clock of this server.
func (s *Service) tryTake(
	ctx context.Context, room, holder uuid.UUID,
) (was ruleState, until time.Time, taken bool, err error) {
	r := &ruleRow{room: room}
	until = time.Now().Add(s.Lease) // from before the row says so
	taken, _, err = s.lease(r, holder).Take(ctx)
	return stateOf(r.row), until, taken, err
}

// release writes down what LiveKit was told and gives the lease back. Should it not be ours any more, somebody else has
// thought us dead and may have been told other things since: then all is in doubt.
func (s *Service) release(ctx context.Context, room, holder uuid.UUID, is ruleState) error {
	return s.lease(&ruleRow{room: room}, holder).Release(ctx, func(tx *ent.Client, ours bool) error {
		if !ours {
			s.Log.WarnContext(ctx, "a dispatch rule was changed while another server took over", "room", room)
			return markStale(ctx, tx, room)
		}
		update := tx.DispatchRule.Update().Where(dispatchrule.ID(room)).
			SetRuleID(is.ruleID).SetTrunkID(is.trunkID).SetHeld(is.held).SetDoubtful(is.stale)
		if is.pinID == uuid.Nil {
			update.ClearPinID()
		} else {
			update.SetPinID(is.pinID)
		}
		if err := update.Exec(ctx); err != nil {
			return fmt.Errorf("write down rule of %s: %w", room, err)
		}
		return nil
	})
}

func (s *Service) lease(row *ruleRow, holder uuid.UUID) lease.Lease {
	return lease.Lease{DB: s.DB, Row: row, Holder: holder, Duration: s.Lease}
}

// isLeased reports whether somebody has the lease of a row; nil is a room without a row.
func (s *Survey) isLeased(ctx context.Context, row *ent.DispatchRule) (bool, error) {
	m := markOf(row)
	if m.Holder == uuid.Nil {
		return false, nil
	}
	now, err := s.DB.Now(ctx, nil)
	return !m.Free(now), err
}

// markOf is the lease of a row.
func markOf(row *ent.DispatchRule) lease.Mark {
	if row == nil || row.Lease == nil || row.LeaseUntil == nil {
		return lease.Mark{}
	}
	return lease.Mark{Holder: *row.Lease, Until: *row.LeaseUntil}
}

// ruleRow is the row of a room as a lease has it.
type ruleRow struct {
	room uuid.UUID
	// row is as it was locked.
	row *ent.DispatchRule
}

// Insert implements [lease.Row].
func (r *ruleRow) Insert(ctx context.Context, tx *ent.Client, _ time.Time) error {
	if err := tx.DispatchRule.Create().SetID(r.room).OnConflictColumns(dispatchrule.FieldID).Ignore().Exec(ctx); err != nil {
		return fmt.Errorf("insert rule of %s: %w", r.room, err)
	}
	return nil
}

// Lock implements [lease.Row].
func (r *ruleRow) Lock(ctx context.Context, tx *ent.Client) (m lease.Mark, err error) {
	if r.row, err = tx.DispatchRule.Query().Where(dispatchrule.ID(r.room), dbtx.ForUpdate).Only(ctx); err != nil {
		return m, fmt.Errorf("lock rule of %s: %w", r.room, err)
	}
	return markOf(r.row), nil
}

// Write implements [lease.Row]. While somebody has the lease the row is in doubt.
func (r *ruleRow) Write(ctx context.Context, tx *ent.Client, m lease.Mark) error {
	update := tx.DispatchRule.Update().Where(dispatchrule.ID(r.room))
	if m.Holder == uuid.Nil {
		update.ClearLease().ClearLeaseUntil()
	} else {
		update.SetLease(m.Holder).SetLeaseUntil(m.Until).SetDoubtful(true)
	}
	if err := update.Exec(ctx); err != nil {
		return fmt.Errorf("mark rule of %s: %w", r.room, err)
	}
	return nil
}

// markStale has LiveKit asked for its rules when the room's is next looked after.
func markStale(ctx context.Context, tx *ent.Client, room uuid.UUID) error {
	err := tx.DispatchRule.Create().SetID(room).SetDoubtful(true).OnConflictColumns(dispatchrule.FieldID).
		Update(func(u *ent.DispatchRuleUpsert) { u.SetDoubtful(true) }).Exec(ctx)
	if err != nil {
		return fmt.Errorf("doubt rule of %s: %w", room, err)
	}
	return nil
}

// deleteRow deletes the row of a room that was deleted, once LiveKit has nothing of it.
func (s *Service) deleteRow(ctx context.Context, room uuid.UUID) error {
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		_, err := tx.DispatchRule.Delete().Where(
			dispatchrule.ID(room), dispatchrule.RuleID(""), dispatchrule.Doubtful(false), dispatchrule.LeaseIsNil()).Exec(ctx)
		if err != nil {
			return fmt.Errorf("forget rule of %s: %w", room, err)
		}
		return nil
	})
}
