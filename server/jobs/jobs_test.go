package jobs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/jobs"
)

// note is a job of these tests.
type note struct {
	Text string `json:"text"`
}

func (note) Kind() string { return "test.note" }

// other is a kind that some replicas do not know.
type other struct{}

func (other) Kind() string { return "test.other" }

// newClient makes a client; with start it also works until the test ends or the returned function is called.
func newClient(t *testing.T, db *dbtx.DB, r *jobs.Registry, o jobs.Options) *jobs.Client {
	t.Helper()
	if o.Keep == 0 {
		o.Keep = time.Hour
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 10 * time.Second
	}
	c, err := jobs.New(db, r, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs c until the returned function is called, or the test ends.
func start(t *testing.T, c *jobs.Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// registry has a handler of notes.
func registry(work func(ctx context.Context, n note) error, options ...jobs.HandleOption) *jobs.Registry {
	r := jobs.NewRegistry()
	jobs.Handle(r, work, options...)
	return r
}

func enqueue(t *testing.T, db *dbtx.DB, c *jobs.Client, text string, options ...jobs.Option) {
	t.Helper()
	err := db.Run(t.Context(), func(tx *ent.Client) error { return c.Enqueue(t.Context(), tx, note{text}, options...) })
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", within, what)
		}
	}
}

// list lists the jobs in a state, or all that are not done.
func list(t *testing.T, c *jobs.Client, state string) []jobs.Job {
	t.Helper()
	states := []string{state}
	if state == "" {
		states = []string{"waiting", "retrying", "running", "dead"}
	}
	found, err := c.List(context.WithoutCancel(t.Context()), jobs.Filter{States: states, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A job exists exactly when its transaction was committed, whatever else that did before and after.
func TestEnqueue_withTheTransaction(t *testing.T) {
	t.Parallel()
	errOwn := errors.New("changed my mind")
	tests := map[string]struct {
		end    func(ctx context.Context, cancel func(), tx *ent.Client) error
		commit bool
	}{
		"a commit":            {func(context.Context, func(), *ent.Client) error { return nil }, true},
		"an error":            {func(context.Context, func(), *ent.Client) error { return errOwn }, false},
		"a panic":             {func(context.Context, func(), *ent.Client) error { panic("boom") }, false},
		"a cancelled context": {func(_ context.Context, cancel func(), _ *ent.Client) error { cancel(); return nil }, false},
		"a statement that fails": {func(ctx context.Context, _ func(), tx *ent.Client) error {
			return tx.User.Create().SetSub("ada").Exec(ctx)
		}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
				var done atomic.Int32
				c := newClient(t, db, registry(func(context.Context, note) error { done.Add(1); return nil }), jobs.Options{})
				start(t, c)
				func() {
					defer func() { _ = recover() }()
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					_ = db.Run(ctx, func(tx *ent.Client) error {
						u, err := tx.User.Create().SetSub("ada").Save(ctx)
						if err != nil {
							return err
						}
						if err := c.Enqueue(ctx, tx, note{"one"}); err != nil {
							return err
						}
						if err := tx.User.UpdateOne(u).SetFullName("Ada").Exec(ctx); err != nil {
							return err
						}
						return test.end(ctx, cancel, tx)
					})
				}()
				users := db.Read.User.Query().CountX(t.Context())
				if !test.commit {
					// A second job is done, and the first is not.
					enqueue(t, db, c, "two")
					// Done on record: until then it is in one list or, a moment later, in the other.
					eventually(t, 30*time.Second, "the job after it was not done", func() bool { return len(list(t, c, "done")) > 0 })
					if all := append(list(t, c, ""), list(t, c, "done")...); users != 0 || done.Load() != 1 || len(all) != 1 {
						t.Errorf("%d users, %d jobs done, jobs %v; want none of the transaction", users, done.Load(), all)
					}
					return
				}
				eventually(t, 30*time.Second, "the job was not done", func() bool { return len(list(t, c, "done")) == 1 })
				if users != 1 || done.Load() != 1 || len(list(t, c, "")) != 0 {
					t.Errorf("%d users, done %d times, left: %v", users, done.Load(), list(t, c, ""))
				}
			})
		})
	}
}

func TestEnqueue_refused(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		c := newClient(t, db, nil, jobs.Options{})
		if err := c.Enqueue(t.Context(), db.Read, note{"one"}); err == nil {
			t.Error("outside a transaction: no error")
		}
		var kept *ent.Client
		enqueueIn := func(tx *ent.Client) error { kept = tx; return c.Enqueue(t.Context(), tx, note{"two"}) }
		if err := db.Run(t.Context(), enqueueIn); err != nil {
			t.Fatal(err)
		}
		if err := c.Enqueue(t.Context(), kept, note{"three"}); err == nil {
			t.Error("in a transaction that has ended: no error")
		}
		err := db.Run(t.Context(), func(tx *ent.Client) error {
			for range 2 {
				_ = tx.User.Create().SetSub("same").Exec(t.Context())
			}
			if err := c.Enqueue(t.Context(), tx, note{"four"}); err == nil && db.Pool != nil {
				t.Error("in a transaction that has failed: no error")
			}
			return errors.New("undo")
		})
		if found := list(t, c, ""); err == nil || len(found) != 1 || !strings.Contains(string(found[0].Args), "two") {
			t.Errorf("%v: got %v, want the second job only", err, found)
		}
	})
}

