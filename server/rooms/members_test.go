package rooms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	"github.com/usher-meet/usher/gen/ent/member"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
)

func add(room *usherv1.Room, u *ent.User, role usherv1.Role) *usherv1.AddMemberRequest {
	return &usherv1.AddMemberRequest{Room: room.GetId(), Identifier: &usherv1.AddMemberRequest_UserId{UserId: u.ID.String()}, Role: role}
}

func addEmail(room *usherv1.Room, email string, role usherv1.Role) *usherv1.AddMemberRequest {
	return &usherv1.AddMemberRequest{Room: room.GetId(), Identifier: &usherv1.AddMemberRequest_Email{Email: email}, Role: role}
}

func update(room *usherv1.Room, u *ent.User, role usherv1.Role) *usherv1.UpdateMemberRequest {
	return &usherv1.UpdateMemberRequest{Room: room.GetId(), Identifier: &usherv1.UpdateMemberRequest_UserId{UserId: u.ID.String()}, Role: role}
}

func updateEmail(room *usherv1.Room, email string, role usherv1.Role) *usherv1.UpdateMemberRequest {
	return &usherv1.UpdateMemberRequest{Room: room.GetId(), Identifier: &usherv1.UpdateMemberRequest_Email{Email: email}, Role: role}
}

func remove(room *usherv1.Room, u *ent.User) *usherv1.RemoveMemberRequest {
	return &usherv1.RemoveMemberRequest{Room: room.GetId(), Identifier: &usherv1.RemoveMemberRequest_UserId{UserId: u.ID.String()}}
}

func removeEmail(room *usherv1.Room, email string) *usherv1.RemoveMemberRequest {
	return &usherv1.RemoveMemberRequest{Room: room.GetId(), Identifier: &usherv1.RemoveMemberRequest_Email{Email: email}}
}

// change makes one call about members, whichever it is.
func change(ctx context.Context, s *Service, req any) error {
	var err error
	switch req := req.(type) {
	case *usherv1.AddMemberRequest:
		_, err = s.AddMember(ctx, req)
	case *usherv1.UpdateMemberRequest:
		_, err = s.UpdateMember(ctx, req)
	case *usherv1.RemoveMemberRequest:
		_, err = s.RemoveMember(ctx, req)
	default:
		panic(fmt.Sprintf("%T", req))
	}
	return err
}

// people are an owner, an administrator, a member and somebody without a role; and addresses with each role, of which that
// of the owner is pending-owner@example.org.
type people struct {
	olga, anna, mona, nina *ent.User
}

func mustPeople(t *testing.T, db *dbtx.DB) people {
	t.Helper()
	return people{mustUser(t, db, "Olga"), mustUser(t, db, "Anna"), mustUser(t, db, "Mona"), mustUser(t, db, "Nina")}
}

func (p people) room(t *testing.T, s *Service) *usherv1.Room {
	t.Helper()
	room := mustRoom(t, s, p.olga, &usherv1.CreateRoomRequest{AccessLevel: restricted})
	mustMember(t, s, room, p.anna, administrator)
	mustMember(t, s, room, p.mona, plainMember)
	mustPending(t, s, room, "pending-owner@example.org", owner)
	mustPending(t, s, room, "pending-member@example.org", plainMember)
	return room
}

var peopleMembers = []string{
	"Anna administrator", "Mona member", "Olga owner", "pending-member@example.org member", "pending-owner@example.org owner",
}

