package livetasks

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	"github.com/usher-meet/usher/server/dbtx"
)

// Worker does tasks. Every field is required.
type Worker struct {
	DB       *dbtx.DB
	Queue    *Queue
	Handlers Handlers
	Timing   Timing
	Log      *slog.Logger
}

// Timing times a [Worker]. Every field is required.
type Timing struct {
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

// Run makes LiveKit do what was decided, until ctx is done: the tasks of this process and of all others on the same
// database. Any number of replicas may run it.
func (w *Worker) Run(ctx context.Context) {
	tick := time.NewTicker(w.Timing.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		if w.RunDue(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-w.Queue.wakeup:
		}
	}
}

// RunDue does the tasks that are due, and reports whether there may be more.
func (w *Worker) RunDue(ctx context.Context) (more bool) {
	due := w.DB.Read.LiveTask.Query().Where(livetask.NextTimeLTE(now()))
	tasks, err := due.Order(livetask.ByNextTime()).Limit(batch).All(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.Log.ErrorContext(ctx, "live tasks cannot be read", "err", err)
		}
		return false
	}
	var running sync.WaitGroup
	claimed := 0
	for _, t := range tasks {
		ours, err := w.claim(ctx, t)
		if err != nil {
			if ctx.Err() == nil {
				w.Log.ErrorContext(ctx, "live task cannot be claimed", "task", t.ID, "err", err)
			}
			break
		}
		if ours {
			claimed++
			running.Go(func() { w.Do(ctx, t) })
		}
	}
	running.Wait()
	return len(tasks) == batch && claimed > 0
}

// claim takes a task for a while. Of several workers that try, one succeeds; should it die, the task is due again when
// the while is over.
func (w *Worker) claim(ctx context.Context, t *ent.LiveTask) (ours bool, err error) {
	err = w.DB.Run(ctx, func(tx *ent.Client) error {
		n, err := tx.LiveTask.Update().Where(livetask.ID(t.ID), livetask.NextTimeLTE(now())).
			SetNextTime(now().Add(2 * w.Timing.Timeout)).AddAttempts(1).Save(ctx)
		ours = n > 0
		return err
	})
	return ours, err
}

// Do does a task that this worker has claimed, and stores the outcome.
func (w *Worker) Do(ctx context.Context, t *ent.LiveTask) {
	bounded, cancel := context.WithTimeout(ctx, w.Timing.Timeout)
	defer cancel()
	r := run{start: now()}
	var err error
	if r.served, err = w.served(bounded, t); err == nil {
		r.changed, err = w.do(bounded, t)
	}
	r.failed = err != nil
	if err != nil && ctx.Err() == nil {
		w.Log.WarnContext(ctx, "live task failed", "task", t.ID, "kind", t.Kind, "attempts", t.Attempts+1, "err", err)
	}
	// A server that stops still writes down what it did, or others would wait for it.
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), w.Timing.Timeout)
	defer cancelLast()
	if err := w.finish(last, t, r); err != nil {
		w.Log.ErrorContext(ctx, "live task cannot be finished", "task", t.ID, "err", err)
	}
}
