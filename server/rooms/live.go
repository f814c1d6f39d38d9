package rooms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
)

// WorkerTiming times [Service.RunLive]. Every field is required.
type WorkerTiming struct {
	// Poll is how often to look for tasks of other processes. Those of this one are seen at once.
	Poll time.Duration
	// Repeat is how long to wait before a task that is to be kept is done again.
	Repeat time.Duration
	// Timeout bounds one run of a task. A task whose worker died is taken over after twice as long.
	Timeout time.Duration
}

// maxBackoff is the longest wait after a failure: LiveKit may be back at any time.
const maxBackoff = 30 * time.Second

// batch is how many tasks are done at the same time, so that a slow one does not hold up the others.
const batch = 8

// closeLater has a room's meeting ended, and ended again until nobody has a token left that brings it back.
func (s *Service) closeLater(ctx context.Context, tx *ent.Client, room uuid.UUID) error {
	return s.later(ctx, tx, livetask.KindCloseRoom, room)
}

// SyncLater has a room's meeting follow the database, as the transaction leaves it: as long as somebody may join with a token
// that says what was before.
func (s *Service) SyncLater(ctx context.Context, tx *ent.Client, room uuid.UUID) error {
	return s.later(ctx, tx, livetask.KindSyncRoom, room)
}

// later writes a task in the transaction that decided it. After the commit, call [Service.Wake].
func (s *Service) later(ctx context.Context, tx *ent.Client, kind livetask.Kind, room uuid.UUID) error {
	err := tx.LiveTask.Create().SetKind(kind).SetRoomID(room).SetKeepUntil(now().Add(s.TaskLife)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("insert %s task for %s: %w", kind, room, err)
	}
	return nil
}

// Wake tells the worker of this process, if there is one, that a task was committed.
func (s *Service) Wake() {
	select {
	case s.wakeup() <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

func (s *Service) wakeup() chan struct{} {
	s.wakeOnce.Do(func() { s.wakeups = make(chan struct{}, 1) })
	return s.wakeups
}

// RunLive makes LiveKit do what was decided, until ctx is done: the tasks of this process and of all others on the same
// database. Any number of replicas may run it.
func (s *Service) RunLive(ctx context.Context) {
	tick := time.NewTicker(s.Worker.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		if s.runDue(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-s.wakeup():
		}
	}
}

// runDue does the tasks that are due, and reports whether there may be more.
func (s *Service) runDue(ctx context.Context) (more bool) {
	due := s.DB.Read.LiveTask.Query().Where(livetask.NextTimeLTE(now()))
	tasks, err := due.Order(livetask.ByNextTime()).Limit(batch).All(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "live tasks cannot be read", "err", err)
		}
		return false
	}
	var running sync.WaitGroup
	claimed := 0
	for _, t := range tasks {
		ours, err := s.claimTask(ctx, t)
		if err != nil {
			if ctx.Err() == nil {
				s.Log.ErrorContext(ctx, "live task cannot be claimed", "task", t.ID, "err", err)
			}
			break
		}
		if ours {
			claimed++
			running.Go(func() { s.runTask(ctx, t) })
		}
	}
	running.Wait()
	return len(tasks) == batch && claimed > 0
}

// claimTask takes a task for a while. Of several workers that try, one succeeds; should it die, the task is due again when
// the while is over.
func (s *Service) claimTask(ctx context.Context, t *ent.LiveTask) (ours bool, err error) {
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		n, err := tx.LiveTask.Update().Where(livetask.ID(t.ID), livetask.NextTimeLTE(now())).
			SetNextTime(now().Add(2 * s.Worker.Timeout)).AddAttempts(1).Save(ctx)
		ours = n > 0
		return err
	})
	return ours, err
}