func TestMembers_refuses(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		gone := must(t, db, func(tx *ent.Client) (*ent.User, error) {
			return tx.User.Create().SetFullName("Gone").SetActive(false).Save(t.Context())
		})
		room := p.room(t, s)
		other := mustUser(t, db, "Otto")
		mustMember(t, s, room, other, owner)
		nowhere := &usherv1.Room{Id: uuid.NewString()}
		nobody := &ent.User{ID: uuid.New()}
		olga, anna, mona, nina := as(t, p.olga), as(t, p.anna), as(t, p.mona), as(t, p.nina)
		needsAdministrator, needsOwner := map[string]string{"required_role": "ADMINISTRATOR"}, map[string]string{"required_role": "OWNER"}
		tests := []struct {
			name   string
			caller context.Context
			req    any
			want   *fault.Error
			meta   map[string]string
		}{
			{"add: no such room", olga, add(nowhere, p.nina, plainMember), auth.ErrRoomNotFound, nil},
			{"add: by a member", mona, add(room, p.nina, plainMember), auth.ErrInsufficientRole, needsAdministrator},
			{"add: oneself", nina, add(room, p.nina, plainMember), auth.ErrInsufficientRole, needsAdministrator},
			{"add: by a stranger", as(t, nil), addEmail(room, "x@example.org", plainMember), auth.ErrInsufficientRole, needsAdministrator},
			{"add: by a service", asService(t), addEmail(room, "x@example.org", plainMember), auth.ErrInsufficientRole, needsAdministrator},
			{"add: an owner by an administrator", anna, add(room, p.nina, owner), auth.ErrInsufficientRole, needsOwner},
			{"add: a pending owner by an administrator", anna, addEmail(room, "anna@example.org", owner), auth.ErrInsufficientRole, needsOwner},
			{"add: an unknown user", anna, add(room, nobody, plainMember), ErrUserNotFound, nil},
			{"add: an inactive user", anna, add(room, gone, plainMember), ErrUserNotFound, nil},
			{"add: a malformed id", anna, &usherv1.AddMemberRequest{Room: room.GetId(), Role: plainMember}, fault.ErrInvalid, map[string]string{"field": "user_id"}},
			{"add: no role", anna, add(room, p.nina, 0), fault.ErrInvalid, map[string]string{"field": "role"}},
			{"update: no role", anna, update(room, p.mona, 4), fault.ErrInvalid, map[string]string{"field": "role"}},
			{"add: a member", anna, add(room, p.mona, administrator), ErrMemberExists, nil},
			{"add: a pending member", anna, addEmail(room, "Pending-Member@example.org", administrator), ErrMemberExists, nil},

			{"update: no such room", olga, update(nowhere, p.mona, administrator), auth.ErrRoomNotFound, nil},
			{"update: by a member", mona, update(room, p.mona, administrator), auth.ErrInsufficientRole, needsAdministrator},
			{"update: nobody", anna, update(room, p.nina, administrator), ErrMemberNotFound, nil},
			{"update: an unknown address", anna, updateEmail(room, "x@example.org", administrator), ErrMemberNotFound, nil},
			{"update: a member by address", anna, updateEmail(room, "mona@example.org", administrator), ErrMemberNotFound, nil},
			{"update: to owner by an administrator", anna, update(room, p.mona, owner), auth.ErrInsufficientRole, needsOwner},
			{"update: oneself to owner", anna, update(room, p.anna, owner), auth.ErrInsufficientRole, needsOwner},
			{"update: an owner by an administrator", anna, update(room, p.olga, plainMember), auth.ErrInsufficientRole, needsOwner},
			{"update: an owner by another owner", olga, update(room, other, administrator), auth.ErrInsufficientRole, needsOwner},
			{"update: a pending owner by an administrator", anna, updateEmail(room, "pending-owner@example.org", plainMember), auth.ErrInsufficientRole, needsOwner},

			{"remove: no such room", olga, remove(nowhere, p.olga), auth.ErrRoomNotFound, nil},
			{"remove: another one by a member", mona, remove(room, p.anna), auth.ErrInsufficientRole, needsAdministrator},
			{"remove: nobody by a stranger", as(t, nil), remove(room, p.nina), auth.ErrInsufficientRole, needsAdministrator},
			{"remove: nobody", anna, remove(room, p.nina), ErrMemberNotFound, nil},
			{"remove: oneself who is nobody", nina, remove(room, p.nina), ErrMemberNotFound, nil},
			{"remove: an unknown address", anna, removeEmail(room, "x@example.org"), ErrMemberNotFound, nil},
			{"remove: an owner by an administrator", anna, remove(room, p.olga), auth.ErrInsufficientRole, needsOwner},
			{"remove: an owner by another owner", olga, remove(room, other), auth.ErrInsufficientRole, needsOwner},
			{"remove: a pending owner by an administrator", anna, removeEmail(room, "pending-owner@example.org"), auth.ErrInsufficientRole, needsOwner},
		}
		for _, tt := range tests {
			if diff := cmp.Diff(tt.meta, wantFault(t, change(tt.caller, s, tt.req), tt.want)); diff != "" {
				t.Errorf("%s: metadata: -want +got\n%s", tt.name, diff)
			}
		}
		want := append(slices.Clone(peopleMembers), "Otto owner")
		slices.Sort(want)
		if diff := cmp.Diff(want, membersOf(t, s, room)); diff != "" {
			t.Errorf("members: -want +got\n%s", diff)
		}
		if n := db.Read.LiveTask.Query().CountX(t.Context()); n != 0 {
			t.Errorf("%d tasks after refusals", n)
		}
	})
}

