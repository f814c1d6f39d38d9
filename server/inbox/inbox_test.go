package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/inbox"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/meeting"
)

// newInbox makes an inbox; with work, its jobs are done until the end of the test.
func newInbox(t *testing.T, db *dbtx.DB, work bool, handlers ...inbox.Handler) (*inbox.Inbox, *jobs.Client) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	r := jobs.NewRegistry()
	client, err := jobs.New(db, r, jobs.Options{Log: log, Keep: time.Hour, StopTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	inbox := &inbox.Inbox{DB: db, Jobs: client, Log: log, Handlers: handlers}
	inbox.Register(r)
	if work {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- client.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(inbox.Wait)
	return inbox, client
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func newEvent(kind meeting.EventType) meeting.Event {
	return meeting.Event{ID: "EV_" + uuid.NewString(), Type: kind, Time: time.Now().UTC().Truncate(time.Second), RoomID: uuid.New(), RoomSID: "RM_test"}
}

// An event that arrives many times at once, at two replicas, is handled once, by each handler that listens to it.
func TestReceive_once(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		var mu sync.Mutex
		handled := map[string]int{}
		handler := func(name string, kinds ...meeting.EventType) inbox.Handler {
			return inbox.Handler{Name: name, Types: kinds, Handle: func(_ context.Context, e meeting.Event) error {
				mu.Lock()
				defer mu.Unlock()
				handled[name+" "+e.ID]++
				return nil
			}}
		}
		handlers := []inbox.Handler{
			handler("both", meeting.RoomStarted, meeting.RoomFinished), handler("finished", meeting.RoomFinished), handler("egress", meeting.EgressEnded),
		}
		first, client := newInbox(t, db, true, handlers...)
		second, _ := newInbox(t, db, true, handlers...)
		var fresh atomic.Int32
		want := map[string]int{}
		var group sync.WaitGroup
		for n := range 20 {
			e := newEvent(meeting.RoomStarted)
			want["both "+e.ID] = 1
			if n%2 == 0 {
				e.Type = meeting.RoomFinished
				want["finished "+e.ID] = 1
			}
			for i := range 6 {
				group.Go(func() {
					inbox := []*inbox.Inbox{first, second}[i%2]
					repeated := e
					repeated.RoomSID = fmt.Sprint("RM_", i) // whatever else it says
					isFresh, err := inbox.Receive(t.Context(), repeated)
					if err != nil {
						t.Error(err)
					}
					if isFresh {
						fresh.Add(1)
					}
				})
			}
		}
		group.Wait()
		eventually(t, "all are handled", func() bool {
			done, err := client.List(t.Context(), jobs.Filter{States: []string{"done"}, Limit: 100})
			return err == nil && len(done) == 20
		})
		mu.Lock()
		defer mu.Unlock()
		if fresh.Load() != 20 || len(handled) != len(want) {
			t.Errorf("%d were new, want 20; handled %v, want %v", fresh.Load(), handled, want)
		}
		for key, n := range handled {
			if n != want[key] {
				t.Errorf("%s was handled %d times, want %d", key, n, want[key])
			}
		}
		if !first.Wants(meeting.EgressEnded) || first.Wants(meeting.TrackPublished) {
			t.Error("Wants does not say what handlers listen to")
		}
	})
}

// One handler that fails, panics or hangs keeps no other from its work, and is called again.
func TestHandle_failures(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		var failed, panicked, worked atomic.Int32
		on := []meeting.EventType{meeting.RoomFinished}
		inbox, client := newInbox(t, db, true,
			inbox.Handler{Name: "fails", Types: on, Handle: func(context.Context, meeting.Event) error {
				if failed.Add(1) == 1 {
					return errors.New("LiveKit is unavailable")
				}
				return nil
			}},
			inbox.Handler{Name: "panics", Types: on, Handle: func(context.Context, meeting.Event) error {
				if panicked.Add(1) == 1 {
					panic("boom")
				}
				return nil
			}},
			inbox.Handler{Name: "waits", Types: on, Handle: func(ctx context.Context, _ meeting.Event) error {
				for worked.Load() == 0 && ctx.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				return ctx.Err()
			}},
			inbox.Handler{Name: "works", Types: on, Handle: func(context.Context, meeting.Event) error { worked.Add(1); return nil }},
		)
		if _, err := inbox.Receive(t.Context(), newEvent(meeting.RoomFinished)); err != nil {
			t.Fatal(err)
		}
		var done []jobs.Job
		eventually(t, "the event is handled", func() bool {
			var err error
			done, err = client.List(t.Context(), jobs.Filter{States: []string{"done"}, Limit: 10})
			return err == nil && len(done) == 1
		})
		if failed.Load() != 2 || panicked.Load() != 2 || worked.Load() != 2 {
			t.Errorf("called %d, %d and %d times, want twice each", failed.Load(), panicked.Load(), worked.Load())
		}
		if text := done[0].Errors[0].Error; !strings.Contains(text, "fails: LiveKit is unavailable") || !strings.Contains(text, "panics: panic: boom") {
			t.Errorf("what failed: %s", text)
		}
	})
}

// What cannot wait begins with the answer and not with the job, once, with the whole event; what is kept holds no names.
func TestReceive_immediately(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		begun := make(chan meeting.Event, 10)
		inbox, client := newInbox(t, db, false, // nobody does jobs
			inbox.Handler{Name: "hold", Types: []meeting.EventType{meeting.ParticipantJoined}, Immediately: func(ctx context.Context, e meeting.Event) {
				if _, ok := ctx.Deadline(); !ok {
					t.Error("it is not bounded")
				}
				begun <- e
				panic("whatever it does")
			}},
			inbox.Handler{Name: "other", Types: []meeting.EventType{meeting.RoomFinished}, Immediately: func(context.Context, meeting.Event) { t.Error("called for another type") }},
		)
		e := newEvent(meeting.ParticipantJoined)
		e.Participant = &meeting.Participant{
			Identity: "sip_0123", DisplayName: "Phone +33123456789", SID: "PA_test",
			Attributes: map[string]string{"sip.callID": "SCL_test", "sip.phoneNumber": "+33123456789", "lobby": "waiting"},
		}
		ctx, cancel := context.WithCancel(t.Context())
		for n := range 2 {
			if fresh, err := inbox.Receive(ctx, e); err != nil || fresh != (n == 0) {
				t.Errorf("time %d: fresh %v, %v", n, fresh, err)
			}
		}
		cancel() // LiveKit has its answer
		inbox.Wait()
		if got := <-begun; got.Participant.DisplayName != "Phone +33123456789" || len(begun) != 0 {
			t.Errorf("got %+v, and %d more", got, len(begun))
		}
		kept, err := client.List(t.Context(), jobs.Filter{Limit: 10})
		if err != nil || len(kept) != 1 {
			t.Fatalf("%v, %v", kept, err)
		}
		text := string(kept[0].Args)
		if strings.Contains(text, "33123456789") || !strings.Contains(text, "SCL_test") || !strings.Contains(text, "sip_0123") {
			t.Errorf("kept: %s", text)
		}
		if e.Participant.DisplayName == "" || e.Participant.Attributes["sip.phoneNumber"] == "" {
			t.Error("the event itself has changed")
		}
	})
}
