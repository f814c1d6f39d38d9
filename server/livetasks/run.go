package livetasks

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
)

// served are the other tasks that a run of t does too: equal ones that were committed before it begins and need not be
// kept longer. Of each two equal tasks only one can serve the other.
func (w *Worker) served(ctx context.Context, t *ent.LiveTask) ([]uuid.UUID, error) {
	earlier := livetask.Or(
		livetask.KeepUntilLT(t.KeepUntil), livetask.And(livetask.KeepUntil(t.KeepUntil), livetask.IDLT(t.ID)),
	)
	query := w.DB.Read.LiveTask.Query().Where(livetask.KindEQ(t.Kind), earlier)
	if t.RoomID != nil {
		query.Where(livetask.RoomID(*t.RoomID))
	}
	if t.MeetingSid != nil {
		query.Where(livetask.MeetingSid(*t.MeetingSid))
	}
	if t.UserID != nil {
		query.Where(livetask.UserID(*t.UserID))
	}
	ids, err := query.IDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("find equal tasks: %w", err)
	}
	return ids, nil
}

// run is the outcome of one run of a task.
type run struct {
	start time.Time
	// served are the other tasks that it did too.
	served []uuid.UUID
	// changed is true when something was not as it must be: somebody had come back, or never left.
	changed bool
	failed  bool
}

// finish stores the outcome of a run.
func (w *Worker) finish(ctx context.Context, t *ent.LiveTask, r run) error {
	wait, attempts, done := w.Timing.Repeat, 0, slices.Clone(r.served)
	if r.failed {
		wait, attempts, done = min(w.Timing.Poll<<min(t.Attempts, 16), maxBackoff), t.Attempts+1, nil
	}
	over := !r.failed && !r.start.Before(t.KeepUntil)
	if over || r.changed {
		done = append(done, t.ID)
	}
	err := w.replace(ctx, done, func(tx *ent.Client) error {
		if !r.changed {
			return nil
		}
		// Whoever was there has a token from LiveKit that is as good as new.
		return tx.LiveTask.Create().SetKind(t.Kind).SetNillableRoomID(t.RoomID).SetNillableUserID(t.UserID).
			SetKeepUntil(now().Add(w.Queue.Keep)).SetNextTime(now().Add(wait)).SetAttempts(attempts).Exec(ctx)
	})
	if err != nil || over || r.changed {
		return err
	}
	// Another transaction: one that holds a row and waits for another could meet one that does the same the other way round.
	return w.DB.Run(ctx, func(tx *ent.Client) error {
		return tx.LiveTask.Update().Where(livetask.ID(t.ID)).SetNextTime(now().Add(wait)).SetAttempts(attempts).Exec(ctx)
	})
}

// replace deletes tasks one by one and in one order, so that no two workers wait for each other, and then inserts what
// takes their place.
func (w *Worker) replace(ctx context.Context, ids []uuid.UUID, insert func(tx *ent.Client) error) error {
	if len(ids) == 0 {
		return nil
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return w.DB.Run(ctx, func(tx *ent.Client) error {
		for _, id := range ids {
			if _, err := tx.LiveTask.Delete().Where(livetask.ID(id)).Exec(ctx); err != nil {
				return err
			}
		}
		return insert(tx)
	})
}