func TestMembers_changes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		caller func(people) *ent.User
		req    func(people, *usherv1.Room) any
		want   []string // members that are new, and with "-" those that are gone
		sync   bool
	}{
		{"an administrator adds a user", people.Anna, func(p people, r *usherv1.Room) any { return add(r, p.nina, administrator) }, []string{"Nina administrator"}, true},
		{"an administrator adds an address", people.Anna, func(_ people, r *usherv1.Room) any { return addEmail(r, " New@Example.ORG", plainMember) }, []string{"new@example.org member"}, false},
		{"an owner adds an owner", people.Olga, func(p people, r *usherv1.Room) any { return add(r, p.nina, owner) }, []string{"Nina owner"}, true},
		{"the address of a user is pending too", people.Anna, func(_ people, r *usherv1.Room) any { return addEmail(r, "nina@example.org", plainMember) }, []string{"nina@example.org member"}, false},
		{"and that of a member", people.Anna, func(_ people, r *usherv1.Room) any { return addEmail(r, "mona@example.org", administrator) }, []string{"mona@example.org administrator"}, false},
		{"an administrator promotes", people.Anna, func(p people, r *usherv1.Room) any { return update(r, p.mona, administrator) }, []string{"-Mona member", "Mona administrator"}, true},
		{"an administrator steps down", people.Anna, func(p people, r *usherv1.Room) any { return update(r, p.anna, plainMember) }, []string{"-Anna administrator", "Anna member"}, true},
		{"an owner makes an owner", people.Olga, func(p people, r *usherv1.Room) any { return update(r, p.mona, owner) }, []string{"-Mona member", "Mona owner"}, true},
		{"an owner stays one", people.Olga, func(p people, r *usherv1.Room) any { return update(r, p.olga, owner) }, nil, true},
		{"an address gets another role", people.Anna, func(_ people, r *usherv1.Room) any {
			return updateEmail(r, "pending-member@example.org", administrator)
		}, []string{"-pending-member@example.org member", "pending-member@example.org administrator"}, true},
		{"an owner changes one who never came", people.Olga, func(_ people, r *usherv1.Room) any {
			return updateEmail(r, "pending-owner@example.org", plainMember)
		}, []string{"-pending-owner@example.org owner", "pending-owner@example.org member"}, true},
		{"an owner removes one who never came", people.Olga, func(_ people, r *usherv1.Room) any { return removeEmail(r, "pending-owner@example.org") }, []string{"-pending-owner@example.org owner"}, true},
		{"an administrator removes a member", people.Anna, func(p people, r *usherv1.Room) any { return remove(r, p.mona) }, []string{"-Mona member"}, true},
		{"a member leaves", people.Mona, func(p people, r *usherv1.Room) any { return remove(r, p.mona) }, []string{"-Mona member"}, true},
	}
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		for _, tt := range tests {
			room := p.room(t, s)
			if err := change(as(t, tt.caller(p)), s, tt.req(p, room)); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			want := slices.Clone(peopleMembers)
			for _, m := range tt.want {
				if m[0] == '-' {
					want = slices.DeleteFunc(want, func(w string) bool { return w == m[1:] })
				} else {
					want = append(want, m)
				}
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, membersOf(t, s, room)); diff != "" {
				t.Errorf("%s: -want +got\n%s", tt.name, diff)
			}
			tasks := db.Read.LiveTask.Query().Where(livetask.RoomID(uuid.MustParse(room.GetId()))).CountX(t.Context())
			if (tasks == 1) != tt.sync {
				t.Errorf("%s: %d tasks, want one: %t", tt.name, tasks, tt.sync)
			}
		}
	})
}

