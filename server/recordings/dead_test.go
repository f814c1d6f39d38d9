package recordings

import (
	"testing"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// This file is about recorders that die, and about files that come though their recording was given up.

// look has one recording looked at, n times.
func (f *fixture) look(id string, n int) {
	f.t.Helper()
	for range n {
		if err := f.Settle(f.t.Context(), f.row(id).ID, nil); err != nil {
			f.t.Fatal(err)
		}
	}
}

// The browser of a recorder crashes, and its service goes on: LiveKit says that it records, and that it completed its file. It
// takes three looks and the time to see that, and what was recorded is kept.
func TestRecorderLeftMeeting(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		v := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
		r := f.row(v.GetId())
		f.look(v.GetId(), 1)
		f.outside.change(*r.EgressID, func(e *egress) { e.left = true })
		f.look(v.GetId(), 2)
		f.wantStatus(v.GetId(), active)
		f.Timing.LostAfter = time.Hour
		f.look(v.GetId(), 3)
		f.wantStatus(v.GetId(), active) // many looks in no time say nothing
		f.Timing.LostAfter = 0
		f.look(v.GetId(), 1)
		f.wantStatus(v.GetId(), stopped)
		f.finish(r, meeting.EgressComplete, true)
		f.look(v.GetId(), 1)
		if r := f.wantStatus(v.GetId(), saved); !r.Interrupted {
			t.Error("its recorder died, and it does not say so")
		}
	})
}

// Looks in which LiveKit does not answer, or has nobody else in the meeting, say nothing about the recorder.
func TestRecorderLeftMeeting_notProven(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		v := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
		f.look(v.GetId(), 1)
		id := *f.row(v.GetId()).EgressID
		for name, disturb := range map[string]func(on bool){
			"LiveKit is down": func(on bool) {
				if f.outside.down = nil; on {
					f.outside.down = meeting.ErrUnavailable
				}
			},
			"nobody is there": func(on bool) { f.outside.empty = on },
			"it is back":      func(on bool) { f.outside.change(id, func(e *egress) { e.left = !on }) },
		} {
			f.outside.change(id, func(e *egress) { e.left = true })
			for range 3 {
				f.look(v.GetId(), 2)
				disturb(true)
				_ = f.Settle(t.Context(), f.row(v.GetId()).ID, nil)
				disturb(false)
			}
			if r := f.row(v.GetId()); r.Status != active || r.LostLooks != 0 {
				t.Fatalf("%s: it is %s, after %d looks that count", name, statusName(r.Status), r.LostLooks)
			}
			f.outside.change(id, func(e *egress) { e.left = false })
			f.look(v.GetId(), 1)
		}
		// One that LiveKit never listed in the meeting is not expected there.
		never := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
		r := f.row(never.GetId())
		f.outside.change(*r.EgressID, func(e *egress) { e.left = true })
		if err := f.edit(t.Context(), r, func(u *ent.RecordingUpdate) { u.SetSeenInMeeting(false).ClearLostTime().SetLostLooks(0) }); err != nil {
			t.Fatal(err)
		}
		f.look(never.GetId(), 5)
		f.wantStatus(never.GetId(), active)
	})
}

// The service of a recorder was killed, and LiveKit goes on listing it in the meeting: it is removed, and the room is free.
func TestRecorderLingersInMeeting(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		v := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
		id := *f.row(v.GetId()).EgressID
		f.look(v.GetId(), 1)
		f.outside.change(id, func(e *egress) { e.lingers = true })
		f.look(v.GetId(), 3)
		f.wantStatus(v.GetId(), failed)
		f.outside.change(id, func(e *egress) {
			if e.lingers {
				t.Error("it is still in the meeting")
			}
		})
	})
}

// A host stops a recording whose recorder has left the meeting: LiveKit says that its file is complete, which it is not.
func TestStopAfterRecorderLeft(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		for _, left := range []bool{true, false} {
			room := f.room(map[any]usherv1.Role{ada: owner})
			v := f.start(ada, room, screen)
			r := f.row(v.GetId())
			f.look(v.GetId(), 1)
			f.outside.change(*r.EgressID, func(e *egress) { e.left = left })
			if _, err := f.StopRecording(f.as(ada), &usherv1.StopRecordingRequest{Room: room.ID.String()}); err != nil {
				t.Fatal(err)
			}
			f.finish(r, meeting.EgressComplete, true)
			f.look(v.GetId(), 1)
			if r := f.wantStatus(v.GetId(), saved); r.Interrupted != left {
				t.Errorf("the recorder had left the meeting: %v, interrupted: %v", left, r.Interrupted)
			}
		}
	})
}

