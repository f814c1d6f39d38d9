package jobs

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// stopGrace is how long Run waits, after it has interrupted what goes on, for that to notice and for the engine to end.
const stopGrace = 5 * time.Second

// maxPause is the longest pause between two attempts to begin.
const maxPause = 5 * time.Second

// Run does jobs and periodic work until ctx is done, then lets what goes on end within [Options.StopTimeout]. While the
// database does not answer it waits for it. It fails when what was registered makes no sense.
func (c *Client) Run(ctx context.Context) error {
	// Those that go on are told to stop by Stop, and not at once by ctx.
	work := context.WithoutCancel(ctx)
	var e engine
	if len(c.registry.queues) > 0 {
		var err error
		if e, err = c.begin(ctx, work); err != nil {
			return err
		}
	}
	var group sync.WaitGroup
	for _, p := range c.registry.periodic {
		group.Go(func() { c.repeat(ctx, p) })
	}
	<-ctx.Done()
	if e != nil {
		c.stop(work, e)
	}
	group.Wait()
	return nil
}

// begin starts the engine: again and again while it cannot, since a database that is away for a moment must not end a server
// that answers calls. It returns nil when ctx ends first.
func (c *Client) begin(ctx, work context.Context) (engine, error) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, maxPause) {
		e, err := newEngine(c.db, c.working())
		if err != nil {
			return nil, fmt.Errorf("begin to do jobs: %w", err)
		}
		if err = e.Start(work); err == nil {
			return e, nil
		}
		c.calm.WarnContext(ctx, "jobs cannot begin yet", "err", err, "again_in", pause)
		select {
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // there is neither work nor a failure
		case <-time.After(pause):
		}
	}
}

// stop ends the engine: gently, then by interrupting jobs, then by leaving it behind. Jobs that it leaves behind are
// rescued.
func (c *Client) stop(ctx context.Context, e engine) {
	soft, cancelSoft := context.WithTimeout(ctx, c.options.StopTimeout)
	defer cancelSoft()
	if e.Stop(soft) == nil {
		return
	}
	c.options.Log.WarnContext(ctx, "jobs are interrupted by the drain timeout", "timeout", c.options.StopTimeout)
	hard, cancelHard := context.WithTimeout(ctx, stopGrace)
	defer cancelHard()
	if err := e.StopAndCancel(hard); err != nil {
		c.options.Log.ErrorContext(ctx, "jobs do not end; they are done again", "err", err)
	}
}
