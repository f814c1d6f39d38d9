package invitations

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	"github.com/usher-meet/usher/gen/ent/invitationletter"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/mailbox"
)

// archive is a database with a room, and invitations to it and to one that was deleted.
type archive struct {
	t *testing.T
	*Service
	jobs *jobs.Client
	room *ent.Room
}

func newArchive(t *testing.T, db *dbtx.DB) *archive {
	t.Helper()
	client, err := jobs.New(db, nil, jobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{t: t, jobs: client, Service: &Service{
		DB: db, Keys: auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil), Jobs: client, Log: slog.New(slog.DiscardHandler),
		Rules: Rules{Enabled: true, Keep: 90 * 24 * time.Hour, KeepTrying: 24 * time.Hour},
	}}
	a.run(func(tx *ent.Client) (err error) {
		a.room, err = tx.Room.Create().SetName("Weekly").SetNameKey("weekly").SetSlug("weekly").
			SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED).Save(t.Context())
		return err
	})
	return a
}

func (a *archive) run(fn func(tx *ent.Client) error) {
	a.t.Helper()
	if err := a.DB.Run(a.t.Context(), fn); err != nil {
		a.t.Fatal(err)
	}
}

// add makes an invitation whose link ends in a while, about which one letter was sent.
func (a *archive) add(name string, room uuid.UUID, expire time.Duration, change ...func(*ent.InvitationCreate)) uuid.UUID {
	a.t.Helper()
	id, address := uuid.New(), mailbox.Address(name+"@people.example")
	a.run(func(tx *ent.Client) error {
		create := tx.Invitation.Create().SetID(id).SetRoomID(room).SetRoomName("Weekly").SetAddress(address).
			SetOpenKey(openKey(room, address)).SetStatus(sent).SetMessage("Hello " + name).SetResponse(usherv1.Attendance_ATTENDANCE_YES).
			SetTokenHash(hashToken(name)).SetTokenSealed(a.seal(id, name)).SetIdentity("p_" + name).SetExpireTime(now().Add(expire))
		for _, c := range change {
			c(create)
		}
		if err := create.Exec(a.t.Context()); err != nil {
			return err
		}
		return tx.InvitationLetter.Create().SetInvitationID(id).SetKind(invitationletter.KindInvited).SetSequence(0).
			SetState(invitationletter.StateTaken).Exec(a.t.Context())
	})
	return id
}

// at is when the meeting begins, in a while.
func at(begin time.Duration) func(*ent.InvitationCreate) {
	return func(c *ent.InvitationCreate) {
		c.SetStartTime(now().Add(begin)).SetEndTime(now().Add(begin + time.Hour)).SetTimezone("UTC")
	}
}

func ended(status usherv1.InvitationStatus) func(*ent.InvitationCreate) {
	return func(c *ent.InvitationCreate) {
		m := c.Mutation()
		m.ResetOpenKey()
		m.ResetTokenSealed()
		c.SetStatus(status)
	}
}

