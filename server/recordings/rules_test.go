package recordings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/meeting"
)

// The table has every status of the contract, and each can be reached. Final ones are followed only by
// NOTIFICATION_SUCCEEDED after SAVED, and by SAVED after FAILED when the file comes late.
func TestTransitions(t *testing.T) {
	t.Parallel()
	reached := map[usherv1.RecordingStatus]bool{initiated: true}
	for from, all := range transitions {
		for _, to := range all {
			reached[to] = true
			if slices.Contains(final, from) && (from != saved || to != notified) && (from != failed || to != saved) {
				t.Errorf("%s follows %s, which is final", statusName(to), statusName(from))
			}
		}
	}
	for number, name := range usherv1.RecordingStatus_name {
		st := usherv1.RecordingStatus(number)
		if number == 0 {
			continue
		}
		if !reached[st] {
			t.Errorf("%s is never reached", name)
		}
		if slices.Contains(final, st) == slices.Contains(unsettled, st) {
			t.Errorf("%s must be either final or unsettled", name)
		}
	}
}

// finish ends a recorder as LiveKit would tell, with a file or without.
func (f *fixture) finish(r *ent.Recording, status meeting.EgressStatus, file bool) *meeting.Egress {
	f.t.Helper()
	var seen meeting.Egress
	if file {
		f.outside.mu.Lock()
		f.outside.files[r.ObjectKey] = 4711
		f.outside.mu.Unlock()
	}
	f.outside.change(*r.EgressID, func(e *egress) {
		e.Status, e.EndTime, e.Duration, e.Detail = status, now(), 2*time.Second, "test detail"
		seen = e.Egress
	})
	return &seen
}

func TestRecording_saved(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada, bob := f.user("Ada"), f.user("Bob")
		room := f.room(map[any]usherv1.Role{ada: administrator, bob: owner, "carol@example.org": owner})
		v := f.start(ada, room, screen)
		if v.GetStatus() != active || v.GetMyRole() != owner || v.GetRoomName() != "Weekly" || v.GetDownloadable() || v.GetStartTime() == nil {
			t.Errorf("started: %v", v)
		}
		if mode, label, err := f.Label(t.Context(), room.ID, time.Time{}); mode != "screen_recording" || label != "started" || err != nil {
			t.Errorf("label %q %q, %v", mode, label, err)
		}
		res, err := f.StopRecording(f.as(bob), &usherv1.StopRecordingRequest{Room: room.ID.String()})
		if err != nil || res.GetRecording().GetStatus() != stopped || res.GetRecording().GetMyRole() != administrator {
			t.Fatalf("stopped: %v, %v", res, err)
		}
		if _, err := f.StopRecording(f.as(bob), &usherv1.StopRecordingRequest{Room: room.ID.String()}); !errors.Is(err, ErrNotActive) {
			t.Errorf("stopped twice: %v, want RECORDING_NOT_ACTIVE", err)
		}
		e := f.finish(f.row(v.GetId()), meeting.EgressComplete, true)
		for range 3 { // events are repeated
			if err := f.EgressChanged(t.Context(), *e); err != nil {
				t.Fatal(err)
			}
		}
		r := f.wantStatus(v.GetId(), saved)
		if r.SizeBytes != 4711 || r.DurationMs != 2000 || r.SaveTime == nil || r.EndTime == nil || r.LostTime != nil {
			t.Errorf("saved: %+v", r)
		}
		f.work()
		f.wantStatus(v.GetId(), notified)
		// Ada started it; Bob is an administrator of it only, and is not told.
		if len(f.outside.told) != 1 {
			t.Errorf("told %v, want one", f.outside.told)
		}
		got, err := f.GetRecording(f.as(bob), &usherv1.GetRecordingRequest{RecordingId: v.GetId()})
		if err != nil || !got.GetRecording().GetDownloadable() || got.GetRecording().GetMediaPath() != "/media/"+r.ObjectKey {
			t.Errorf("seen by an owner of the room: %v, %v", got, err)
		}
		if _, err := f.GetRecording(f.as(f.user("Carol")), &usherv1.GetRecordingRequest{RecordingId: v.GetId()}); err != nil {
			t.Errorf("seen by an owner who had not come: %v", err)
		}
		if mode, label, err := f.Label(t.Context(), room.ID, time.Time{}); mode+label != "" || err != nil {
			t.Errorf("label %q %q, %v, want none", mode, label, err)
		}
	})
}

