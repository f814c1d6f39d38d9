package recordings

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// This file is about recorders that do not do what they should.

// A recorder that begins after it was given up is stopped, and what it stores is deleted. The next recording goes on.
func TestLateEgressIsStopped(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		f.Timing.PurgeFor = time.Hour
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		f.outside.startError = meeting.ErrUnavailable
		given := f.start(ada, room, screen)
		f.sweep()
		r := f.wantStatus(given.GetId(), failedToStart)
		f.outside.startError = nil
		next := f.start(ada, room, screen)

		late := &egress{Egress: meeting.Egress{ID: "EG_late", RoomID: room.ID, Path: r.ObjectKey, Status: meeting.EgressActive, StartTime: now()}}
		f.outside.egresses[late.ID] = late
		if err := f.EgressChanged(t.Context(), late.Egress); err != nil {
			t.Fatal(err)
		}
		if late.Status != meeting.EgressEnding {
			t.Error("the late recorder was not stopped")
		}
		// It stores its file, whatever it was told.
		f.outside.files[r.ObjectKey] = 1
		late.Status = meeting.EgressComplete
		f.sweep()
		if _, there := f.outside.files[r.ObjectKey]; there {
			t.Error("the file of the late recorder is there")
		}
		f.wantStatus(given.GetId(), failedToStart)
		f.wantStatus(next.GetId(), active)
		if n := f.work(); n != 0 || len(f.outside.told) != 0 {
			t.Errorf("%d jobs failed, told %v, want nobody", n, f.outside.told)
		}
		if r := f.row(given.GetId()); r.PurgeTime != nil {
			t.Error("it is still being purged, though the recorder has ended")
		}
	})
}

// An order arrives twice, so two recorders make the same file. One is the recording's; the other is stopped, by its event or
// by the sweep, and what becomes of it says nothing about the recording.
func TestSecondRecorder(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		f.Timing.PurgeFor = time.Hour
		ada := f.user("Ada")
		for _, byEvent := range []bool{true, false} {
			room := f.room(map[any]usherv1.Role{ada: owner})
			v := f.start(ada, room, screen)
			r := f.row(v.GetId())
			second := &egress{Egress: meeting.Egress{
				ID: "EG_second" + v.GetId(), RoomID: room.ID, Path: r.ObjectKey, Status: meeting.EgressActive, StartTime: now(),
			}}
			f.outside.egresses[second.ID] = second
			tell := func() {
				t.Helper()
				if !byEvent {
					f.sweep()
				} else if err := f.EgressChanged(t.Context(), second.Egress); err != nil {
					t.Fatal(err)
				}
			}
			if tell(); second.Status != meeting.EgressEnding {
				t.Errorf("by event %v: the second recorder goes on", byEvent)
			}
			second.Status = meeting.EgressAborted
			tell()
			if r := f.wantStatus(v.GetId(), active); *r.EgressID == second.ID {
				t.Errorf("by event %v: the second recorder became the first", byEvent)
			}
			// The first one fails, and the second one goes on all the same.
			second.Status = meeting.EgressActive
			f.finish(r, meeting.EgressFailed, false)
			f.sweep()
			f.wantStatus(v.GetId(), failed)
			if tell(); second.Status != meeting.EgressEnding {
				t.Errorf("by event %v: the second recorder goes on after the end", byEvent)
			}
			second.Status, f.outside.files[r.ObjectKey] = meeting.EgressComplete, 1
			tell()
			// It is of the same meeting, and there is no other.
			if _, there := f.outside.files[r.ObjectKey]; !there {
				t.Errorf("by event %v: the only file was deleted", byEvent)
			}
			f.sweep()
			if r := f.wantStatus(v.GetId(), saved); !r.Interrupted {
				t.Errorf("by event %v: the first recorder failed, and it does not say so", byEvent)
			}
		}
	})
}

// LiveKit says that a recorder stores its file, and it is heard of no more: nothing is being recorded, so the room is free.
func TestDiesWhileStoring(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		v := f.start(ada, room, screen)
		f.outside.change(*f.row(v.GetId()).EgressID, func(e *egress) { e.Status, e.dead = meeting.EgressEnding, true })
		f.sweep()
		if r := f.wantStatus(v.GetId(), stopped); r.StopTime == nil {
			t.Error("it does not say when it stopped")
		}
		f.start(ada, room, screen)
		f.Timing.UploadWithin = 0
		f.sweep()
		f.wantStatus(v.GetId(), failed)
	})
}