// Of many that write the same job at the same time, one does; also after it was done.
func TestOnce(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		var done atomic.Int32
		c := newClient(t, db, registry(func(context.Context, note) error { done.Add(1); return nil }), jobs.Options{})
		start(t, c)
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() { enqueue(t, db, c, "same", jobs.Once()) })
		}
		group.Wait()
		eventually(t, 30*time.Second, "the job was not done", func() bool { return len(list(t, c, "done")) == 1 })
		enqueue(t, db, c, "same", jobs.Once())
		enqueue(t, db, c, "another", jobs.Once())
		eventually(t, 30*time.Second, "the other job was not done", func() bool { return len(list(t, c, "done")) == 2 })
		if done.Load() != 2 || len(list(t, c, "")) != 0 {
			t.Errorf("done %d times, want 2; left: %v", done.Load(), list(t, c, ""))
		}
	})
}

// Replicas share the work, and nothing is done twice or left.
func TestRun_replicas(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		const count = 300
		var mu sync.Mutex
		done := map[string]int{}
		work := func(_ context.Context, n note) error { mu.Lock(); defer mu.Unlock(); done[n.Text]++; return nil }
		first := newClient(t, db, registry(work), jobs.Options{})
		start(t, first)
		start(t, newClient(t, db, registry(work), jobs.Options{}))
		for i := range count {
			enqueue(t, db, first, fmt.Sprint(i))
		}
		eventually(t, 60*time.Second, "not all jobs were done", func() bool { mu.Lock(); defer mu.Unlock(); return len(done) == count })
		eventually(t, 30*time.Second, "jobs are left", func() bool { return len(list(t, first, "")) == 0 })
		for text, n := range done {
			if n != 1 {
				t.Errorf("%s was done %d times", text, n)
			}
		}
	})
}

// What fails is tried again; then it is kept as dead, without what must not be kept, and can be retried by hand.
func TestRetries(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		var healthy atomic.Bool
		var runs sync.Map
		metrics := prometheus.NewRegistry()
		c := newClient(t, db, registry(func(_ context.Context, n note) error {
			count, _ := runs.LoadOrStore(n.Text, &atomic.Int32{})
			run := count.(*atomic.Int32).Add(1)
			switch {
			case healthy.Load():
				return nil
			case n.Text == "second" && run == 2:
				return nil
			case n.Text == "permanent":
				return jobs.Permanent(errors.New("ada@example.org does not exist"))
			case n.Text == "panic":
				panic("call +33 1 23 45 67 89")
			}
			return fmt.Errorf("run %d for %s failed", run, n.Text)
		}), jobs.Options{Metrics: metrics})
		start(t, c)
		enqueue(t, db, c, "second")
		for _, text := range []string{"always", "panic"} {
			enqueue(t, db, c, text, jobs.KeepTrying(time.Second))
		}
		enqueue(t, db, c, "permanent")

		eventually(t, 60*time.Second, "three jobs should be dead and one done", func() bool {
			return len(list(t, c, "dead")) == 3 && len(list(t, c, "done")) == 1
		})
		if second := list(t, c, "done")[0]; second.Attempts != 2 || len(second.Errors) != 1 {
			t.Errorf("tried again: %+v", second)
		}
		for _, job := range list(t, c, "dead") {
			last := job.Errors[len(job.Errors)-1].Error
			switch {
			case strings.Contains(string(job.Args), "permanent"):
				if job.Attempts != 1 || !strings.Contains(last, "*** does not exist") {
					t.Errorf("permanent: %+v", job)
				}
			case strings.Contains(string(job.Args), "panic"):
				if job.Attempts != job.MaxAttempts || last != "panic: call ***" {
					t.Errorf("panic: %+v", job)
				}
			case job.Attempts != job.MaxAttempts || len(job.Errors) != job.Attempts || last != "run 3 for always failed":
				t.Errorf("always: %+v", job)
			}
		}
		for outcome, want := range map[string]float64{"dead": 3, "done": 1, "failed": 5} {
			if got := value(t, metrics, "usher_jobs_total", "test.note", outcome); got != want {
				t.Errorf("metric of outcome %s: got %v, want %v", outcome, got, want)
			}
		}
		if got := value(t, metrics, "usher_jobs_dead"); got != 3 {
			t.Errorf("metric of dead jobs: got %v, want 3", got)
		}

		healthy.Store(true)
		for _, job := range list(t, c, "dead") {
			if _, err := c.Retry(t.Context(), job.ID); err != nil {
				t.Errorf("Retry: %v", err)
			}
		}
		eventually(t, 30*time.Second, "retried jobs were not done", func() bool { return len(list(t, c, "done")) == 4 })
	})
}