// Olga, Anna and Mona are method expressions for tables.
func (p people) Olga() *ent.User { return p.olga }
func (p people) Anna() *ent.User { return p.anna }
func (p people) Mona() *ent.User { return p.mona }

// TestMembers_spellings: every spelling of an address is one person, and what is no address nobody.
func TestMembers_spellings(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		ctx := as(t, p.anna)
		spellings := []string{"Eve@BÜCHER.example", " eve@xn--bcher-kva.example ", `"EVE"@bücher。example.`}
		for i, first := range spellings {
			if err := change(ctx, s, addEmail(room, first, plainMember)); err != nil {
				t.Fatalf("add %q: %v", first, err)
			}
			if got := lastMember(t, s, room, "eve@xn--bcher-kva.example"); got == "" {
				t.Errorf("%q is stored in another form", first)
			}
			if err := change(ctx, s, addEmail(room, spellings[(i+1)%3], plainMember)); !errors.Is(err, ErrMemberExists) {
				t.Errorf("add %q and then %q: %v, want ErrMemberExists", first, spellings[(i+1)%3], err)
			}
			for _, other := range spellings {
				if err := change(ctx, s, updateEmail(room, other, administrator)); err != nil {
					t.Errorf("add %q and update %q: %v", first, other, err)
				}
			}
			if err := change(ctx, s, removeEmail(room, spellings[(i+2)%3])); err != nil {
				t.Errorf("add %q and remove %q: %v", first, spellings[(i+2)%3], err)
			}
		}
		for _, odd := range []string{" ", "eve", "a%b@x.example", "a!b@x.example", "a\u202eb@x.example", "\u212aate@x.example", "a b@x.example", "Eve <eve@x.example>"} {
			for _, req := range []any{addEmail(room, odd, plainMember), updateEmail(room, odd, plainMember), removeEmail(room, odd)} {
				if got := wantFault(t, change(ctx, s, req), fault.ErrInvalid)["field"]; got != "email" {
					t.Errorf("%q: the field %q is to blame", odd, got)
				}
			}
			_, err := s.CreateRoom(asService(t), &usherv1.CreateRoomRequest{Name: "Weekly", OwnerEmail: odd})
			if got := wantFault(t, err, fault.ErrInvalid)["field"]; got != "owner_email" {
				t.Errorf("%q: the field %q is to blame", odd, got)
			}
		}
	})
}