// What LiveKit says of a failure is text from elsewhere: whatever is in it, the recording fails with it.
func TestFailureDetail(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		for said, want := range map[string]string{
			"pipeline\x00 broke":      "pipeline\ufffd broke",
			"half a \xc3 character":   "half a \ufffd character",
			strings.Repeat("é", 1000): strings.Repeat("é", maxDetail),
			"error 1\nerror 2":        "error 1\nerror 2",
		} {
			v := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
			e := f.finish(f.row(v.GetId()), meeting.EgressFailed, false)
			e.Detail = said
			if err := f.EgressChanged(t.Context(), *e); err != nil {
				t.Errorf("%q: %v", said, err)
				continue
			}
			if r := f.wantStatus(v.GetId(), failed); r.FailureDetail != want {
				t.Errorf("%q is kept as %q", said, r.FailureDetail)
			}
		}
	})
}

// Of two that find a recorder each, the recording has the first.
func TestRemember_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		f.outside.startError = meeting.ErrUnavailable
		f.Timing.StartWithin = time.Hour
		r := f.row(f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen).GetId())
		owns := make([]bool, 8)
		var callers sync.WaitGroup
		for i := range owns {
			callers.Go(func() {
				mine := *r // as each has read it
				own, err := f.remember(t.Context(), &mine, fmt.Sprint("EG_", i))
				if owns[i] = own; err != nil {
					t.Errorf("remember: %v", err)
				}
			})
		}
		callers.Wait()
		kept := *f.row(r.ID.String()).EgressID
		for i, own := range owns {
			if own != (fmt.Sprint("EG_", i) == kept) {
				t.Errorf("EG_%d: own %v, though the recording has %s", i, own, kept)
			}
		}
	})
}

// A recorder whose machine died is listed as running for ever. Its room is free soon, and its file saved if it left one.
func TestDeadWorkerFreesRoom(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		f.Timing.LostAfter = time.Hour
		ada := f.user("Ada")
		for _, stored := range []bool{false, true} {
			room := f.room(map[any]usherv1.Role{ada: owner})
			v := f.start(ada, room, screen)
			r := f.row(v.GetId())
			f.outside.change(*r.EgressID, func(e *egress) { e.dead = true })
			if stored {
				f.outside.files[r.ObjectKey] = 12
			}
			f.sweep()
			f.wantStatus(v.GetId(), active) // it may come back
			f.outside.change(*r.EgressID, func(e *egress) { e.dead = false })
			f.sweep()
			if r := f.wantStatus(v.GetId(), active); r.LostTime != nil {
				t.Error("a recorder that is back counts as lost")
			}
			f.outside.change(*r.EgressID, func(e *egress) { e.dead = true })
			f.Timing.LostAfter = 0
			f.sweep()
			want := failed
			if stored {
				want = saved
			}
			f.wantStatus(v.GetId(), want)
			f.Timing.LostAfter = time.Hour
			f.start(ada, room, screen)
		}
	})
}

// A recorder that does not answer when it is to stop keeps the room until it does, or until it is given up.
func TestFailedToStop(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		for _, comesBack := range []bool{true, false} {
			room := f.room(map[any]usherv1.Role{ada: owner})
			v := f.start(ada, room, screen)
			r := f.row(v.GetId())
			f.outside.change(*r.EgressID, func(e *egress) { e.dead = true })
			res, err := f.StopRecording(f.as(ada), &usherv1.StopRecordingRequest{Room: room.ID.String()})
			if err != nil || res.GetRecording().GetStatus() != failedToStop {
				t.Fatalf("stopped: %v, %v", res, err)
			}
			if _, err := f.StartRecording(f.as(ada), &usherv1.StartRecordingRequest{Room: room.ID.String(), Mode: screen}); !errors.Is(err, ErrInProgress) {
				t.Errorf("started beside it: %v", err)
			}
			f.sweep()
			f.wantStatus(v.GetId(), failedToStop)
			if comesBack {
				f.outside.change(*r.EgressID, func(e *egress) { e.dead = false })
				f.sweep()
				f.wantStatus(v.GetId(), stopped)
				continue
			}
			f.Timing.GiveUpStop = 0
			f.sweep()
			f.wantStatus(v.GetId(), failed)
			f.Timing.GiveUpStop = time.Hour
			f.start(ada, room, screen)
		}
	})
}
