package jobs_test

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/jobs"
)

// A database that is away when the work should begin is waited for, and a server that stops meanwhile does stop.
func TestRun_databaseAway(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testenv.PostgresURL(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := testenv.NewProxy(t, u.Host)
	u.Host = proxy.Address
	db, err := dbtx.Open(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	var done atomic.Int32
	log := &testenv.Log{}
	r := registry(func(context.Context, note) error { done.Add(1); return nil })
	r.Every("test.sweep", time.Second, func(context.Context) error { return nil })
	c := newClient(t, db, r, jobs.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	proxy.Cut()

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Run(ctx); err != nil {
		t.Fatalf("Run without a database: %v, want it to wait", err)
	}
	start(t, c)
	proxy.Restore()
	enqueue(t, db, c, "after")
	eventually(t, 30*time.Second, "the job was not done", func() bool { return done.Load() == 1 })

	// Away again, while the engine runs: that is said, and not several times a second.
	said := func() (n int) { return strings.Count(log.String(), "Error fetching jobs") }
	before := said()
	proxy.Cut()
	eventually(t, 30*time.Second, "the log does not say that the database is away", func() bool { return said() > before })
	time.Sleep(4 * time.Second) // in which the engine asks four times
	if n := said() - before; n != 1 {
		t.Errorf("said %d times: %s", n, log)
	}
}