// All signals at the same moment make one transition each, and one notification.
func TestSettle_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		for round := range 10 {
			room := f.room(map[any]usherv1.Role{ada: owner})
			v := f.start(ada, room, screen)
			e := f.finish(f.row(v.GetId()), meeting.EgressComplete, true)
			var signals sync.WaitGroup
			for i := range 8 {
				signals.Go(func() {
					var err error
					if i%2 == 0 {
						err = f.EgressChanged(t.Context(), *e)
					} else {
						err = f.Settle(t.Context(), uuid.MustParse(v.GetId()), nil)
					}
					if err != nil {
						t.Errorf("signal: %v", err)
					}
				})
			}
			signals.Wait()
			f.wantStatus(v.GetId(), saved)
			waiting, err := f.jobs.List(t.Context(), jobs.Filter{Kind: NotifyJob{}.Kind(), Limit: 100})
			if err != nil || len(waiting) != round+1 {
				t.Fatalf("round %d: %d notifications, %v, want %d", round, len(waiting), err, round+1)
			}
		}
	})
}

// A panic about one recording ends neither the server nor the sweep of the others.
func TestSweep_panic(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		bad := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
		good := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
		for _, v := range []*usherv1.Recording{bad, good} {
			f.finish(f.row(v.GetId()), meeting.EgressComplete, true)
		}
		f.outside.files[f.row(bad.GetId()).ObjectKey] = panics
		if err := f.Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), bad.GetId()) {
			t.Errorf("Sweep: %v, want an error about the bad one", err)
		}
		f.wantStatus(good.GetId(), saved)
		f.wantStatus(bad.GetId(), active)
	})
}

// While the storage does not answer, nothing is decided about the file, but the room is free.
func TestStorageDown(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		v := f.start(ada, room, screen)
		f.outside.storageDown = errors.New("test: no answer")
		e := f.finish(f.row(v.GetId()), meeting.EgressComplete, true)
		if err := f.EgressChanged(t.Context(), *e); !errors.Is(err, errStorage) {
			t.Errorf("EgressChanged: %v, want an error, so that it comes again", err)
		}
		f.wantStatus(v.GetId(), stopped)
		f.start(ada, room, screen)
		f.outside.storageDown = nil
		f.sweep()
		f.wantStatus(v.GetId(), saved)
	})
}

// While LiveKit does not answer, nothing is decided at all.
func TestLiveKitDown(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		v := f.start(ada, room, screen)
		f.outside.down = meeting.ErrUnavailable
		for range 3 {
			if err := f.Sweep(t.Context()); !errors.Is(err, meeting.ErrUnavailable) {
				t.Errorf("Sweep: %v, want meeting.ErrUnavailable", err)
			}
		}
		f.wantStatus(v.GetId(), active)
		if _, err := f.StartRecording(f.as(ada), &usherv1.StartRecordingRequest{Room: room.ID.String(), Mode: screen}); err == nil {
			t.Error("started while LiveKit is down")
		}
		f.outside.down = nil
		f.sweep()
		f.wantStatus(v.GetId(), active)
	})
}

func TestMeetingEnds(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		ended, left, full := f.room(map[any]usherv1.Role{ada: owner}), f.room(map[any]usherv1.Role{ada: owner}), f.room(map[any]usherv1.Role{ada: owner})
		v, w, x := f.start(ada, ended, screen), f.start(ada, left, screen), f.start(ada, full, screen)
		run(f, func(tx *ent.Client) (any, error) { return nil, f.MeetingEnded(t.Context(), tx, ended.ID) })
		f.work()
		f.wantStatus(v.GetId(), stopped)
		delete(f.outside.live, left.ID)
		if err := f.RoomFinished(t.Context(), left.ID); err != nil {
			t.Fatal(err)
		}
		f.wantStatus(w.GetId(), stopped)
		f.wantStatus(x.GetId(), active)
		f.Rules.MaxLength = time.Nanosecond
		f.sweep()
		f.wantStatus(x.GetId(), stopped)
		if f.outside.messages != 1 {
			t.Errorf("%d messages, want one about the limit", f.outside.messages)
		}
	})
}

func TestDelete(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		v := f.start(ada, room, screen)
		del := &usherv1.DeleteRecordingRequest{RecordingId: v.GetId()}
		if _, err := f.DeleteRecording(f.as(ada), del); !errors.Is(err, ErrNotFinal) {
			t.Errorf("deleted while it goes on: %v", err)
		}
		r := f.row(v.GetId())
		f.finish(r, meeting.EgressComplete, true)
		f.sweep()
		f.outside.storageDown = errors.New("test: no answer")
		if _, err := f.DeleteRecording(f.as(ada), del); err != nil {
			t.Fatal(err)
		}
		if _, err := f.GetRecording(f.as(ada), &usherv1.GetRecordingRequest{RecordingId: v.GetId()}); !errors.Is(err, ErrNotFound) {
			t.Errorf("found after it was deleted: %v", err)
		}
		f.work()
		if r := f.row(v.GetId()); r == nil || r.RoomName != "" {
			t.Errorf("%+v: want a row without a name, as long as the file is there", r)
		}
		f.outside.storageDown = nil
		f.sweep()
		if _, there := f.outside.files[r.ObjectKey]; there || f.row(v.GetId()) != nil {
			t.Error("file or row are still there")
		}
		if len(f.outside.told) != 0 {
			t.Errorf("told %v of what was deleted", f.outside.told)
		}
	})
}

