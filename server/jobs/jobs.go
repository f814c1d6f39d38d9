// Package jobs does what must be done after an answer: once, later, or again and again.
//
// A job is written in the transaction that decides it, so it exists exactly when the decision does, and is done after the
// commit by whichever replica comes first: at least once, so a handler asks for the present state and can be repeated. One
// that fails is tried again with longer and longer pauses, and is kept as dead when its time is over: an operator lists
// and retries those. [Registry.Every] is for what needs no decision: sweeps and clean-up, on one replica at a time.
//
// River does the jobs, on PostgreSQL and SQLite alike. Nothing outside this package knows it.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/dbtx"
)

// Args are the arguments of a job: a struct with JSON tags and a method Kind that names what is to be done, "area.verb". The
// areas share nothing: when all workers of one wait for something slow, the others go on.
//
// Arguments are stored for days and shown to operators, so they hold ids and no personal data. They may be read by the
// release before and the one after.
type Args = river.JobArgs

// Registry lists the handlers of jobs and the periodic work. It is filled before [Client.Run], and may
// be empty when [New] is called, since those who do jobs also write some.
type Registry struct {
	workers *river.Workers
	queues  map[string]river.QueueConfig
	// shortest of the timeouts of all kinds; zero for none.
	shortest time.Duration
	periodic []periodic
	// meter is set by New.
	meter *meter
	log   *slog.Logger
}

// NewRegistry makes an empty one.
func NewRegistry() *Registry {
	return &Registry{workers: river.NewWorkers(), queues: map[string]river.QueueConfig{}}
}

// workersPerQueue is how many jobs of one area a replica does at the same time.
const workersPerQueue = 8

// standardTimeout bounds one run of a job. LiveKit answers within 25 seconds, or not at all.
const standardTimeout = 30 * time.Second

// rescueMargin is how long after its timeout a job that still counts as running was left behind by a server that died: time
// for the handler to notice and for the outcome to be written, and clocks that differ.
const rescueMargin = 10 * time.Second

// HandleOption changes how jobs of a kind are done.
type HandleOption func(*handling)

type handling struct{ timeout time.Duration }

// Timeout bounds one run of a job; without it, 30 seconds. A crash in the middle is noticed only after that, so split long
// work.
func Timeout(d time.Duration) HandleOption { return func(h *handling) { h.timeout = d } }

// Handle has work do the jobs whose arguments are a T. Errors of work are stored and logged, so they hold no personal data;
// what looks like an address, a number or a token is masked all the same. [Permanent] ones are not tried again, and [Later]
// is no failure.
func Handle[T Args](r *Registry, work func(ctx context.Context, args T) error, options ...HandleOption) {
	h := handling{timeout: standardTimeout}
	for _, o := range options {
		o(&h)
	}
	var zero T
	r.queues[queueOf(zero.Kind())] = river.QueueConfig{MaxWorkers: workersPerQueue}
	if r.shortest == 0 || h.timeout < r.shortest {
		r.shortest = h.timeout
	}
	river.AddWorker(r.workers, &worker[T]{registry: r, work: work, timeout: h.timeout})
}

// queueOf is the area of a kind.
func queueOf(kind string) string {
	area, _, _ := strings.Cut(kind, ".")
	return area
}

// Client writes jobs, and does them while [Client.Run] runs. It is good for any number of goroutines.
type Client struct {
	db       *dbtx.DB
	registry *Registry
	options  Options
	// calm is the log for what may be wrong again and again: see warnings.
	calm *slog.Logger
	// engine writes jobs. Run has another one, because those that write are made before what does the jobs.
	engine engine
}

// Options are how jobs are done. The zero value is good for writing jobs and for looking after them.
type Options struct {
	Log *slog.Logger
	// Metrics gets usher_jobs_… and usher_periodic_…; nil for none.
	Metrics prometheus.Registerer
	// Keep is how long jobs that have ended stay listed. Required for Run.
	Keep time.Duration
	// StopTimeout is how long Run waits for jobs that go on when it is told to stop, before it interrupts them. Those are
	// done again by another replica, or after the restart. Required for Run.
	StopTimeout time.Duration
}

