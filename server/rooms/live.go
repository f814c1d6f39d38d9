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

// taskSlack is for how much longer than a token is good a task is kept: clocks differ, and a token may be on its way.
const taskSlack = time.Minute

// maxBackoff is the longest wait after a failure: LiveKit may be back at any time.
const maxBackoff = 30 * time.Second

// batch is how many tasks are done at the same time, so that a slow one does not hold up the others.
const batch = 8

// closeLater has a room's meeting ended, and ended again as long as somebody may hold a token that brings it back.
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
	err := tx.LiveTask.Create().SetKind(kind).SetRoomID(room).SetKeepUntil(now().Add(s.TokenLife + taskSlack)).Exec(ctx)
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
	start := now()
	bounded, cancel := context.WithTimeout(ctx, s.Worker.Timeout)
	defer cancel()
	served, err := s.served(bounded, t)
	if err == nil {
		err = s.doTask(bounded, t)
	}
	if err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "live task failed", "task", t.ID, "kind", t.Kind, "attempts", t.Attempts+1, "err", err)
	}
	// A server that stops still writes down what it did, or others would wait for it.
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), s.Worker.Timeout)
	defer cancelLast()
	if err := s.finishTask(last, t, served, start, err); err != nil {
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

// finishTask writes down how a run went that began at start.
func (s *Service) finishTask(
	ctx context.Context, t *ent.LiveTask, served []uuid.UUID, start time.Time, failure error,
) error {
	if failure != nil {
		return s.postpone(ctx, t, false, min(s.Worker.Poll<<min(t.Attempts, 16), maxBackoff))
	}
	done := slices.Clone(served)
	if !start.Before(t.KeepUntil) {
		done = append(done, t.ID)
	}
	if err := s.deleteTasks(ctx, done); err != nil {
		return err
	}
	// Another transaction: one that holds a row and waits for another could meet one that does the same the other way round.
	return s.postpone(ctx, t, true, s.Worker.Repeat)
}

// postpone has a task done again after a while, if it is still there. A success makes its failures forgotten.
func (s *Service) postpone(ctx context.Context, t *ent.LiveTask, success bool, wait time.Duration) error {
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		update := tx.LiveTask.Update().Where(livetask.ID(t.ID)).SetNextTime(now().Add(wait))
		if success {
			update.SetAttempts(0)
		}
		return update.Exec(ctx)
	})
}

// deleteTasks deletes tasks one by one and in one order, so that no two workers wait for each other.
func (s *Service) deleteTasks(ctx context.Context, ids []uuid.UUID) error {
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
		return nil
	})
}

// errTask is a task that this version does not know how to do: another one does.
var errTask = errors.New("unknown kind of live task")

// doTask makes what a task says true.
func (s *Service) doTask(ctx context.Context, t *ent.LiveTask) error {
	switch {
	case t.Kind == livetask.KindCloseRoom && t.RoomID != nil:
		return s.LiveKit.CloseRoom(ctx, *t.RoomID)
	case t.Kind == livetask.KindSyncRoom && t.RoomID != nil:
		return s.Sync(ctx, *t.RoomID)
	case t.Kind == livetask.KindEndMeeting && t.RoomID != nil && t.MeetingSid != nil:
		return s.endLife(ctx, *t.RoomID, *t.MeetingSid)
	case t.Kind == livetask.KindRemoveUser && t.UserID != nil:
		return s.removeUser(ctx, *t.UserID)
	}
	return errTask
}
