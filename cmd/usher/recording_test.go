package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// mustRecording stores a recording of a room, which u started.
func (o *operatorFixture) mustRecording(t *testing.T, room *ent.Room, u *ent.User, status usherv1.RecordingStatus) *ent.Recording {
	t.Helper()
	var r *ent.Recording
	o.write(t, func(ctx context.Context, tx *ent.Client) (err error) {
		id := uuid.New()
		create := tx.Recording.Create().SetID(id).SetRoomID(room.ID).SetRoomName(room.Name).SetStatus(status).
			SetMode(usherv1.RecordingMode_RECORDING_MODE_SCREEN_RECORDING).SetObjectKey("recordings/" + id.String() + ".mp4")
		if status == usherv1.RecordingStatus_RECORDING_STATUS_SAVED {
			create.SetSaveTime(time.Now()).SetSizeBytes(4711).SetDurationMs(2000)
		}
		if r, err = create.Save(ctx); err != nil {
			return err
		}
		return tx.RecordingAccess.Create().SetRecordingID(id).SetUserID(u.ID).SetRole(usherv1.Role_ROLE_OWNER).Exec(ctx)
	})
	return r
}

func TestRecording(t *testing.T) {
	t.Parallel()
	instances(t, func(t *testing.T, o *operatorFixture) {
		ada := o.mustUser(t, "Ada")
		room := o.mustRoom(t, "weekly", ada)
		saved := o.mustRecording(t, room, ada, usherv1.RecordingStatus_RECORDING_STATUS_SAVED)
		wantGolden(t, "recording-list.json", mustUsher(t, o.environ, "recording", "list", "--json"))

		stuck := o.mustRecording(t, room, ada, usherv1.RecordingStatus_RECORDING_STATUS_ACTIVE)
		var list struct{ Recordings []recordingView }
		mustJSON(t, &list, o.environ, "recording", "list", "--status", "active", "--room", "weekly")
		if len(list.Recordings) != 1 || list.Recordings[0].ID != stuck.ID.String() {
			t.Errorf("active recordings: %+v", list)
		}
		if text := mustUsher(t, o.environ, "recording", "list"); !strings.Contains(text, "The weekly") || !strings.Contains(text, "ada@example.org") {
			t.Errorf("for people:\n%s", text)
		}
		wantGolden(t, "recording-fail.json", mustUsher(t, o.environ, "recording", "fail", stuck.ID.String(), "--yes", "--json"))
		mustJSON(t, &list, o.environ, "recording", "list", "--status", "failed")
		if len(list.Recordings) != 1 || list.Recordings[0].Failure != "operator" {
			t.Errorf("failed recordings: %+v", list)
		}
		wantGolden(t, "recording-resend.json", mustUsher(t, o.environ, "recording", "resend", saved.ID.String(), "--json"))
		var waiting struct{ Jobs []jobView }
		mustJSON(t, &waiting, o.environ, "jobs", "list", "--kind", "recordings.notify")
		if len(waiting.Jobs) != 1 {
			t.Errorf("jobs: %+v, want one that tells the owner", waiting)
		}
		// With the room go its recordings.
		mustUsher(t, o.environ, "room", "delete", "weekly", "--yes")
		mustJSON(t, &list, o.environ, "recording", "list")
		if len(list.Recordings) != 0 {
			t.Errorf("recordings of a room that was deleted: %+v", list)
		}
		for name, args := range map[string][]string{
			"no id":        {"recording", "resend", "weekly"},
			"no recording": {"recording", "resend", uuid.NewString()},
			"no file":      {"recording", "resend", stuck.ID.String()},
			"no status":    {"recording", "list", "--status", "sleeping"},
			"not asked":    {"recording", "fail", stuck.ID.String()},
		} {
			if r := usher(t, o.environ, args...); r.code == 0 || r.stderr == "" {
				t.Errorf("%s: code %d, %q", name, r.code, r.stderr)
			}
		}
	})
}