// New makes a client. A nil registry is that of a program which does no jobs.
func New(db *dbtx.DB, r *Registry, o Options) (*Client, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{db: db, registry: r, options: o, calm: slog.New(newDedupHandler(o.Log.Handler()))}
	if r != nil {
		r.meter, r.log = newMeter(o.Metrics), o.Log
		if o.Metrics != nil {
			o.Metrics.MustRegister(backlog{c})
		}
	}
	var err error
	if c.engine, err = newEngine(db, c.quiet()); err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	return c, nil
}

// quiet configures an engine that writes jobs and does none.
func (c *Client) quiet() *river.Config {
	return &river.Config{Logger: c.calm}
}

// working configures an engine that does the jobs of the registry.
func (c *Client) working() *river.Config {
	r, config := c.registry, c.quiet()
	config.Workers, config.Queues = r.workers, r.queues
	// What a newer release wrote is left to it.
	config.FetchOnlyKnownKinds = true
	// Jobs are seen at once, by a notice of the database; the poll is for notices that got lost.
	config.FetchCooldown, config.FetchPollInterval = 10*time.Millisecond, time.Second
	// The engine looks twice a minute for jobs that have run for longer than this, and leaves those alone that are within
	// the time of their own kind.
	config.RescueStuckJobsAfter = r.shortest + rescueMargin
	config.JobTimeout = config.RescueStuckJobsAfter
	config.RetryPolicy = backoff{}
	config.SoftStopTimeout = c.options.StopTimeout
	config.CompletedJobRetentionPeriod = c.options.Keep
	config.CancelledJobRetentionPeriod = c.options.Keep
	config.DiscardedJobRetentionPeriod = c.options.Keep
	return config
}

// Option changes one job.
type Option func(*river.InsertOpts)

// KeepTrying has a job that fails tried again for at least this long before it is dead; without it, an hour.
func KeepTrying(d time.Duration) Option {
	return func(o *river.InsertOpts) { o.MaxAttempts = attemptsWithin(d) }
}

// Once writes nothing when there is a job of the same kind and arguments already: one that waits, goes on, or has ended and
// is still kept. When fields of the arguments have the tag `river:"unique"`, only those are compared. It is for what must
// not happen twice, never for "the state may have changed": the job that goes on may have looked already.
func Once() Option {
	return func(o *river.InsertOpts) {
		o.UniqueOpts = river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()}
	}
}

// Enqueue writes a job in a transaction of [dbtx.DB.Run]: it is done after the commit, and never without one.
func (c *Client) Enqueue(ctx context.Context, tx *ent.Client, args Args, options ...Option) error {
	_, err := c.enqueue(ctx, tx, args, options)
	return err
}

// EnqueueOnce is [Client.Enqueue] with [Once], and reports whether there was no such job yet.
func (c *Client) EnqueueOnce(ctx context.Context, tx *ent.Client, args Args, options ...Option) (fresh bool, err error) {
	return c.enqueue(ctx, tx, args, append(options, Once()))
}

func (c *Client) enqueue(ctx context.Context, tx *ent.Client, args Args, options []Option) (fresh bool, err error) {
	if tx.SQL == nil {
		return false, errors.New("jobs: a job is written in a transaction of dbtx.DB.Run only")
	}
	o := &river.InsertOpts{Queue: queueOf(args.Kind()), MaxAttempts: attemptsWithin(time.Hour)}
	for _, option := range options {
		option(o)
	}
	fresh, err = c.engine.insert(ctx, tx.SQL, args, o)
	if err != nil {
		return false, fmt.Errorf("enqueue %s: %w", args.Kind(), err)
	}
	return fresh, nil
}

// Permanent marks an error that trying again cannot heal: the job is dead at once.
func Permanent(err error) error { return river.JobCancel(err) }

// Later is the error of work that cannot be done yet and has not failed: the work is repeated after d, and this run does not
// count.
func Later(d time.Duration) error { return river.JobSnooze(d) }
