package accounts_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/mailbox"
)

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

const (
	isMember = usherv1.Role_ROLE_MEMBER
	isAdmin  = usherv1.Role_ROLE_ADMINISTRATOR
	isOwner  = usherv1.Role_ROLE_OWNER
)

// fixture is a database with people, rooms and sessions.
type fixture struct {
	t *testing.T
	*accounts.Lifecycle
	tokens *auth.APITokens
	redis  *testenv.RedisServer
}

func newFixture(t *testing.T, db *dbtx.DB) *fixture {
	t.Helper()
	redis := testenv.Redis(t)
	return &fixture{
		t: t, redis: redis,
		Lifecycle: &accounts.Lifecycle{DB: db, Sessions: authtest.NewSessions(redis.Client(t)), Tasks: livetasks.NewQueue(10 * time.Minute)},
		tokens:    &auth.APITokens{DB: db, Keys: auth.NewKeys([]byte(authtest.Secret), nil)},
	}
}

// room makes a room; roles are of users, or of addresses that are pending.
func (h *fixture) room(name string, roles map[any]usherv1.Role) uuid.UUID {
	h.t.Helper()
	var id uuid.UUID
	err := h.DB.Run(h.t.Context(), func(tx *ent.Client) error {
		r, err := tx.Room.Create().SetName(name).SetNameKey(name).SetSlug(name).SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED).Save(h.t.Context())
		if err != nil {
			return err
		}
		id = r.ID
		for who, role := range roles {
			create := tx.Member.Create().SetRoomID(id).SetRole(role)
			switch who := who.(type) {
			case *ent.User:
				create.SetUserID(who.ID)
			case string:
				create.SetEmail(mailbox.Address(who))
			}
			if err := create.Exec(h.t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// roles are those of a user by the name of the room.
func (h *fixture) roles(u *ent.User) map[string]usherv1.Role {
	h.t.Helper()
	all, err := h.DB.Read.Member.Query().Where(member.UserID(u.ID)).WithRoom().All(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	roles := map[string]usherv1.Role{}
	for _, m := range all {
		roles[m.Edges.Room.Name] = m.Role
	}
	return roles
}

func (h *fixture) apiToken(u *ent.User) {
	h.t.Helper()
	_, _, err := h.tokens.Create(h.t.Context(), auth.CreateAPITokenParams{UserID: u.ID, Scopes: []string{"read"}, ExpireTime: inAnHour()})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *fixture) request(u *ent.User) {
	h.t.Helper()
	err := h.DB.Run(h.t.Context(), func(tx *ent.Client) error {
		return tx.IdempotencyKey.Create().SetCaller((&auth.Caller{Kind: auth.User, User: u}).Key()).SetRequestID(uuid.New()).
			SetBodyHash([]byte("test")).SetResponse([]byte("test")).Exec(h.t.Context())
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *fixture) exists(u *ent.User) bool {
	h.t.Helper()
	_, err := h.DB.Read.User.Get(h.t.Context(), u.ID)
	if err != nil && !ent.IsNotFound(err) {
		h.t.Fatal(err)
	}
	return err == nil
}

func named(sub string, email mailbox.Address) func(*ent.UserCreate) {
	return func(c *ent.UserCreate) {
		if sub != "" {
			c.SetSub(sub)
		}
		c.SetEmail(email).SetEmailVerified(email != "")
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		h := newFixture(t, db)
		from, into := authtest.NewUser(t, db, named("test-old", "old@x.example")), authtest.NewUser(t, db, named("", "new@x.example"))
		bob := authtest.NewUser(t, db)
		h.room("only-from", map[any]usherv1.Role{from: isOwner})
		h.room("only-into", map[any]usherv1.Role{into: isMember})
		h.room("from-higher", map[any]usherv1.Role{from: isOwner, into: isMember, bob: isMember})
		h.room("into-higher", map[any]usherv1.Role{from: isMember, into: isAdmin})
		h.room("from-pending", map[any]usherv1.Role{"old@x.example": isAdmin})
		h.room("both-pending", map[any]usherv1.Role{"old@x.example": isOwner, into: isMember})
		h.room("others", map[any]usherv1.Role{bob: isOwner, "other@x.example": isMember})
		h.apiToken(from)
		h.request(from)
		session := authtest.MustCreate(t, h.Sessions, from.ID, "")
		kept := authtest.MustCreate(t, h.Sessions, into.ID, "")

		if err := h.Merge(t.Context(), accounts.MergeParams{From: from.ID, Into: into.ID}); err != nil {
			t.Fatal(err)
		}
		want := map[string]usherv1.Role{
			"only-from": isOwner, "only-into": isMember, "from-higher": isOwner, "into-higher": isAdmin, "from-pending": isAdmin, "both-pending": isOwner,
		}
		if diff := cmp.Diff(want, h.roles(into)); diff != "" {
			t.Errorf("roles (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]usherv1.Role{"from-higher": isMember, "others": isOwner}, h.roles(bob)); diff != "" {
			t.Errorf("somebody else's roles (-want +got):\n%s", diff)
		}
		if n, err := db.Read.Member.Query().Where(member.UserIDIsNil()).Count(t.Context()); err != nil || n != 1 {
			t.Errorf("%d pending members, %v, want the other one", n, err)
		}
		merged, err := db.Read.User.Get(t.Context(), into.ID)
		if err != nil || merged.Sub == nil || *merged.Sub != "test-old" || merged.Email != "new@x.example" {
			t.Errorf("account %+v, %v, want the sub of the other and its own address", merged, err)
		}
		if h.exists(from) {
			t.Error("the merged account is still there")
		}
		if tokens, err := h.tokens.List(t.Context(), into.ID); err != nil || len(tokens) != 1 {
			t.Errorf("%d API tokens, %v, want the moved one", len(tokens), err)
		}
		if n, err := db.Read.IdempotencyKey.Query().Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d idempotency keys, %v, want none", n, err)
		}
		authtest.WantEnded(t, h.Sessions, session)
		if _, err := h.Sessions.Lookup(t.Context(), kept); err != nil {
			t.Errorf("the session of the account that stays: %v", err)
		}
	})
}

func TestMerge_refusals(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		h := newFixture(t, db)
		from, into := authtest.NewUser(t, db, named("test-1", "a@x.example")), authtest.NewUser(t, db, named("test-2", ""))
		if err := h.Merge(t.Context(), accounts.MergeParams{From: from.ID, Into: from.ID}); err == nil {
			t.Error("merged an account into itself")
		}
		if err := h.Merge(t.Context(), accounts.MergeParams{From: uuid.New(), Into: into.ID}); !errors.Is(err, auth.ErrNoUser) {
			t.Errorf("nobody: %v, want ErrNoUser", err)
		}
		if err := h.Merge(t.Context(), accounts.MergeParams{From: from.ID, Into: into.ID}); !errors.Is(err, accounts.ErrTwoSubs) || !h.exists(from) {
			t.Errorf("two subs: %v, want ErrTwoSubs and nothing changed", err)
		}
		if err := h.Merge(t.Context(), accounts.MergeParams{From: from.ID, Into: into.ID, DropSub: true}); err != nil {
			t.Fatal(err)
		}
		merged, err := db.Read.User.Get(t.Context(), into.ID)
		if err != nil || *merged.Sub != "test-2" || merged.Email != "a@x.example" || !merged.EmailVerified {
			t.Errorf("account %+v, %v, want its own sub and the address of the other", merged, err)
		}
	})
}

func TestDelete(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		h := newFixture(t, db)
		ada, bob := authtest.NewUser(t, db, named("test-ada", "ada@x.example")), authtest.NewUser(t, db)
		last := h.room("last", map[any]usherv1.Role{ada: isOwner, bob: isAdmin})
		pending := h.room("pending", map[any]usherv1.Role{ada: isOwner, "carol@x.example": isOwner})
		h.room("shared", map[any]usherv1.Role{ada: isOwner, bob: isOwner})
		h.room("invited", map[any]usherv1.Role{bob: isOwner, "ada@x.example": isMember})
		h.apiToken(ada)
		h.request(ada)
		session := authtest.MustCreate(t, h.Sessions, ada.ID, "")

		err := h.Delete(t.Context(), ada.ID)
		var refused *accounts.LastOwnerError
		if !errors.As(err, &refused) {
			t.Fatalf("Delete of the last owner: %v, want a LastOwnerError", err)
		}
		got := map[uuid.UUID]bool{}
		for _, id := range refused.Rooms {
			got[id] = true
		}
		if diff := cmp.Diff(map[uuid.UUID]bool{last: true, pending: true}, got); diff != "" || !strings.Contains(err.Error(), last.String()) {
			t.Errorf("rooms (-want +got):\n%s\nmessage %s", diff, err)
		}
		if _, err := h.Sessions.Lookup(t.Context(), session); err != nil || !h.exists(ada) {
			t.Errorf("the refusal changed something: %v", err)
		}
		err = db.Run(t.Context(), func(tx *ent.Client) error {
			_, err := tx.Member.Update().Where(member.UserID(bob.ID), member.RoomID(last)).SetRole(isOwner).Save(t.Context())
			if err == nil {
				err = tx.Room.DeleteOneID(pending).Exec(t.Context())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Delete(t.Context(), ada.ID); err != nil {
			t.Fatal(err)
		}
		for what, count := range map[string]func() (int, error){
			"users":            func() (int, error) { return db.Read.User.Query().Count(t.Context()) },
			"API tokens":       func() (int, error) { return db.Read.APIToken.Query().Count(t.Context()) },
			"idempotency keys": func() (int, error) { return db.Read.IdempotencyKey.Query().Count(t.Context()) },
			"pending members":  func() (int, error) { return db.Read.Member.Query().Where(member.UserIDIsNil()).Count(t.Context()) },
			"live tasks":       func() (int, error) { return db.Read.LiveTask.Query().Count(t.Context()) },
		} {
			want := map[string]int{"users": 1, "live tasks": 1}[what]
			if n, err := count(); err != nil || n != want {
				t.Errorf("%d %s, %v, want %d", n, what, err, want)
			}
		}
		authtest.WantEnded(t, h.Sessions, session)
		if err := h.Delete(t.Context(), ada.ID); !errors.Is(err, auth.ErrNoUser) {
			t.Errorf("Delete again: %v, want ErrNoUser", err)
		}
	})
}

// TestDelete_concurrentLastOwners: of two owners who are deleted at the same time, one stays.
func TestDelete_concurrentLastOwners(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		h := newFixture(t, db)
		for round := range 10 {
			ada, bob := authtest.NewUser(t, db), authtest.NewUser(t, db)
			id := h.room(fmt.Sprintf("room-%d", round), map[any]usherv1.Role{ada: isOwner, bob: isOwner})
			var all sync.WaitGroup
			begin := make(chan struct{})
			for _, u := range []*ent.User{ada, bob} {
				all.Go(func() {
					<-begin
					err := h.Delete(t.Context(), u.ID)
					if last := (*accounts.LastOwnerError)(nil); err != nil && !errors.As(err, &last) {
						t.Errorf("Delete: %v", err)
					}
				})
			}
			close(begin)
			all.Wait()
			owners, err := db.Read.Member.Query().Where(member.RoomID(id), member.RoleEQ(isOwner)).Count(t.Context())
			if err != nil || owners != 1 {
				t.Errorf("round %d: %d owners, %v, want the one who was refused", round, owners, err)
			}
		}
	})
}

func TestExport(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		h := newFixture(t, db)
		ada := authtest.NewUser(t, db, named("test-ada", "ada@x.example"), func(c *ent.UserCreate) {
			c.SetDefaultConfiguration(&usherv1.RoomConfiguration{RestrictSources: true})
		})
		bob := authtest.NewUser(t, db, named("test-bob", "bob@x.example"))
		h.room("own", map[any]usherv1.Role{ada: isOwner, bob: isMember})
		h.room("invited", map[any]usherv1.Role{bob: isOwner, "ada@x.example": isMember})
		h.room("others", map[any]usherv1.Role{bob: isOwner})
		h.apiToken(ada)
		h.request(ada)
		authtest.MustCreate(t, h.Sessions, ada.ID, "")
		if err := h.Deactivate(t.Context(), ada.ID); err != nil {
			t.Fatal(err)
		}
		authtest.MustCreate(t, h.Sessions, ada.ID, "test-id-token")
		data, err := h.Export(t.Context(), ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			ada.ID.String(), `"sub":"test-ada"`, `"email":"ada@x.example"`, `"restrictSources":true`, `"active":false`,
			`"room_name":"own"`, `"role":"OWNER"`, `"room_name":"invited"`, `"pending":true`, `"scopes":["read"]`, `"request_id":`, `"keep_until":`,
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the export lacks %s:\n%s", want, text)
			}
		}
		for _, not := range []string{"bob", "others", "test-id-token", bob.ID.String()} {
			if strings.Contains(string(text), not) {
				t.Errorf("the export tells %s:\n%s", not, text)
			}
		}
		if len(data.Sessions) != 1 {
			t.Errorf("%d sessions, want 1", len(data.Sessions))
		}
		// Programs read it: what there is none of is an empty list.
		nobody, err := h.Export(t.Context(), authtest.NewUser(t, db, named("test-eve", "")).ID)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := json.Marshal(nobody); err != nil || strings.Contains(string(text), "null") {
			t.Errorf("the export of somebody about whom little is known: %s (%v), want no null", text, err)
		}
		if _, err := h.Export(t.Context(), uuid.New()); !errors.Is(err, auth.ErrNoUser) {
			t.Errorf("Export of nobody: %v, want ErrNoUser", err)
		}
	})
}