func TestAddMember_answers(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		tests := []struct {
			name string
			req  *usherv1.AddMemberRequest
			want *usherv1.Member
		}{
			{"somebody with an account", addEmail(room, "nina@example.org", plainMember), &usherv1.Member{Email: "nina@example.org", Role: plainMember, Pending: true}},
			{"somebody without one", addEmail(room, "nobody@example.org", plainMember), &usherv1.Member{Email: "nobody@example.org", Role: plainMember, Pending: true}},
			{"a member", addEmail(room, "mona@example.org", plainMember), &usherv1.Member{Email: "mona@example.org", Role: plainMember, Pending: true}},
			{"by id", add(room, p.nina, administrator), &usherv1.Member{User: &usherv1.UserSummary{Id: p.nina.ID.String(), DisplayName: "Nina"}, Role: administrator}},
		}
		for _, tt := range tests {
			res, err := s.AddMember(as(t, p.anna), tt.req)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, res.GetMember(), protocmp.Transform(), protocmp.IgnoreFields(tt.want, "create_time")); diff != "" {
				t.Errorf("%s: -want +got\n%s", tt.name, diff)
			}
		}
	})
}

// TestMembers_twoRows: somebody who is a member under their account and once more under their address has the higher role,
// and loses both at once.
func TestMembers_twoRows(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		for name, tt := range map[string]struct {
			caller *ent.User
			req    func(*usherv1.Room) any
			want   []string
		}{
			"removed":      {p.anna, func(r *usherv1.Room) any { return remove(r, p.mona) }, []string{"Olga owner"}},
			"left":         {p.mona, func(r *usherv1.Room) any { return remove(r, p.mona) }, []string{"Olga owner"}},
			"demoted":      {p.anna, func(r *usherv1.Room) any { return update(r, p.mona, plainMember) }, []string{"Mona member", "Olga owner"}},
			"stepped down": {p.mona, func(r *usherv1.Room) any { return update(r, p.mona, plainMember) }, []string{"Mona member", "Olga owner"}},
		} {
			room := mustRoom(t, s, p.olga, &usherv1.CreateRoomRequest{})
			mustMember(t, s, room, p.anna, administrator)
			mustMember(t, s, room, p.mona, plainMember)
			mustPending(t, s, room, "mona@example.org", administrator)
			if err := change(as(t, tt.caller), s, tt.req(room)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			want := append(slices.Clone(tt.want), "Anna administrator")
			slices.Sort(want)
			if diff := cmp.Diff(want, membersOf(t, s, room)); diff != "" {
				t.Errorf("%s: -want +got\n%s", name, diff)
			}
		}
		// Who was named by address only leaves all the same.
		room := mustRoom(t, s, p.olga, &usherv1.CreateRoomRequest{})
		mustPending(t, s, room, "mona@example.org", plainMember)
		mustPending(t, s, room, "anna@example.org", plainMember)
		if err := change(as(t, p.mona), s, remove(room, p.mona)); err != nil {
			t.Error(err)
		}
		if err := change(as(t, p.anna), s, removeEmail(room, "anna@example.org")); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"Olga owner"}, membersOf(t, s, room)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

func TestLastOwner(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		own := p.room(t, s) // the other owner never came
		res, err := s.CreateRoom(asService(t), &usherv1.CreateRoomRequest{OwnerEmail: "olga@example.org"})
		if err != nil {
			t.Fatal(err)
		}
		served := res.GetRoom()
		for name, req := range map[string]any{
			"leave":                               remove(own, p.olga),
			"step down":                           update(own, p.olga, plainMember),
			"leave before coming, by address":     removeEmail(served, "olga@example.org"),
			"leave before coming":                 remove(served, p.olga),
			"step down before coming, by address": updateEmail(served, "olga@example.org", administrator),
			"step down before coming":             update(served, p.olga, administrator),
		} {
			t.Log(name)
			wantFault(t, change(as(t, p.olga), s, req), ErrLastOwner)
		}
		if diff := cmp.Diff(peopleMembers, membersOf(t, s, own)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if diff := cmp.Diff([]string{"olga@example.org owner"}, membersOf(t, s, served)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if err := change(as(t, p.olga), s, update(own, p.mona, owner)); err != nil {
			t.Fatal(err)
		}
		if err := change(as(t, p.olga), s, remove(own, p.olga)); err != nil {
			t.Errorf("with another owner: %v", err)
		}
	})
}

// TestLastOwner_concurrent: owners who all leave or step down at the same moment leave one behind.
func TestLastOwner_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		owners := make([]*ent.User, 4)
		for i := range owners {
			owners[i] = mustUser(t, db, fmt.Sprintf("Owner%d", i))
		}
		for round := range 10 {
			room := mustRoom(t, s, owners[0], &usherv1.CreateRoomRequest{})
			for _, u := range owners[1:] {
				mustMember(t, s, room, u, owner)
			}
			_, errs := inParallel(len(owners), func(i int) (any, error) {
				if (i+round)%2 == 0 {
					return nil, change(as(t, owners[i]), s, remove(room, owners[i]))
				}
				return nil, change(as(t, owners[i]), s, update(room, owners[i], plainMember))
			})
			refused := 0
			for _, err := range errs {
				if err != nil {
					refused++
					wantFault(t, err, ErrLastOwner)
				}
			}
			left := db.Read.Member.Query().Where(member.RoomID(uuid.MustParse(room.GetId())), member.RoleEQ(owner)).CountX(t.Context())
			if refused != 1 || left != 1 {
				t.Fatalf("round %d: %d owners left, %d calls refused; want 1 and 1", round, left, refused)
			}
		}
	})
}