func TestOperate_refusals(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		c := newClient(t, db, nil, jobs.Options{})
		enqueue(t, db, c, "waits")
		job := list(t, c, "waiting")[0]
		if _, err := c.Retry(t.Context(), job.ID); !errors.Is(err, jobs.ErrWaiting) {
			t.Errorf("retry what waits: %v", err)
		}
		if err := c.Delete(t.Context(), job.ID); err != nil {
			t.Errorf("delete: %v", err)
		}
		if err := c.Delete(t.Context(), job.ID); !errors.Is(err, jobs.ErrNoJob) {
			t.Errorf("delete again: %v", err)
		}
		if _, err := c.Retry(t.Context(), job.ID); !errors.Is(err, jobs.ErrNoJob) {
			t.Errorf("retry what is gone: %v", err)
		}
		if _, err := c.Get(t.Context(), job.ID); !errors.Is(err, jobs.ErrNoJob) {
			t.Errorf("get what is gone: %v", err)
		}
	})
}

// While two releases run side by side, the older one leaves alone what it does not know.
func TestRun_unknownKind(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		older := newClient(t, db, registry(func(context.Context, note) error { return nil }), jobs.Options{})
		start(t, older)
		err := db.Run(t.Context(), func(tx *ent.Client) error {
			return newClient(t, db, nil, jobs.Options{}).Enqueue(t.Context(), tx, other{})
		})
		if err != nil {
			t.Fatal(err)
		}
		enqueue(t, db, older, "known")
		eventually(t, 30*time.Second, "the job that it knows was not done", func() bool { return len(list(t, older, "done")) == 1 })
		if left := list(t, older, "waiting"); len(left) != 1 || left[0].Attempts != 0 {
			t.Errorf("the other kind: %+v", list(t, older, ""))
		}
		var done atomic.Bool
		r := jobs.NewRegistry()
		jobs.Handle(r, func(context.Context, other) error { done.Store(true); return nil })
		start(t, newClient(t, db, r, jobs.Options{}))
		eventually(t, 30*time.Second, "the newer release does not do it", done.Load)
	})
}

// A server that stops lets jobs end; one that takes too long is interrupted, and done by another server.
func TestRun_stop(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		begun, goOn := make(chan struct{}, 2), make(chan struct{})
		c := newClient(t, db, registry(func(ctx context.Context, n note) error {
			begun <- struct{}{}
			if n.Text == "slow" {
				<-ctx.Done()
				return ctx.Err()
			}
			<-goOn
			return nil
		}), jobs.Options{StopTimeout: 2 * time.Second})
		stop := start(t, c)
		enqueue(t, db, c, "quick")
		enqueue(t, db, c, "slow")
		<-begun
		<-begun
		time.AfterFunc(200*time.Millisecond, func() { close(goOn) })
		stop()
		if done := list(t, c, "done"); len(done) != 1 || !strings.Contains(string(done[0].Args), "quick") {
			t.Errorf("done: %+v, want the quick job", done)
		}
		if left := list(t, c, "waiting"); len(left) != 1 || left[0].Attempts != 0 {
			t.Errorf("left: %+v, want the slow job as if it had not begun", list(t, c, ""))
		}
		start(t, newClient(t, db, registry(func(context.Context, note) error { return nil }), jobs.Options{}))
		eventually(t, 30*time.Second, "the interrupted job was not done", func() bool { return len(list(t, c, "done")) == 2 })
	})
}

