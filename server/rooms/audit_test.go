package rooms

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/auditevent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/mailbox"
)

// eventsOf describes what was done in a room as "who action target detail", oldest first. names stand for ids.
func eventsOf(t *testing.T, s *Service, room *usherv1.Room, names map[string]string) []string {
	t.Helper()
	rows, err := s.DB.Read.AuditEvent.Query().Where(auditevent.RoomID(uuid.MustParse(room.GetId()))).
		Order(auditevent.ByID()).All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range rows {
		line := "-"
		if e.ActorUserID != nil {
			line = e.ActorUserID.String()
		}
		line += " " + e.Action + " " + e.Target + " " + e.Detail
		for id, name := range names {
			line = strings.ReplaceAll(line, id, name)
		}
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return out
}

// lastMember is the id of the only pending membership of a room.
func lastMember(t *testing.T, s *Service, room *usherv1.Room, email mailbox.Address) string {
	t.Helper()
	for _, m := range s.DB.Read.Member.Query().AllX(t.Context()) {
		if m.RoomID.String() == room.GetId() && m.Email != nil && *m.Email == email {
			return m.ID.String()
		}
	}
	t.Fatalf("nobody is pending as %s", email)
	return ""
}

func TestAudit(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		olga, mona, pia := mustUser(t, db, "Olga"), mustUser(t, db, "Mona"), mustUser(t, db, "Pia")
		room := mustRoom(t, s, olga, &usherv1.CreateRoomRequest{Name: "Secret plans of Olga"})
		byID := func(u *ent.User) person { return person{userID: u.ID} }
		do := func(_ any, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		do(s.UpdateRoom(as(t, olga), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: room.GetId(), Name: "Plans", AccessLevel: restricted}}))
		// Nothing to change is no event, and neither is what is refused.
		do(s.UpdateRoom(as(t, olga), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: room.GetId()}}))
		_, err := s.UpdateRoom(as(t, mona), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: room.GetId(), Name: "Mine"}})
		wantFault(t, err, auth.ErrInsufficientRole)
		do(s.addMember(as(t, olga), room.GetId(), byID(mona), plainMember))
		do(s.addMember(as(t, olga), room.GetId(), person{email: "pia@example.org"}, administrator))
		pending := lastMember(t, s, room, "pia@example.org")
		do(s.JoinRoom(as(t, pia), &usherv1.JoinRoomRequest{Room: room.GetId()}))
		do(s.updateMember(as(t, olga), room.GetId(), byID(mona), administrator))
		do(s.updateMember(as(t, olga), room.GetId(), byID(mona), administrator))
		do(s.removeMember(as(t, pia), room.GetId(), byID(mona)))
		do(nil, newOperator(db).SetOwner(t.Context(), room.GetId(), pia.ID))
		do(nil, newOperator(db).SetOwner(t.Context(), room.GetId(), mona.ID))
		do(s.delete(as(t, pia), room.GetId()))

		names := map[string]string{olga.ID.String(): "Olga", mona.ID.String(): "Mona", pia.ID.String(): "Pia", pending: "P"}
		want := []string{
			"Olga room.created",
			"Olga room.updated fields=name,access_level access_level=RESTRICTED",
			"Olga member.added user:Mona role=MEMBER",
			"Olga member.added member:P role=ADMINISTRATOR",
			"Pia member.claimed user:Pia member=P role=ADMINISTRATOR",
			"Olga member.role_changed user:Mona role=ADMINISTRATOR was=MEMBER",
			"Pia member.removed user:Mona was=ADMINISTRATOR",
			"- member.role_changed user:Pia by=system:operator role=OWNER was=ADMINISTRATOR",
			"- member.added user:Mona by=system:operator role=OWNER",
			"Pia room.deleted",
		}
		if diff := cmp.Diff(want, eventsOf(t, s, room, names)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}

		made, err := s.CreateRoom(asService(t), &usherv1.CreateRoomRequest{OwnerEmail: "olga@example.org"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"- room.created by=service:calendar"}, eventsOf(t, s, made.GetRoom(), nil)); diff != "" {
			t.Errorf("by a service: -want +got\n%s", diff)
		}
	})
}