// TestUpdateMember_demotedMeanwhile: who loses the right while waiting for the lock is refused.
func TestUpdateMember_demotedMeanwhile(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		for range 10 {
			room := p.room(t, s)
			// Each removes the other: whoever is second is nobody any more.
			mustMember(t, s, room, p.nina, administrator)
			_, errs := inParallel(2, func(i int) (any, error) {
				if i == 0 {
					return nil, change(as(t, p.anna), s, remove(room, p.nina))
				}
				return nil, change(as(t, p.nina), s, remove(room, p.anna))
			})
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("both have one outcome: %v, %v", errs[0], errs[1])
			}
			for _, err := range errs {
				if err != nil {
					wantFault(t, err, auth.ErrInsufficientRole)
				}
			}
		}
	})
}

func TestListMembers(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		var want []*usherv1.Member
		for _, m := range []struct {
			u     *ent.User
			email string
			role  usherv1.Role
		}{
			{p.olga, "olga@example.org", owner},
			{nil, "pending-owner@example.org", owner},
			{p.anna, "anna@example.org", administrator},
			{p.mona, "mona@example.org", plainMember},
			{nil, "pending-member@example.org", plainMember},
		} {
			w := &usherv1.Member{Email: m.email, Role: m.role, Pending: m.u == nil}
			if m.u != nil {
				w.User = &usherv1.UserSummary{Id: m.u.ID.String(), DisplayName: m.u.FullName}
			}
			want = append(want, w)
		}
		for _, size := range []int32{0, 1, 2, 5} {
			var got []*usherv1.Member
			req := &usherv1.ListMembersRequest{Room: room.GetSlug(), PageSize: size}
			for {
				res, err := s.ListMembers(as(t, p.anna), req)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, res.GetMembers()...)
				if req.PageToken = res.GetNextPageToken(); req.GetPageToken() == "" {
					break
				}
			}
			if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&usherv1.Member{}, "create_time")); diff != "" {
				t.Errorf("size %d: -want +got\n%s", size, diff)
			}
		}
		for _, caller := range []context.Context{as(t, p.mona), as(t, p.nina), as(t, nil), asService(t)} {
			_, err := s.ListMembers(caller, &usherv1.ListMembersRequest{Room: room.GetId()})
			wantFault(t, err, auth.ErrInsufficientRole)
		}
		_, err := s.ListMembers(as(t, p.olga), &usherv1.ListMembersRequest{Room: "nothing"})
		wantFault(t, err, auth.ErrRoomNotFound)
	})
}