// What is put off is the same job, done again after a while; that is no attempt of it, however often it happens.
func TestLater(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		var runs atomic.Int32
		c := newClient(t, db, registry(func(context.Context, note) error {
			if runs.Add(1) <= 3 {
				return jobs.Later(100 * time.Millisecond)
			}
			return nil
		}), jobs.Options{})
		enqueue(t, db, c, "one")
		start(t, c)
		eventually(t, 30*time.Second, "the job was not done", func() bool { return len(list(t, c, "done")) == 1 })
		if job := list(t, c, "done")[0]; job.Attempts != 1 || len(job.Errors) != 0 || runs.Load() != 4 {
			t.Errorf("after %d runs: %+v, want 4 runs in one attempt", runs.Load(), job)
		}
		if left := list(t, c, ""); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

// startChild runs this program as a server of its own, and returns when it has said all of the lines.
func startChild(t *testing.T, address string, lines ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	missing := map[string]bool{}
	for _, l := range lines {
		missing[l] = true
	}
	for scanner := bufio.NewScanner(out); len(missing) > 0; {
		if !scanner.Scan() {
			t.Fatalf("the other server ended without saying %v", missing)
		}
		delete(missing, scanner.Text())
	}
	return cmd
}

// addresses runs a test on both databases, which another process can open too.
func addresses(t *testing.T, test func(t *testing.T, address string)) {
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, testenv.PostgresURL(t)) })
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, testenv.SQLiteURL(t)) })
}

func open(t *testing.T, address string) *dbtx.DB {
	t.Helper()
	db, err := dbtx.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// slow is a kind that takes long.
type slow struct{}

func (slow) Kind() string { return "slow.job" }

// A server is killed in the middle of a job and of a sweep: another one does both. It neither waits for how long other kinds
// may take nor takes those for dead that go on for so long.
func TestKill(t *testing.T) {
	t.Parallel()
	addresses(t, func(t *testing.T, address string) {
		db := open(t, address)
		var swept, worked atomic.Int32
		r := registry(func(context.Context, note) error { worked.Add(1); return nil }, jobs.Timeout(time.Second))
		r.Every("test.sweep", time.Second, func(context.Context) error { swept.Add(1); return nil })
		var slowRuns atomic.Int32
		jobs.Handle(r, func(ctx context.Context, _ slow) error { slowRuns.Add(1); <-ctx.Done(); return ctx.Err() }, jobs.Timeout(10*time.Minute))
		c := newClient(t, db, r, jobs.Options{StopTimeout: time.Millisecond})
		enqueue(t, db, c, "one")
		cmd := startChild(t, address, "job", "sweep")
		start(t, c)
		if err := db.Run(t.Context(), func(tx *ent.Client) error { return c.Enqueue(t.Context(), tx, slow{}) }); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		eventually(t, 30*time.Second, "the sweep was not taken over", func() bool { return swept.Load() > 0 })
		t.Logf("the sweep was taken over after %v", time.Since(killed).Round(time.Millisecond))
		eventually(t, 90*time.Second, "the job was not done", func() bool { return len(list(t, c, "done")) == 1 })
		t.Logf("the job was done after %v", time.Since(killed).Round(time.Millisecond))
		if job := list(t, c, "done")[0]; worked.Load() != 1 || job.Attempts != 2 {
			t.Errorf("worked %d times: %+v", worked.Load(), job)
		}
		if running := list(t, c, "running"); slowRuns.Load() != 1 || len(running) != 1 || running[0].Attempts != 1 {
			t.Errorf("the slow job was begun %d times: %+v", slowRuns.Load(), list(t, c, ""))
		}
	})
}

// value is what a metric with these labels says.
func value(t *testing.T, metrics *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got := []string{}
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(got, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Errorf("no metric %s%v", name, labels)
	return 0
}
