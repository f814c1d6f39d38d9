package accounts_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/mailbox"
)

// record stores a recording to which people have access: accounts, or addresses that wait.
func record(t *testing.T, db *dbtx.DB, accesses map[any]usherv1.Role) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	err := db.Run(t.Context(), func(tx *ent.Client) error {
		r, err := tx.Recording.Create().SetRoomID(uuid.New()).SetMode(usherv1.RecordingMode_RECORDING_MODE_SCREEN_RECORDING).
			SetStatus(usherv1.RecordingStatus_RECORDING_STATUS_SAVED).SetObjectKey("recordings/" + uuid.NewString() + ".mp4").Save(t.Context())
		if err != nil {
			return err
		}
		id = r.ID
		for who, role := range accesses {
			create := tx.RecordingAccess.Create().SetRecordingID(id).SetRole(role)
			if u, ok := who.(*ent.User); ok {
				create.SetUserID(u.ID)
			} else {
				create.SetEmail(mailbox.Address(who.(string)))
			}
			if err := create.Exec(t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// recordingRoles are the roles of all accesses of an account.
func recordingRoles(t *testing.T, db *dbtx.DB, u *ent.User) map[uuid.UUID]usherv1.Role {
	t.Helper()
	rows, err := db.Read.RecordingAccess.Query().Where(auth.MyRecordings(u)).All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	roles := map[uuid.UUID]usherv1.Role{}
	for _, a := range rows {
		roles[a.RecordingID] = a.Role
	}
	return roles
}

func TestRecordings_mergeExportDelete(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		h := newFixture(t, db)
		from, into := authtest.NewUser(t, db, named("test-old", "old@x.example")), authtest.NewUser(t, db, named("", "new@x.example"))
		bob := authtest.NewUser(t, db)
		moved := record(t, db, map[any]usherv1.Role{from: isOwner, bob: isMember})
		higher := record(t, db, map[any]usherv1.Role{from: isOwner, into: isMember})
		lower := record(t, db, map[any]usherv1.Role{from: isMember, into: isAdmin})
		waiting := record(t, db, map[any]usherv1.Role{"old@x.example": isMember, bob: isOwner})
		if err := h.Merge(t.Context(), accounts.MergeParams{From: from.ID, Into: into.ID}); err != nil {
			t.Fatal(err)
		}
		want := map[uuid.UUID]usherv1.Role{moved: isOwner, higher: isOwner, lower: isAdmin, waiting: isMember}
		if diff := cmp.Diff(want, recordingRoles(t, db, into)); diff != "" {
			t.Errorf("roles (-want +got):\n%s", diff)
		}
		data, err := h.Export(t.Context(), into.ID)
		if err != nil || len(data.Recordings) != len(want) {
			t.Fatalf("exported %+v, %v, want %d recordings", data.Recordings, err, len(want))
		}
		invited := record(t, db, map[any]usherv1.Role{"new@x.example": isMember, bob: isOwner})
		if err := h.Delete(t.Context(), into.ID); err != nil {
			t.Fatal(err)
		}
		if got := recordingRoles(t, db, into); len(got) != 0 {
			t.Errorf("the deleted account still has %v", got)
		}
		bobs := map[uuid.UUID]usherv1.Role{moved: isMember, waiting: isOwner, invited: isOwner}
		if diff := cmp.Diff(bobs, recordingRoles(t, db, bob)); diff != "" {
			t.Errorf("somebody else's roles (-want +got):\n%s", diff)
		}
	})
}
