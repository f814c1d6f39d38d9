package accounts_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitationletter"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/mailbox"
)

// invite writes an invitation, about which a letter was sent, and counts the letter.
func invite(t *testing.T, db *dbtx.DB, from *ent.User, address string) {
	t.Helper()
	err := db.Run(t.Context(), func(tx *ent.Client) error {
		i, err := tx.Invitation.Create().SetRoomID(uuid.New()).SetRoomName("Weekly").SetInviterID(from.ID).SetAddress(mailbox.Address(address)).
			SetOpenKey(uuid.NewString()).SetStatus(usherv1.InvitationStatus_INVITATION_STATUS_SENT).SetMessage("to " + address).
			SetResponse(usherv1.Attendance_ATTENDANCE_MAYBE).SetTokenHash([]byte(uuid.NewString()[:32])).SetIdentity("p_" + address).
			SetExpireTime(time.Now().UTC().Add(time.Hour)).Save(t.Context())
		if err != nil {
			return err
		}
		err = tx.InvitationLetter.Create().SetInvitationID(i.ID).SetKind(invitationletter.KindInvited).SetSequence(0).
			SetState(invitationletter.StateTaken).Exec(t.Context())
		if err != nil {
			return err
		}
		return tx.MailQuota.Create().SetKey("user:" + from.ID.String()).SetDay(uuid.NewString()[:10]).SetUsed(7).Exec(t.Context())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left says of each invitation that is left who wrote it.
func left(t *testing.T, db *dbtx.DB) map[string]string {
	t.Helper()
	all, err := db.Read.Invitation.Query().WithInviter().All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]string{}
	for _, i := range all {
		by[string(i.Address)] = "nobody"
		if u := i.Edges.Inviter; u != nil {
			by[string(i.Address)] = string(u.Email)
		}
	}
	return by
}

// The export has what somebody wrote and got. Whom they invited, and who invited them, is not theirs to know.
func TestInvitations_export(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		h := newFixture(t, db)
		ada, bob := authtest.NewUser(t, db, named("test-ada", "ada@x.example")), authtest.NewUser(t, db, named("test-bob", "bob@x.example"))
		invite(t, db, bob, "ada@x.example")
		invite(t, db, bob, "carol@x.example")
		data, err := h.Export(t.Context(), ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		if len(data.Invitations) != 1 || len(data.Letters) != 0 {
			t.Fatalf("exported %+v and %+v, want one invitation", data.Invitations, data.Letters)
		}
		if got := data.Invitations[0]; got.Inviter || !got.Recipient || got.Email != "ada@x.example" || got.Message != "to ada@x.example" ||
			got.Response != "ATTENDANCE_MAYBE" || len(got.Letters) != 1 || got.Letters[0].State != "taken" {
			t.Errorf("to her: %+v", got)
		}
		invite(t, db, ada, "bob@x.example")
		data, err = h.Export(t.Context(), ada.ID)
		if err != nil || len(data.Invitations) != 2 || len(data.Letters) != 1 || data.Letters[0].Count != 7 {
			t.Fatalf("exported %+v, %v", data, err)
		}
		hers := data.Invitations[1]
		hers.Message = ""
		text, err := json.Marshal(hers)
		if err != nil || !hers.Inviter || hers.Recipient || strings.Contains(string(text), "bob") || strings.Contains(string(text), "MAYBE") {
			t.Errorf("by her: %s, %v", text, err)
		}
		// An address that is not verified may be somebody else's.
		eve := authtest.NewUser(t, db, func(c *ent.UserCreate) { c.SetEmail("carol@x.example").SetEmailVerified(false) })
		if data, err = h.Export(t.Context(), eve.ID); err != nil || len(data.Invitations) != 0 {
			t.Errorf("exported to somebody else: %+v, %v", data.Invitations, err)
		}
	})
}

// A merge moves what an account wrote, and harms no link. Deleting one erases what it got, and who wrote the rest.
func TestInvitations_mergeDelete(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		h := newFixture(t, db)
		from, into := authtest.NewUser(t, db, named("test-old", "old@x.example")), authtest.NewUser(t, db, named("", "new@x.example"))
		bob := authtest.NewUser(t, db, named("test-bob", "bob@x.example"))
		invite(t, db, from, "carol@x.example")
		invite(t, db, bob, "old@x.example")
		invite(t, db, bob, "new@x.example")
		invite(t, db, bob, "dave@x.example")
		if err := h.Merge(t.Context(), accounts.MergeParams{From: from.ID, Into: into.ID}); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"carol@x.example": "new@x.example", "old@x.example": "bob@x.example", "new@x.example": "bob@x.example", "dave@x.example": "bob@x.example",
		}
		if diff := cmp.Diff(want, left(t, db)); diff != "" {
			t.Errorf("after the merge (-want +got):\n%s", diff)
		}
		if err := h.Delete(t.Context(), into.ID); err != nil {
			t.Fatal(err)
		}
		delete(want, "new@x.example")
		want["carol@x.example"] = "nobody"
		if diff := cmp.Diff(want, left(t, db)); diff != "" {
			t.Errorf("after the deletion (-want +got):\n%s", diff)
		}
		letters, err := db.Read.InvitationLetter.Query().Count(t.Context())
		if err != nil || letters != 3 {
			t.Errorf("%d letters are left, %v, want those of 3 invitations", letters, err)
		}
		counts, err := db.Read.MailQuota.Query().All(t.Context())
		if err != nil || len(counts) != 3 {
			t.Errorf("%v is counted, %v, want the letters of the other account", counts, err)
		}
		// What an account with an unverified address got may be somebody else's.
		eve := authtest.NewUser(t, db, func(c *ent.UserCreate) { c.SetEmail("dave@x.example").SetEmailVerified(false) })
		if err := h.Delete(t.Context(), eve.ID); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, left(t, db)); diff != "" {
			t.Errorf("after the deletion of somebody else (-want +got):\n%s", diff)
		}
	})
}
