package recordings

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/idempotency"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// This file is about how a recording begins.

func TestStart_refused(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada, bob := f.user("Ada"), f.user("Bob")
		room := f.room(map[any]usherv1.Role{ada: owner, bob: plainMember})
		quiet := f.room(map[any]usherv1.Role{ada: owner})
		delete(f.outside.live, quiet.ID)
		none := f.room(map[any]usherv1.Role{ada: owner})
		for name, try := range map[string]struct {
			u    *ent.User
			room *ent.Room
			mode usherv1.RecordingMode
			want error
		}{
			"a member":       {bob, room, screen, auth.ErrInsufficientRole},
			"no meeting":     {ada, quiet, screen, ErrNotLive},
			"a mode not had": {ada, none, 9, ErrDisabled},
		} {
			_, err := f.StartRecording(f.as(try.u), &usherv1.StartRecordingRequest{Room: try.room.ID.String(), Mode: try.mode})
			if !errors.Is(err, try.want) {
				t.Errorf("%s: %v, want %v", name, err, try.want)
			}
		}
		if n, err := db.Read.Recording.Query().Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d recordings, %v, want none", n, err)
		}
		f.outside.startError = meeting.ErrRefused
		v := f.start(ada, room, screen)
		if v.GetStatus() != failedToStart || v.GetFailure().GetReason() != usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_REFUSED {
			t.Errorf("refused by LiveKit: %v", v)
		}
		f.outside.startError = nil
		f.start(ada, room, screen) // the room is free
	})
}

func TestOneRecordingPerRoom_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada, bob := f.user("Ada"), f.user("Bob")
		for round := range 10 {
			room := f.room(map[any]usherv1.Role{ada: owner, bob: owner})
			var mu sync.Mutex
			started, refused := 0, 0
			var callers sync.WaitGroup
			for i := range 8 {
				callers.Go(func() {
					u := []*ent.User{ada, bob}[i%2]
					_, err := f.StartRecording(f.as(u), &usherv1.StartRecordingRequest{Room: room.ID.String(), Mode: screen})
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						started++
					case errors.Is(err, ErrInProgress):
						refused++
					default:
						t.Errorf("start: %v", err)
					}
				})
			}
			callers.Wait()
			rows, err := db.Read.Recording.Query().Where(recording.RoomID(room.ID)).Count(t.Context())
			f.outside.mu.Lock()
			recorders := 0
			for _, e := range f.outside.egresses {
				if e.RoomID == room.ID {
					recorders++
				}
			}
			f.outside.mu.Unlock()
			if started != 1 || refused != 7 || rows != 1 || recorders != 1 || err != nil {
				t.Fatalf("round %d: %d started, %d refused, %d rows, %d recorders, %v; want 1, 7, 1, 1",
					round, started, refused, rows, recorders, err)
			}
		}
	})
}

func TestStart_requestID(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		req := &usherv1.StartRecordingRequest{Room: room.ID.String(), Mode: screen, RequestId: uuid.NewString()}
		ids := make([]string, 5)
		var callers sync.WaitGroup
		for i := range ids {
			callers.Go(func() {
				res, err := f.StartRecording(f.as(ada), req)
				if err != nil {
					t.Errorf("start: %v", err)
				}
				ids[i] = res.GetRecording().GetId()
			})
		}
		callers.Wait()
		if slices.Sort(ids); ids[0] == "" || ids[0] != ids[4] {
			t.Errorf("equal calls started %v", ids)
		}
		f.finish(f.row(ids[0]), meeting.EgressComplete, true)
		f.sweep()
		// The answer is the recording as it is, not as it was.
		if res, err := f.StartRecording(f.as(ada), req); err != nil || res.GetRecording().GetStatus() != saved {
			t.Errorf("repeated: %v, %v", res, err)
		}
		req.Mode = transcript
		if _, err := f.StartRecording(f.as(ada), req); !errors.Is(err, idempotency.ErrReused) {
			t.Errorf("another request: %v, want REQUEST_ID_REUSED", err)
		}
	})
}

// After an answer that was lost, a recorder may be there or not: the call says INITIATED, and the sweep finds out.
func TestStartAnswerLost(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		f.Timing.StartWithin = time.Hour
		ada := f.user("Ada")
		there, none := f.room(map[any]usherv1.Role{ada: owner}), f.room(map[any]usherv1.Role{ada: owner})
		f.outside.startError, f.outside.startAnyway = meeting.ErrUnavailable, true
		v := f.start(ada, there, screen)
		f.outside.startAnyway = false
		lost := f.start(ada, none, screen)
		if v.GetStatus() != initiated || lost.GetStatus() != initiated {
			t.Fatalf("without an answer: %v, %v, want INITIATED", v.GetStatus(), lost.GetStatus())
		}
		f.sweep()
		if r := f.wantStatus(v.GetId(), active); r.EgressID == nil {
			t.Error("the recorder that came is not known")
		}
		f.wantStatus(lost.GetId(), initiated)
		f.Timing.StartWithin = 0
		f.sweep()
		f.wantStatus(v.GetId(), active)
		if r := f.wantStatus(lost.GetId(), failedToStart); r.FailureReason != usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_NOT_STARTED {
			t.Errorf("reason %v", r.FailureReason)
		}
		f.outside.startError = nil
		f.start(ada, none, screen)
	})
}