// With a room go its recordings, one that goes on too, and their files.
func TestRoomDeleted(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		old := f.start(ada, room, screen)
		f.finish(f.row(old.GetId()), meeting.EgressComplete, true)
		f.sweep()
		running := f.start(ada, room, screen)
		r := f.row(running.GetId())
		run(f, func(tx *ent.Client) (any, error) {
			if err := tx.Room.DeleteOneID(room.ID).Exec(t.Context()); err != nil {
				return nil, err
			}
			return nil, f.RoomDeleted(t.Context(), tx, room.ID)
		})
		f.work()
		if f.row(old.GetId()) != nil {
			t.Error("the old recording is still there")
		}
		if e := f.outside.egresses[*r.EgressID]; e.Status != meeting.EgressEnding {
			t.Error("the recorder was not stopped")
		}
		f.finish(r, meeting.EgressComplete, true)
		f.sweep()
		if f.row(running.GetId()) != nil || len(f.outside.files) != 0 {
			t.Errorf("row %v, files %v, want none", f.row(running.GetId()), f.outside.files)
		}
		f.work()
		if n := len(f.outside.told); n != 0 {
			t.Errorf("%d people were told of what was deleted", n)
		}
	})
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		f.Life = time.Hour
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		ids := [2]string{}
		for i := range ids {
			ids[i] = f.start(ada, room, screen).GetId()
			f.finish(f.row(ids[i]), meeting.EgressComplete, true)
			f.sweep()
		}
		got, err := f.UpdateRecording(f.as(ada), &usherv1.UpdateRecordingRequest{RecordingId: ids[1], Keep: new(true)})
		if err != nil || !got.GetRecording().GetKeep() || got.GetRecording().GetExpireTime() != nil {
			t.Fatalf("kept: %v, %v", got, err)
		}
		f.Life = time.Nanosecond
		expired, err := f.GetRecording(f.as(ada), &usherv1.GetRecordingRequest{RecordingId: ids[0]})
		if err != nil || !expired.GetRecording().GetExpired() || expired.GetRecording().GetDownloadable() || expired.GetRecording().GetMediaPath() != "" {
			t.Errorf("expired: %v, %v", expired, err)
		}
		if _, err := f.CreateDownloadUrl(f.as(ada), &usherv1.CreateDownloadUrlRequest{RecordingId: ids[0]}); !errors.Is(err, ErrExpired) {
			t.Errorf("download: %v", err)
		}
		if _, err := f.UpdateRecording(f.as(ada), &usherv1.UpdateRecordingRequest{RecordingId: ids[0], Keep: new(true)}); !errors.Is(err, ErrExpired) {
			t.Errorf("kept after it expired: %v", err)
		}
		if _, err := f.CreateDownloadUrl(f.as(ada), &usherv1.CreateDownloadUrlRequest{RecordingId: ids[1]}); err != nil {
			t.Errorf("download of what is kept: %v", err)
		}
		if err := f.Resend(t.Context(), uuid.MustParse(ids[0])); !errors.Is(err, ErrNothingToSend) {
			t.Errorf("resent after it expired: %v", err)
		}
		// Where files are has changed: the old one stays where it is, and cannot be had under /media/.
		f.Rules.Folder = "elsewhere"
		if got, err := f.GetRecording(f.as(ada), &usherv1.GetRecordingRequest{RecordingId: ids[1]}); err != nil ||
			!got.GetRecording().GetDownloadable() || got.GetRecording().GetMediaPath() != "" {
			t.Errorf("after a change of the folder: %v, %v", got, err)
		}
		f.Rules.Folder = "recordings"
		f.sweep()
		if len(f.outside.files) != 2 {
			t.Error("a file was deleted that the bucket's own rules delete")
		}
		f.Rules.DeleteExpired = true
		f.sweep()
		if r := f.row(ids[0]); len(f.outside.files) != 1 || r.PurgeTime != nil || r.SizeBytes != 0 {
			t.Errorf("files %v, row %+v, want the kept one only", f.outside.files, r)
		}
	})
}