// A recording that failed has its file after all, whoever tells of it: it is saved, and people are told. One that was deleted
// stays deleted.
func TestLateFile(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		for _, tell := range []string{"sweep", "storage", "LiveKit", "deleted"} {
			v := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
			r := f.row(v.GetId())
			f.outside.change(*r.EgressID, func(e *egress) { e.forgotten = true })
			f.sweep()
			f.wantStatus(v.GetId(), failed)
			f.outside.files[r.ObjectKey] = 12
			f.Timing.UploadWithin = 0 // only the sweep looks by itself
			switch tell {
			case "sweep":
				// An earlier release marked recordings that it had given up.
				err := db.Run(t.Context(), func(tx *ent.Client) error {
					return tx.Recording.UpdateOneID(r.ID).SetPurgeTime(now()).Exec(t.Context())
				})
				if err != nil {
					t.Fatal(err)
				}
				f.Timing.UploadWithin = time.Hour
				f.sweep()
				f.sweep()
			case "storage":
				if n, err := f.filesStored(t.Context(), []storedObject{{bucket: "bucket", keys: []string{r.ObjectKey}}}); n != 1 || err != nil {
					t.Fatalf("the storage told of %d, %v", n, err)
				}
			case "LiveKit":
				e := f.finish(r, meeting.EgressComplete, true)
				if err := f.EgressChanged(t.Context(), *e); err != nil {
					t.Fatal(err)
				}
			case "deleted":
				if _, err := f.DeleteRecording(f.as(ada), &usherv1.DeleteRecordingRequest{RecordingId: v.GetId()}); err != nil {
					t.Fatal(err)
				}
				f.sweep()
			}
			f.work()
			f.Timing.UploadWithin = time.Hour
			_, there := f.outside.files[r.ObjectKey]
			if tell == "deleted" {
				if there {
					t.Error("deleted, and its file is there")
				}
				continue
			}
			f.work()
			got := f.wantStatus(v.GetId(), notified)
			if !there || got.FailureReason != 0 || got.FailureDetail != "" || got.SizeBytes != 12 && tell != "LiveKit" {
				t.Errorf("%s: file %v, recording %+v", tell, there, got)
			}
			if got.Interrupted == (tell == "LiveKit") {
				t.Errorf("%s: interrupted is %v", tell, got.Interrupted)
			}
		}
	})
}

// A recorder that was shut down says that it failed, and stores its file.
func TestFailedWithFile(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		room := f.room(map[any]usherv1.Role{ada: owner})
		v := f.start(ada, room, screen)
		r := f.row(v.GetId())
		f.outside.storageDown = meeting.ErrUnavailable
		e := f.finish(r, meeting.EgressFailed, true)
		if err := f.EgressChanged(t.Context(), *e); err == nil {
			t.Error("the storage does not answer, and the recording is settled")
		}
		f.wantStatus(v.GetId(), stopped) // so the room is free
		f.outside.storageDown = nil
		f.look(v.GetId(), 1)
		f.work()
		r = f.wantStatus(v.GetId(), notified)
		res, err := f.GetRecording(f.as(ada), &usherv1.GetRecordingRequest{RecordingId: v.GetId()})
		if got := res.GetRecording(); err != nil || !r.Interrupted || !got.GetInterrupted() || !got.GetDownloadable() {
			t.Errorf("it is %v, %v", got, err)
		}
	})
}

// What LiveKit says of failures becomes a reason for people, without the addresses of servers.
func TestFailureReason(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada := f.user("Ada")
		for said, want := range map[string]struct {
			reason usherv1.RecordingFailureReason
			detail string
		}{
			"upload to http://10.0.0.7:9000/b failed: AccessDenied": {
				usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_STORAGE_REFUSED, "upload to … failed: AccessDenied",
			},
			"write /tmp/x: no space left on device": {
				usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_STORAGE_FULL, "write /tmp/x: no space left on device",
			},
			"End reason: Process killed": {
				usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_INTERRUPTED, "End reason: Process killed",
			},
			"dial tcp [fd00::7]:6379, redis-0.internal:6379 and 192.168.1.4": {
				usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_RECORDER_FAILED, "dial tcp …, … and …",
			},
		} {
			v := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
			e := f.finish(f.row(v.GetId()), meeting.EgressFailed, false)
			e.Detail = said
			if err := f.EgressChanged(t.Context(), *e); err != nil {
				t.Fatal(err)
			}
			if r := f.wantStatus(v.GetId(), failed); r.FailureReason != want.reason || r.FailureDetail != want.detail {
				t.Errorf("%q: %s, %q", said, r.FailureReason, r.FailureDetail)
			}
		}
		v := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
		e := f.finish(f.row(v.GetId()), meeting.EgressComplete, false)
		e.InBackup = true
		for range 2 {
			if err := f.EgressChanged(t.Context(), *e); err != nil {
				t.Fatal(err)
			}
		}
		if r := f.wantStatus(v.GetId(), failed); r.FailureDetail == "" {
			t.Error("the file is in the backup storage, and nobody is told")
		}
	})
}
