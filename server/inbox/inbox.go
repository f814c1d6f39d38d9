// Package inbox owns what LiveKit told: each event is stored once, and whoever listens handles it after the answer.
//
// The inbox is the table of jobs. An event is one job, unique by LiveKit's id of the event for as long as it is kept, so a
// repeat has no second effect; it is retried as long as a handler fails, and listed when it was given up. Nothing is asked
// of LiveKit before the event is stored. It knows neither LiveKit nor what the handlers do. What an
// event that never came would have led to, the sweeps of server/sweeps.go do.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/meeting"
)

// Handler is somebody who listens.
type Handler struct {
	// Name is for errors and logs.
	Name string
	// Types are the event types that the handler listens to.
	Types []meeting.EventType
	// Handle does what must be so now. Events come at least once, in any order, so it asks for the present state and never
	// counts. It is called again, after a while, when it or another handler of the event fails. The event is as
	// [meeting.Event.Stored] leaves it.
	Handle func(ctx context.Context, e meeting.Event) error
	// Immediately is for what cannot wait for a job: it begins as soon as a new event is stored, beside the answer, and sees
	// the whole event. A crash loses it, so Handle must do the same. It may be nil.
	Immediately func(ctx context.Context, e meeting.Event)
}

const (
	// storeTimeout bounds the storing of an event. LiveKit sends it again, and holds back others of the room meanwhile.
	storeTimeout = 5 * time.Second
	// immediateTimeout bounds [Handler.Immediately].
	immediateTimeout = 10 * time.Second
)

// Inbox stores events and has them handled.
type Inbox struct {
	DB   *dbtx.DB
	Jobs enqueuer
	Log  *slog.Logger
	// Handlers are set before the first event.
	Handlers []Handler

	running sync.WaitGroup
}

// enqueuer lists the calls to server/jobs that this package makes.
type enqueuer interface {
	// EnqueueOnce reports whether there was no such job.
	EnqueueOnce(ctx context.Context, tx *ent.Client, args jobs.Args, options ...jobs.Option) (fresh bool, err error)
}

// stored is the job of one event. Whatever else a repeat says, the id makes it one.
type stored struct {
	ID    string        `json:"id" river:"unique"`
	Event meeting.Event `json:"event"`
}

// Kind names the job.
func (stored) Kind() string { return "livekit.event" }

// Register adds the handler of the jobs.
func (i *Inbox) Register(r *jobs.Registry) { jobs.Handle(r, i.handle) }

// Wants reports whether somebody listens to a type.
func (i *Inbox) Wants(t meeting.EventType) bool {
	return slices.ContainsFunc(i.Handlers, func(h Handler) bool { return slices.Contains(h.Types, t) })
}

// Receive stores an event, and begins at once what cannot wait. It reports whether the event was new.
func (i *Inbox) Receive(ctx context.Context, e meeting.Event) (fresh bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err = i.DB.Run(bounded, func(tx *ent.Client) error {
		fresh, err = i.Jobs.EnqueueOnce(bounded, tx, stored{ID: e.ID, Event: e.Stored()})
		return err
	})
	if err != nil || !fresh {
		return false, err
	}
	for _, h := range i.Handlers {
		if h.Immediately != nil && slices.Contains(h.Types, e.Type) {
			i.running.Go(func() { i.immediately(context.WithoutCancel(ctx), h, e) })
		}
	}
	return true, nil
}

func (i *Inbox) immediately(ctx context.Context, h Handler, e meeting.Event) {
	ctx, cancel := context.WithTimeout(ctx, immediateTimeout)
	defer cancel()
	err := jobs.Safely(ctx, i.Log, h.Name, func() error { h.Immediately(ctx, e); return nil })
	if err != nil {
		i.Log.ErrorContext(ctx, "event was not handled at once; its job is the second try", "event", e.ID, "handler", h.Name)
	}
}

// Wait returns when everything that was begun at once has ended. Nothing is received any more.
func (i *Inbox) Wait() { i.running.Wait() }

// handle has everybody handle an event who listens to it, side by side, so that one that waits keeps nobody else from it.
func (i *Inbox) handle(ctx context.Context, s stored) error {
	errs := make([]error, len(i.Handlers))
	var group sync.WaitGroup
	for n, h := range i.Handlers {
		if h.Handle == nil || !slices.Contains(h.Types, s.Event.Type) {
			continue
		}
		group.Go(func() {
			err := jobs.Safely(ctx, i.Log, h.Name, func() error { return h.Handle(ctx, s.Event) })
			if err != nil {
				errs[n] = fmt.Errorf("%s: %w", h.Name, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