// Recordings whose last account was deleted are nobody's: they go too.
func TestForgotten(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		v := f.start(ada, room, screen)
		f.finish(f.row(v.GetId()), meeting.EgressComplete, true)
		f.sweep()
		run(f, func(tx *ent.Client) (any, error) { return nil, tx.User.DeleteOneID(ada.ID).Exec(t.Context()) })
		f.sweep()
		if f.row(v.GetId()) != nil || len(f.outside.files) != 0 {
			t.Errorf("row %v, files %v, want none", f.row(v.GetId()), f.outside.files)
		}
	})
}

func TestNotify(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada, bob := f.user("Ada"), f.user("Bob")
		room := f.room(map[any]usherv1.Role{ada: owner})
		v := f.start(ada, room, screen)
		grant := &usherv1.GrantRecordingAccessRequest{
			RecordingId: v.GetId(), Role: owner, Identifier: &usherv1.GrantRecordingAccessRequest_UserId{UserId: bob.ID.String()},
		}
		if _, err := f.GrantRecordingAccess(f.as(ada), grant); err != nil {
			t.Fatal(err)
		}
		f.finish(f.row(v.GetId()), meeting.EgressComplete, true)
		f.outside.notifyError = errors.New("test: mailbox refuses")
		f.sweep()
		if n := f.work(); n != 1 {
			t.Errorf("%d jobs failed, want one", n)
		}
		f.wantStatus(v.GetId(), saved) // the file is there, whoever knows
		f.outside.notifyError = nil
		f.work()
		f.wantStatus(v.GetId(), notified)
		if fmt.Sprint(len(f.outside.told)) != "2" {
			t.Errorf("told %v, want both owners", f.outside.told)
		}
		f.work()
		for id, n := range f.outside.told {
			if n != 1 {
				t.Errorf("%s was told %d times", id, n)
			}
		}
		if err := f.Resend(t.Context(), uuid.MustParse(v.GetId())); err != nil {
			t.Fatal(err)
		}
		f.work()
		for id, n := range f.outside.told {
			if n != 2 {
				t.Errorf("%s was told %d times after the operator sent it again", id, n)
			}
		}
	})
}

// A mailbox that refuses for ever keeps nobody else from being told, once.
func TestNotify_oneRefuses(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada, bob := f.user("Ada"), f.user("Bob")
		r := f.savedRecording(ada, screen)
		f.give(r, bob, owner)
		f.outside.refuses = bob.ID
		for range 3 {
			if n := f.work(); n != 1 {
				t.Errorf("%d jobs failed, want the one", n)
			}
		}
		f.wantStatus(r.ID.String(), saved)
		if len(f.outside.told) != 1 {
			t.Errorf("told %v, want one", f.outside.told)
		}
		for id, n := range f.outside.told {
			if n != 1 {
				t.Errorf("%s was told %d times", id, n)
			}
		}
	})
}

func TestTranscriptNotifiesSummaryOnce(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada, bob := f.user("Ada"), f.user("Bob")
		room := f.room(map[any]usherv1.Role{ada: owner, bob: owner})
		v := f.start(ada, room, transcript)
		r := f.row(v.GetId())
		if !strings.HasSuffix(r.ObjectKey, ".ogg") || v.GetContentType() != "audio/ogg" {
			t.Errorf("key %s, type %s", r.ObjectKey, v.GetContentType())
		}
		e := f.finish(r, meeting.EgressComplete, true)
		for range 3 {
			if err := f.EgressChanged(t.Context(), *e); err != nil {
				t.Fatal(err)
			}
			f.sweep()
			f.work()
		}
		f.wantStatus(v.GetId(), notified)
		if n := f.outside.told[r.ID]; n != 1 || len(f.outside.told) != 1 {
			t.Errorf("told %v, want the summary service once", f.outside.told)
		}
	})
}

func TestFail(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		v := f.start(ada, room, screen)
		r := f.row(v.GetId())
		if err := f.Resend(t.Context(), r.ID); !errors.Is(err, ErrNothingToSend) {
			t.Errorf("resent without a file: %v", err)
		}
		if err := f.Fail(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		f.wantStatus(v.GetId(), failed)
		if err := f.Fail(t.Context(), r.ID); !errors.Is(err, ErrOver) {
			t.Errorf("failed twice: %v", err)
		}
		f.sweep()
		if e := f.outside.egresses[*r.EgressID]; e.Status != meeting.EgressEnding {
			t.Error("the recorder of a recording that was given up goes on")
		}
		if err := f.Fail(context.Background(), uuid.New()); !errors.Is(err, ErrUnknown) {
			t.Errorf("failed nothing: %v", err)
		}
	})
}