// runTask does a task that this worker has claimed, and writes down how it went.
func (s *Service) runTask(ctx context.Context, t *ent.LiveTask) {
	bounded, cancel := context.WithTimeout(ctx, s.Worker.Timeout)
	defer cancel()
	r := run{start: now()}
	var err error
	if r.served, err = s.served(bounded, t); err == nil {
		r.changed, err = s.doTask(bounded, t)
	}
	r.failed = err != nil
	if err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "live task failed", "task", t.ID, "kind", t.Kind, "attempts", t.Attempts+1, "err", err)
	}
	// A server that stops still writes down what it did, or others would wait for it.
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), s.Worker.Timeout)
	defer cancelLast()
	if err := s.finishTask(last, t, r); err != nil {
		s.Log.ErrorContext(ctx, "live task cannot be finished", "task", t.ID, "err", err)
	}
}

// served are the other tasks that a run of t does too: equal ones that were committed before it begins and need not be
// kept longer. Of each two equal tasks only one can serve the other.
func (s *Service) served(ctx context.Context, t *ent.LiveTask) ([]uuid.UUID, error) {
	query := s.DB.Read.LiveTask.Query().Where(livetask.KindEQ(t.Kind), livetask.Or(
		livetask.KeepUntilLT(t.KeepUntil), livetask.And(livetask.KeepUntil(t.KeepUntil), livetask.IDLT(t.ID)),
	))
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

// run is how one run of a task went.
type run struct {
	start time.Time
	// served are the other tasks that it did too.
	served []uuid.UUID
	// changed is true when something was not as it must be: somebody had come back, or never left.
	changed bool
	failed  bool
}

// finishTask writes down how a run went.
func (s *Service) finishTask(ctx context.Context, t *ent.LiveTask, r run) error {
	wait, attempts, done := s.Worker.Repeat, 0, slices.Clone(r.served)
	if r.failed {
		wait, attempts, done = min(s.Worker.Poll<<min(t.Attempts, 16), maxBackoff), t.Attempts+1, nil
	}
	over := !r.failed && !r.start.Before(t.KeepUntil)
	if over || r.changed {
		done = append(done, t.ID)
	}
	err := s.replaceTasks(ctx, done, func(tx *ent.Client) error {
		if !r.changed {
			return nil
		}
		// Whoever was there has a token from LiveKit that is as good as new.
		return tx.LiveTask.Create().SetKind(t.Kind).SetNillableRoomID(t.RoomID).SetNillableUserID(t.UserID).
			SetKeepUntil(now().Add(s.TaskLife)).SetNextTime(now().Add(wait)).SetAttempts(attempts).Exec(ctx)
	})
	if err != nil || over || r.changed {
		return err
	}
	// Another transaction: one that holds a row and waits for another could meet one that does the same the other way round.
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		return tx.LiveTask.Update().Where(livetask.ID(t.ID)).SetNextTime(now().Add(wait)).SetAttempts(attempts).Exec(ctx)
	})
}

// replaceTasks deletes tasks one by one and in one order, so that no two workers wait for each other, and then inserts what
// takes their place.
func (s *Service) replaceTasks(ctx context.Context, ids []uuid.UUID, insert func(tx *ent.Client) error) error {
	if len(ids) == 0 {
		return nil
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		for _, id := range ids {
			if _, err := tx.LiveTask.Delete().Where(livetask.ID(id)).Exec(ctx); err != nil {
				return err
			}
		}
		return insert(tx)
	})
}

// errTask is a task that this version does not know how to do: another one does.
var errTask = errors.New("unknown kind of live task")

// doTask makes what a task says true, and reports whether it was not.
func (s *Service) doTask(ctx context.Context, t *ent.LiveTask) (changed bool, err error) {
	switch {
	case t.Kind == livetask.KindCloseRoom && t.RoomID != nil:
		return s.closeRoom(ctx, *t.RoomID)
	case t.Kind == livetask.KindSyncRoom && t.RoomID != nil:
		return s.syncRoom(ctx, *t.RoomID)
	case t.Kind == livetask.KindEndMeeting && t.RoomID != nil && t.MeetingSid != nil:
		// Never "changed": it is done once, and not kept for those who begin another meeting.
		return false, s.endSession(ctx, *t.RoomID, *t.MeetingSid)
	case t.Kind == livetask.KindRemoveUser && t.UserID != nil:
		return s.removeUser(ctx, *t.UserID)
	}
	return false, errTask
}