// states says of each invitation where it stands, what is left of its link, and which letters wait.
func (a *archive) states() map[string]string {
	a.t.Helper()
	all, err := a.DB.Read.Invitation.Query().WithLetters(func(q *ent.InvitationLetterQuery) {
		q.Where(invitationletter.StateEQ(invitationletter.StateQueued))
	}).All(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	sealed, err := a.DB.Read.Invitation.Query().Where(invitation.TokenSealedNotNil()).IDs(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	states := map[string]string{}
	for _, i := range all {
		name, _, _ := strings.Cut(string(i.Address), "@")
		says := strings.TrimPrefix(i.Status.String(), "INVITATION_STATUS_")
		if i.OpenKey != nil {
			says += " open"
		}
		if slices.Contains(sealed, i.ID) {
			says += " sealed"
		}
		for _, l := range i.Edges.Letters {
			says += fmt.Sprint(" ", l.Kind, l.Sequence)
		}
		if i.Message != "Hello "+name || i.Response != usherv1.Attendance_ATTENDANCE_YES || len(i.TokenHash) == 0 {
			says += " and lost what it said"
		}
		states[name] = says
	}
	return states
}

func (a *archive) queued() int {
	a.t.Helper()
	found, err := a.jobs.List(a.t.Context(), jobs.Filter{Kind: SendArgs{}.Kind(), Limit: 100})
	if err != nil {
		a.t.Fatal(err)
	}
	return len(found)
}

// The sweep closes links that have expired, which nobody is told, and withdraws invitations to rooms that were deleted,
// which those are told who have the meeting in their calendar. Any number of sweeps at once do that once.
func TestSweep(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		a := newArchive(t, db)
		gone := uuid.New()
		a.add("works", a.room.ID, time.Hour, at(time.Hour))
		a.add("expired", a.room.ID, -time.Minute, at(-30*24*time.Hour))
		a.add("revoked", a.room.ID, -time.Minute, ended(revoked))
		a.add("gone", gone, time.Hour, at(time.Hour))
		a.add("gone-timeless", gone, time.Hour)
		a.add("gone-over", gone, time.Hour, at(-2*time.Hour))
		a.add("gone-expired", gone, -time.Minute, at(-30*24*time.Hour))
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if err := a.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		want := map[string]string{
			"works": "SENT open sealed", "expired": "EXPIRED", "revoked": "REVOKED",
			"gone": "REVOKED cancelled1", "gone-timeless": "REVOKED", "gone-over": "REVOKED", "gone-expired": "EXPIRED",
		}
		if diff := cmp.Diff(want, a.states()); diff != "" {
			t.Errorf("after 8 sweeps (-want +got):\n%s", diff)
		}
		if n := a.queued(); n != 1 {
			t.Errorf("%d jobs to send letters, want 1", n)
		}
		// Where no mail is sent any more, there is nobody to tell.
		a.Rules.Enabled = false
		a.add("gone-silent", gone, time.Hour, at(time.Hour))
		if err := a.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		if got := a.states()["gone-silent"]; got != "REVOKED" {
			t.Errorf("without mail: %s", got)
		}
	})
}

// What was kept long enough after its link ended is erased with its letters, however the link ended. What else is stored
// stays.
func TestCleanUp(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		a := newArchive(t, db)
		ctx := t.Context()
		const day = 24 * time.Hour
		a.add("works", a.room.ID, time.Hour)
		a.add("kept", a.room.ID, -89*day, ended(expired))
		a.add("revoked-kept", a.room.ID, -89*day, ended(revoked))
		erased := a.add("erased", a.room.ID, -91*day, ended(expired))
		a.add("revoked", a.room.ID, -91*day, ended(revoked))
		a.add("unswept", a.room.ID, -91*day)
		var waiting *ent.InvitationLetter
		a.run(func(tx *ent.Client) (err error) {
			waiting, err = tx.InvitationLetter.Create().SetInvitationID(erased).SetKind(invitationletter.KindCancelled).SetSequence(1).Save(ctx)
			for _, d := range []time.Duration{-2 * day, -day, 0} {
				err = errors.Join(err, tx.MailQuota.Create().SetKey("instance").SetDay(now().Add(d).Format(dayFormat)).SetUsed(1).Exec(ctx))
			}
			return errors.Join(err, suppress(ctx, tx, hashAddress(a.Keys.Current(auth.PurposeSuppression), "erased@people.example")))
		})
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if err := a.CleanUp(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		want := map[string]string{"works": "SENT open sealed", "kept": "EXPIRED", "revoked-kept": "REVOKED"}
		if diff := cmp.Diff(want, a.states()); diff != "" {
			t.Errorf("what is left (-want +got):\n%s", diff)
		}
		letters, err := db.Read.InvitationLetter.Query().Count(ctx)
		if err != nil || letters != 3 {
			t.Errorf("%d letters are left (%v), want those of 3 invitations", letters, err)
		}
		days, err := db.Read.MailQuota.Query().Count(ctx)
		if err != nil || days != 2 {
			t.Errorf("%d days of quota are left (%v), want yesterday and today", days, err)
		}
		a.run(func(tx *ent.Client) error {
			no, err := a.suppressed(ctx, tx, "erased@people.example")
			if !no {
				t.Error("that somebody wants no mail was forgotten")
			}
			return err
		})
		// A job that is left over finds nothing to do.
		if err := a.Send(ctx, SendArgs{Letter: waiting.ID}); err != nil {
			t.Errorf("a letter of what was erased: %v", err)
		}
	})
}