// What was done by and to a person, and what hosts decided about them, is theirs to know; what is about others is not.
func TestExport_auditAndDecisions(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		h := newFixture(t, db)
		ada, bob := authtest.NewUser(t, db, named("test-ada", "ada@x.example")), authtest.NewUser(t, db, named("test-bob", "bob@x.example"))
		room := h.room("own", map[any]usherv1.Role{ada: isOwner, bob: isMember})
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
		err := db.Run(t.Context(), func(tx *ent.Client) error {
			for _, e := range []struct {
				actor          *ent.User
				action, target string
				detail         string
			}{
				{ada, "member.added", "user:" + bob.ID.String(), "role=MEMBER"},
				{bob, "entry.admitted", "entry:" + uuid.NewString(), "identity=p_a user=" + ada.ID.String() + " decided=1"},
				{bob, "entry.denied", "entry:" + uuid.NewString(), "identity=p_b user=" + bob.ID.String() + " decided=2"},
				{bob, "member.role_changed", "user:" + ada.ID.String(), "role=OWNER"},
				{nil, "entry.denied", "entry:" + uuid.NewString(), "by=service:portal identity=p_c decided=3"},
			} {
				create := tx.AuditEvent.Create().SetRoomID(room).SetAction(e.action).SetTarget(e.target).SetDetail(e.detail)
				if e.actor != nil {
					create.SetActorUserID(e.actor.ID)
				}
				if err := create.Exec(t.Context()); err != nil {
					return err
				}
			}
			about := func(u *ent.User, name string) error {
				return tx.ParticipantState.Create().SetRoomID(room).SetSubject("user:" + u.ID.String()).SetUserID(u.ID).SetDisplayName(name).
					SetNameByHost(true).SetCanSubscribe(false).SetBlockUntil(until).SetMeeting(1).SetExpireTime(until).Exec(t.Context())
			}
			return errors.Join(about(ada, "Named Ada"), about(bob, "Named Bob"))
		})
		if err != nil {
			t.Fatal(err)
		}
		data, err := h.Export(t.Context(), ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range data.Audit {
			got = append(got, fmt.Sprint(e.Action, " actor=", e.Actor, " target=", e.Target))
		}
		want := []string{
			"member.added actor=true target=false", "entry.admitted actor=false target=true", "member.role_changed actor=false target=true",
		}
		if !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		if len(data.Decisions) != 1 {
			t.Fatalf("decisions %v, want one", data.Decisions)
		}
		d := data.Decisions[0]
		if d.DisplayName != "Named Ada" || !d.ByHost || !d.Restricted || d.RoomID != room || d.BlockUntil == nil || !d.BlockUntil.Equal(until) {
			t.Errorf("decision %+v", d)
		}
	})
}

func TestDeactivate_withoutRedis(t *testing.T) {
	t.Parallel()
	db := testenv.SQLite(t)
	h := newFixture(t, db)
	ada := authtest.NewUser(t, db)
	session := authtest.MustCreate(t, h.Sessions, ada.ID, "")
	h.redis.Kill()
	if err := h.Deactivate(t.Context(), ada.ID); !errors.Is(err, fault.ErrRedis) || !strings.Contains(err.Error(), "repeat") {
		t.Errorf("Deactivate without Redis: %v, want to be told to repeat it", err)
	}
	if u, err := db.Read.User.Get(t.Context(), ada.ID); err != nil || u.Active {
		t.Errorf("the account is active still (%v)", err)
	}
	h.redis.Restart()
	if err := h.Deactivate(t.Context(), ada.ID); err != nil {
		t.Fatal(err)
	}
	authtest.WantEnded(t, h.Sessions, session)
	if err := h.Deactivate(t.Context(), uuid.New()); !errors.Is(err, auth.ErrNoUser) {
		t.Errorf("Deactivate of nobody: %v, want ErrNoUser", err)
	}
}