// What cannot be recorded is not done.
func TestAudit_sameTransaction(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		olga, mona := mustUser(t, db, "Olga"), mustUser(t, db, "Mona")
		room := mustRoom(t, s, olga, &usherv1.CreateRoomRequest{Name: "Kept"})
		if _, err := db.SQL().ExecContext(t.Context(), "DROP TABLE audit_events"); err != nil {
			t.Fatal(err)
		}
		calls := map[string]func() error{
			"CreateRoom": func() error { _, err := s.CreateRoom(as(t, olga), &usherv1.CreateRoomRequest{}); return err },
			"UpdateRoom": func() error {
				_, err := s.UpdateRoom(as(t, olga), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: room.GetId(), Name: "x"}})
				return err
			},
			"AddMember": func() error {
				_, err := s.addMember(as(t, olga), room.GetId(), person{userID: mona.ID}, plainMember)
				return err
			},
			"DeleteRoom": func() error { _, err := s.delete(as(t, olga), room.GetId()); return err },
		}
		for name, call := range calls {
			if call() == nil {
				t.Errorf("%s was done without a record", name)
			}
		}
		rooms := db.Read.Room.Query().AllX(t.Context())
		if len(rooms) != 1 || rooms[0].Name != "Kept" || len(membersOf(t, s, room)) != 1 || len(tasks(t, s)) != 0 {
			t.Errorf("%v, %v, %v", rooms, membersOf(t, s, room), tasks(t, s))
		}
	})
}

func TestListAuditEvents(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		other := mustRoom(t, s, p.olga, &usherv1.CreateRoomRequest{})
		for range 6 {
			must(t, db, func(tx *ent.Client) (any, error) {
				e := audit.Event{Room: uuid.MustParse(room.GetId()), Action: audit.MemberAdded, Target: audit.User(p.mona.ID), Detail: "role=MEMBER"}
				return nil, audit.Record(as(t, p.anna), tx, e)
			})
		}
		list := func(ctx context.Context, size int32, token string) *usherv1.ListAuditEventsResponse {
			t.Helper()
			res, err := s.ListAuditEvents(ctx, &usherv1.ListAuditEventsRequest{Room: room.GetId(), PageSize: size, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		all := list(as(t, p.olga), 0, "").GetEvents()
		if len(all) != 7 || all[6].GetAction() != "room.created" || all[6].GetActorUserId() != p.olga.ID.String() {
			t.Fatalf("%d events: %v", len(all), all)
		}
		first := all[0]
		if first.GetActorUserId() != p.anna.ID.String() || first.GetTarget() != "user:"+p.mona.ID.String() || first.GetDetail() != "role=MEMBER" ||
			time.Since(first.GetCreateTime().AsTime()) > time.Minute {
			t.Errorf("%v", first)
		}
		var got []int64
		token, pages := "", 0
		for {
			res := list(as(t, p.anna), 3, token)
			for _, e := range res.GetEvents() {
				got = append(got, e.GetId())
			}
			if pages++; pages == 1 { // what comes later is on no later page
				do := audit.Event{Room: uuid.MustParse(room.GetId()), Action: audit.RoomUpdated}
				must(t, db, func(tx *ent.Client) (any, error) { return nil, audit.Record(as(t, p.olga), tx, do) })
			}
			if token = res.GetNextPageToken(); token == "" {
				break
			}
		}
		var want []int64
		for i, e := range all {
			if want = append(want, e.GetId()); i > 0 && e.GetId() >= all[i-1].GetId() {
				t.Errorf("ids do not fall: %v", want)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
			t.Errorf("%d pages; -want +got\n%s", pages, diff)
		}

		foreign := list(as(t, p.anna), 3, "").GetNextPageToken()
		_, err := s.ListAuditEvents(as(t, p.olga), &usherv1.ListAuditEventsRequest{Room: room.GetId(), PageToken: foreign})
		wantFault(t, err, page.ErrTokenInvalid)
		mine := list(as(t, p.olga), 3, "").GetNextPageToken()
		_, err = s.ListAuditEvents(as(t, p.olga), &usherv1.ListAuditEventsRequest{Room: other.GetId(), PageToken: mine})
		wantFault(t, err, page.ErrTokenInvalid)
		_, err = s.ListAuditEvents(as(t, p.mona), &usherv1.ListAuditEventsRequest{Room: room.GetId()})
		wantFault(t, err, auth.ErrInsufficientRole)
		_, err = s.ListAuditEvents(as(t, p.olga), &usherv1.ListAuditEventsRequest{Room: uuid.NewString()})
		wantFault(t, err, auth.ErrRoomNotFound)
	})
}

func TestCleanUp_audit(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		room := uuid.New()
		for _, age := range []time.Duration{0, 364 * 24 * time.Hour, 366 * 24 * time.Hour} {
			must(t, db, func(tx *ent.Client) (any, error) {
				return tx.AuditEvent.Create().SetRoomID(room).SetAction("room.updated").SetCreateTime(now().Add(-age)).Save(t.Context())
			})
		}
		if err := s.CleanUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := db.Read.AuditEvent.Query().CountX(t.Context()); n != 2 {
			t.Errorf("%d events left, want 2", n)
		}
	})
}
