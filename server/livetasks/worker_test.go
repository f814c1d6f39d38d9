package livetasks_test

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/livetasks"
)

// handlers count what a worker has done; server/rooms tests what its handlers do in LiveKit.
type handlers struct {
	mu    sync.Mutex
	calls []string
	// intercept may fail a call, or hold it up; nil lets all succeed.
	intercept func(ctx context.Context, call string) error
}

func (h *handlers) call(ctx context.Context, name string) error {
	h.mu.Lock()
	intercept := h.intercept
	h.mu.Unlock()
	if intercept != nil {
		if err := intercept(ctx, name); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, name)
	return nil
}

// done returns the calls that succeeded.
func (h *handlers) done() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func (h *handlers) set(intercept func(ctx context.Context, call string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.intercept = intercept
}

func (h *handlers) CloseRoom(ctx context.Context, _ uuid.UUID) (bool, error) {
	return false, h.call(ctx, "CloseRoom")
}

func (h *handlers) SyncRoom(ctx context.Context, _ uuid.UUID) (bool, error) {
	return false, h.call(ctx, "SyncRoom")
}

func (h *handlers) EndSession(ctx context.Context, _ uuid.UUID, _ string) error {
	return h.call(ctx, "EndSession")
}

func (h *handlers) RemoveUser(ctx context.Context, _ uuid.UUID) (bool, error) {
	return false, h.call(ctx, "RemoveUser")
}

// newWorker makes a worker whose tasks need not be kept.
func newWorker(db *dbtx.DB) (*livetasks.Worker, *handlers) {
	h := &handlers{}
	queue := livetasks.NewQueue(time.Minute)
	queue.Keep = 0
	return &livetasks.Worker{
		DB: db, Queue: queue, Handlers: h, Log: slog.New(slog.DiscardHandler),
		Timing: livetasks.Timing{Poll: 20 * time.Millisecond, Repeat: 20 * time.Millisecond, Timeout: 5 * time.Second},
	}, h
}

// start runs a worker until the end of the test, or until it is stopped.
func start(t *testing.T, w *livetasks.Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// eventually waits for cond, and fails the test when it takes over 10 s.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// write writes a task as a transaction of a service does.
func write(t *testing.T, db *dbtx.DB, enqueue func(ctx context.Context, tx *ent.Client) error) {
	t.Helper()
	if err := db.Run(t.Context(), func(tx *ent.Client) error { return enqueue(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// closeRoom writes a task to close any room.
func closeRoom(t *testing.T, w *livetasks.Worker) {
	t.Helper()
	write(t, w.DB, func(ctx context.Context, tx *ent.Client) error { return w.Queue.CloseRoom(ctx, tx, uuid.New()) })
}

func tasks(t *testing.T, db *dbtx.DB) []*ent.LiveTask {
	t.Helper()
	return db.Read.LiveTask.Query().AllX(t.Context())
}

func TestRun_everyKind(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w, h := newWorker(db)
		write(t, db, func(ctx context.Context, tx *ent.Client) error { return w.Queue.SyncRoom(ctx, tx, uuid.New()) })
		write(t, db, func(ctx context.Context, tx *ent.Client) error {
			return w.Queue.EndSession(ctx, tx, uuid.New(), "RM_test")
		})
		write(t, db, func(ctx context.Context, tx *ent.Client) error { return w.Queue.RemoveUser(ctx, tx, uuid.New()) })
		closeRoom(t, w)
		start(t, w)
		eventually(t, "all are done", func() bool { return len(tasks(t, db)) == 0 })
		got := h.done()
		slices.Sort(got)
		if diff := cmp.Diff([]string{"CloseRoom", "EndSession", "RemoveUser", "SyncRoom"}, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

// A call that hangs is given up, and holds up no other task.
func TestRun_slow(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w, h := newWorker(db)
		w.Timing.Timeout = 300 * time.Millisecond
		var hung atomic.Int32
		h.set(func(ctx context.Context, call string) error {
			if call != "RemoveUser" || hung.Add(1) > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		write(t, db, func(ctx context.Context, tx *ent.Client) error { return w.Queue.RemoveUser(ctx, tx, uuid.New()) })
		closeRoom(t, w)
		start(t, w)
		eventually(t, "the room is closed", func() bool { return slices.Contains(h.done(), "CloseRoom") })
		eventually(t, "both are done", func() bool { return len(tasks(t, db)) == 0 })
		if hung.Load() < 2 {
			t.Error("the call that hung was not repeated")
		}
	})
}

// A worker that dies after it claimed a task loses the task to another one.
func TestRun_crash(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w, h := newWorker(db)
		// The dead worker holds its task for twice as long: longer than a busy machine takes to look.
		w.Timing.Timeout = 2 * time.Second
		closeRoom(t, w)
		task := tasks(t, db)[0]
		h.set(func(context.Context, string) error {
			runtime.Goexit() // nothing after this runs, as if the process were killed
			return nil
		})
		w.RunDue(t.Context())
		if left := tasks(t, db); len(left) != 1 || left[0].ID != task.ID || left[0].Attempts != 1 || !left[0].NextTime.After(time.Now()) {
			t.Fatalf("after the crash: %v", left)
		}
		h.set(nil)
		w.RunDue(t.Context())
		if calls := h.done(); len(calls) != 0 {
			t.Errorf("a task that somebody holds was done: %v", calls)
		}
		start(t, w)
		eventually(t, "the task is done by another one", func() bool { return len(tasks(t, db)) == 0 && len(h.done()) == 1 })
	})
}

// Of several workers each task is done by one.
func TestRun_replicas(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w, h := newWorker(db)
		const n = 40
		for range n {
			closeRoom(t, w)
		}
		for range 3 {
			replica, _ := newWorker(db)
			replica.Handlers = h
			start(t, replica)
		}
		eventually(t, "all are done", func() bool { return len(tasks(t, db)) == 0 })
		if calls := h.done(); len(calls) != n {
			t.Errorf("%d calls for %d tasks", len(calls), n)
		}
	})
}

// A worker that is stopped in the middle puts its task back.
func TestRun_stops(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w, h := newWorker(db)
		w.Timing.Timeout = time.Hour
		working := make(chan struct{})
		h.set(func(ctx context.Context, _ string) error {
			close(working)
			<-ctx.Done()
			return ctx.Err()
		})
		closeRoom(t, w)
		stop := start(t, w)
		<-working
		stop()
		if task := tasks(t, db)[0]; task.NextTime.After(time.Now().Add(time.Second)) {
			t.Errorf("the task waits until %v", task.NextTime)
		}
	})
}

// Of equal tasks the one that is kept longest serves the others, so that one is left.
func TestServed_isOneWay(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w, _ := newWorker(db)
		room, keep := uuid.New(), time.Now().UTC().Truncate(time.Microsecond).Add(time.Hour)
		insert := func(kind livetask.Kind, id uuid.UUID, keep time.Time) (task *ent.LiveTask) {
			write(t, db, func(ctx context.Context, tx *ent.Client) (err error) {
				create := tx.LiveTask.Create().SetKind(kind).SetKeepUntil(keep)
				if kind == livetask.KindRemoveUser {
					create.SetUserID(id)
				} else {
					create.SetRoomID(id)
				}
				task, err = create.Save(ctx)
				return err
			})
			return task
		}
		var equal []*ent.LiveTask
		for range 4 {
			equal = append(equal, insert(livetask.KindSyncRoom, room, keep))
		}
		last := insert(livetask.KindSyncRoom, room, keep.Add(time.Hour))
		others := []*ent.LiveTask{
			insert(livetask.KindCloseRoom, room, keep), insert(livetask.KindSyncRoom, uuid.New(), keep),
			insert(livetask.KindRemoveUser, room, keep),
		}
		var running sync.WaitGroup
		for _, task := range equal {
			running.Go(func() { w.Do(t.Context(), task) })
		}
		running.Wait()
		if n := len(tasks(t, db)); n != 1+1+len(others) {
			t.Errorf("%d tasks left, want one of the equal ones and the others", n)
		}
		w.Do(t.Context(), last)
		var got, want []string
		for _, task := range tasks(t, db) {
			got = append(got, task.ID.String())
		}
		for _, task := range append(others, last) {
			want = append(want, task.ID.String())
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}
