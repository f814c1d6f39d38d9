package rooms

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/idempotencykey"
	"github.com/usher-meet/usher/gen/ent/livetask"
	"github.com/usher-meet/usher/gen/ent/room"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/idempotency"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/ratelimit"
)

var codeShape = regexp.MustCompile(`^[a-z]{3}-[a-z]{4}-[a-z]{3}$`)

func TestCreateRoom(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		got := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{
			Name: "  Réunion \u202e du lundi\x00 ", AccessLevel: restricted,
			Configuration: &usherv1.RoomConfiguration{RestrictSources: true, EveryoneCanMute: proto.Bool(false)},
		})
		want := &usherv1.Room{
			Name: "Réunion du lundi", Slug: "reunion-du-lundi", AccessLevel: restricted,
			Configuration: &usherv1.RoomConfiguration{RestrictSources: true, EveryoneCanMute: proto.Bool(false)},
			MyRole:        owner, JoinMode: usherv1.JoinMode_JOIN_MODE_DIRECT, Live: &usherv1.RoomLive{},
			WebUrl: "https://meet.example.org/reunion-du-lundi",
		}
		if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(want, "id", "create_time", "update_time", "etag")); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if _, err := uuid.Parse(got.GetId()); err != nil || got.GetEtag() == "" || got.GetCreateTime() == nil {
			t.Errorf("id %q, etag %q, create_time %v", got.GetId(), got.GetEtag(), got.GetCreateTime())
		}
		read, err := s.GetRoom(as(t, alice), &usherv1.GetRoomRequest{Room: "Réunion du LUNDI"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, read.GetRoom(), protocmp.Transform()); diff != "" {
			t.Errorf("read back: -want +got\n%s", diff)
		}
		if diff := cmp.Diff([]string{"Alice owner"}, membersOf(t, s, got)); diff != "" {
			t.Errorf("members: -want +got\n%s", diff)
		}
	})
}

func TestCreateRoom_defaults(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		bob.DefaultAccessLevel = public
		bob.DefaultConfiguration = &usherv1.RoomConfiguration{RestrictSources: true}
		tests := []struct {
			name  string
			user  *ent.User
			req   *usherv1.CreateRoomRequest
			level usherv1.AccessLevel
			limit bool
		}{
			{"the instance's", alice, &usherv1.CreateRoomRequest{}, trusted, false},
			{"the owner's", bob, &usherv1.CreateRoomRequest{}, public, true},
			{"what is asked for", bob, &usherv1.CreateRoomRequest{AccessLevel: restricted, Configuration: &usherv1.RoomConfiguration{}}, restricted, false},
		}
		for _, tt := range tests {
			got := mustRoom(t, s, tt.user, tt.req)
			if got.GetAccessLevel() != tt.level || got.GetConfiguration().GetRestrictSources() != tt.limit {
				t.Errorf("%s: %v %v", tt.name, got.GetAccessLevel(), got.GetConfiguration())
			}
			if !codeShape.MatchString(got.GetName()) || got.GetSlug() != got.GetName() {
				t.Errorf("%s: name %q, slug %q; want a code", tt.name, got.GetName(), got.GetSlug())
			}
		}
	})
}

func TestCreateRoom_derivedSlug(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "Taken"})
		tests := []struct {
			name, in, want string
		}{
			{"taken", "TAKEN", `^taken-[a-z0-9]{6}$`},
			{"reserved", "API", `^api-[a-z0-9]{6}$`},
			{"an id", "{0D5AE0D1-8F4B-4A0C-9D7A-5B0F6F1C2D3E}", `^0d5ae0d1-8f4b-4a0c-9d7a-5b0f6f1c2d3e-[a-z0-9]{6}$`},
			{"an id without dashes", "0d5ae0d18f4b4a0c9d7a5b0f6f1c2d3e", `^0d5ae0d18f4b4a0c9d7a5b0f6f1c2d3e-[a-z0-9]{6}$`},
			{"another script", "会議", `^hui-yi$`},
			{"no letters", "☎", `^[a-z]{3}-[a-z]{4}-[a-z]{3}$`},
			{"long", strings.Repeat("a", 500), `^a{100}$`},
			{"long and taken", strings.Repeat("a", 500), `^a{93}-[a-z0-9]{6}$`},
		}
		for _, tt := range tests {
			got := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: tt.in})
			if !regexp.MustCompile(tt.want).MatchString(got.GetSlug()) || got.GetName() != tt.in {
				t.Errorf("%s: name %q, slug %q; want %s", tt.name, got.GetName(), got.GetSlug(), tt.want)
			}
		}
	})
}

func TestCreateRoom_refuses(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		closed, _ := newService(t, db)
		closed.Defaults.UsersCreate = false
		alice := mustUser(t, db, "Alice")
		mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Slug: "taken", CallbackId: strings.Repeat("c", 22)})
		user, service := as(t, alice), asService(t)
		participant := auth.WithCaller(t.Context(), &auth.Caller{Kind: auth.Participant, Participant: &auth.ParticipantSession{}})
		tests := []struct {
			name string
			call func(*usherv1.CreateRoomRequest) error
			req  *usherv1.CreateRoomRequest
			want *fault.Error
			meta map[string]string
		}{
			{"an explicit slug that is taken", create(user, s), &usherv1.CreateRoomRequest{Slug: " TAKEN "}, ErrSlugTaken, map[string]string{"slug": "taken"}},
			{"a reserved slug", create(user, s), &usherv1.CreateRoomRequest{Slug: "API"}, ErrNameReserved, nil},
			{"a slug with nothing in it", create(user, s), &usherv1.CreateRoomRequest{Slug: "☎"}, ErrNameReserved, nil},
			{"a slug that is an id", create(user, s), &usherv1.CreateRoomRequest{Slug: "0d5ae0d1-8f4b-4a0c-9d7a-5b0f6f1c2d3e"}, ErrNameReserved, nil},
			{"a slug that is an id in braces", create(user, s), &usherv1.CreateRoomRequest{Slug: "{0d5ae0d1-8f4b-4a0c-9d7a-5b0f6f1c2d3e}"}, ErrNameReserved, nil},
			{"a slug that is an id without dashes", create(user, s), &usherv1.CreateRoomRequest{Slug: "0D5AE0D18F4B4A0C9D7A5B0F6F1C2D3E"}, ErrNameReserved, nil},
			{"a slug that is a URN", create(user, s), &usherv1.CreateRoomRequest{Slug: "urn:uuid:0d5ae0d1-8f4b-4a0c-9d7a-5b0f6f1c2d3e"}, ErrNameReserved, nil},
			{"a user who names another owner", create(user, s), &usherv1.CreateRoomRequest{OwnerEmail: "bob@example.org"}, auth.ErrNotPermitted, nil},
			{"a service without owner", create(service, s), &usherv1.CreateRoomRequest{}, fault.ErrInvalid, map[string]string{"field": "owner_email"}},
			{"a user where services create", create(user, closed), &usherv1.CreateRoomRequest{}, ErrCreationRestricted, nil},
			{"a stranger", create(as(t, nil), s), &usherv1.CreateRoomRequest{}, auth.ErrSignInRequired, nil},
			{"a participant", create(participant, s), &usherv1.CreateRoomRequest{}, auth.ErrNotPermitted, nil},
			{"a malformed request_id", create(user, s), &usherv1.CreateRoomRequest{RequestId: "1"}, fault.ErrInvalid, map[string]string{"field": "request_id"}},
			{"a callback_id in use", create(user, s), &usherv1.CreateRoomRequest{CallbackId: strings.Repeat("c", 22)}, fault.ErrInvalid, map[string]string{"field": "callback_id"}},
		}
		for _, tt := range tests {
			if diff := cmp.Diff(tt.meta, wantFault(t, tt.call(tt.req), tt.want)); diff != "" {
				t.Errorf("%s: metadata: -want +got\n%s", tt.name, diff)
			}
		}
		if n := db.Read.Room.Query().CountX(t.Context()); n != 1 {
			t.Errorf("%d rooms, want the first one only", n)
		}
		if n := db.Read.IdempotencyKey.Query().CountX(t.Context()); n != 0 {
			t.Errorf("%d idempotency keys left", n)
		}
	})
}

func create(ctx context.Context, s *Service) func(*usherv1.CreateRoomRequest) error {
	return func(req *usherv1.CreateRoomRequest) error {
		_, err := s.CreateRoom(ctx, req)
		return err
	}
}

func TestCreateRoom_service(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		s.Defaults.UsersCreate = false
		bob := mustUser(t, db, "Bob")
		must(t, db, func(tx *ent.Client) (*ent.User, error) {
			return tx.User.UpdateOne(bob).SetDefaultAccessLevel(public).Save(t.Context())
		})
		for _, address := range []string{"Bob@Example.org", "nobody@example.org"} {
			res, err := s.CreateRoom(asService(t), &usherv1.CreateRoomRequest{Name: "Weekly", OwnerEmail: address})
			if err != nil {
				t.Fatal(err)
			}
			want := &usherv1.Room{Name: "Weekly", AccessLevel: trusted, JoinMode: usherv1.JoinMode_JOIN_MODE_LOBBY}
			if diff := cmp.Diff(want, res.GetRoom(), protocmp.Transform(), protocmp.IgnoreFields(want, "id", "slug", "web_url")); diff != "" {
				t.Errorf("%s: -want +got\n%s", address, diff)
			}
			if diff := cmp.Diff([]string{strings.ToLower(address) + " owner"}, membersOf(t, s, res.GetRoom())); diff != "" {
				t.Errorf("%s: members: -want +got\n%s", address, diff)
			}
		}
	})
}

func TestCreateRoom_rateLimit(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		redis := testenv.Redis(t)
		s.Limiter.Redis = redis.Client(t)
		s.CreateLimit = ratelimit.Limit{Name: "create_room", Burst: 1, Period: time.Hour}
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		first := &usherv1.CreateRoomRequest{RequestId: uuid.NewString()}
		mustRoom(t, s, alice, first)
		wantFault(t, create(as(t, alice), s)(&usherv1.CreateRoomRequest{}), ratelimit.ErrLimited)
		mustRoom(t, s, alice, first) // a repetition creates nothing
		mustRoom(t, s, bob, &usherv1.CreateRoomRequest{})
		for range 2 {
			if _, err := s.CreateRoom(asService(t), &usherv1.CreateRoomRequest{OwnerEmail: "alice@example.org"}); err != nil {
				t.Errorf("a service is limited: %v", err)
			}
		}
		redis.Kill()
		mustRoom(t, s, alice, &usherv1.CreateRoomRequest{})
	})
}

func TestCreateRoom_requestID(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		id := uuid.NewString()
		req := &usherv1.CreateRoomRequest{Name: "Weekly", RequestId: id, CallbackId: strings.Repeat("c", 22)}
		first := mustRoom(t, s, alice, req)
		req.RequestId = strings.ToUpper(id)
		if diff := cmp.Diff(first, mustRoom(t, s, alice, req), protocmp.Transform()); diff != "" {
			t.Errorf("the same request: -first +second\n%s", diff)
		}
		wantFault(t, create(as(t, alice), s)(&usherv1.CreateRoomRequest{Name: "Other", RequestId: id}), idempotency.ErrReused)
		if other := mustRoom(t, s, bob, &usherv1.CreateRoomRequest{Name: "Weekly", RequestId: id}); other.GetId() == first.GetId() {
			t.Error("another caller got the room")
		}
		if n := db.Read.Room.Query().CountX(t.Context()); n != 2 {
			t.Errorf("%d rooms, want 2", n)
		}

		// After its time, the same id is a new one.
		s.IdempotencyLife = -time.Second
		if again := mustRoom(t, s, bob, &usherv1.CreateRoomRequest{Name: "Weekly", RequestId: id}); again.GetSlug() == "weekly" {
			t.Errorf("slug %q", again.GetSlug())
		}
		if n := db.Read.IdempotencyKey.Query().Where(idempotencykey.Caller("user:" + bob.ID.String())).CountX(t.Context()); n != 1 {
			t.Errorf("%d keys, want the new one", n)
		}
	})
}

func TestCreateRoom_requestIDConcurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		for round := range 5 {
			req := &usherv1.CreateRoomRequest{Slug: fmt.Sprintf("weekly-%d", round), RequestId: uuid.NewString()}
			rooms, errs := inParallel(8, func(int) (string, error) {
				res, err := s.CreateRoom(as(t, alice), req)
				return res.GetRoom().GetId(), err
			})
			if err := errors.Join(errs...); err != nil {
				t.Errorf("equal calls failed: %v", err)
			}
			slices.Sort(rooms)
			if rooms = slices.Compact(rooms); len(rooms) != 1 {
				t.Errorf("equal calls got the rooms %v", rooms)
			}
		}
		if n := db.Read.Room.Query().CountX(t.Context()); n != 5 {
			t.Errorf("%d rooms, want 5", n)
		}
	})
}

// TestSlug_concurrent: of several who want a slug at the same moment one gets it, and whoever left the choice to us gets
// another one.
func TestSlug_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		for round := range 5 {
			name := fmt.Sprintf("derived %d", round)
			slugs, errs := inParallel(8, func(int) (string, error) {
				res, err := s.CreateRoom(as(t, alice), &usherv1.CreateRoomRequest{Name: name})
				return res.GetRoom().GetSlug(), err
			})
			if err := errors.Join(errs...); err != nil {
				t.Fatalf("a derived slug failed: %v", err)
			}
			slices.Sort(slugs)
			if n := len(slices.Compact(slices.Clone(slugs))); n != 8 || slugs[0] != fmt.Sprintf("derived-%d", round) {
				t.Errorf("slugs %v", slugs)
			}
			_, errs = inParallel(8, func(int) (string, error) {
				res, err := s.CreateRoom(as(t, alice), &usherv1.CreateRoomRequest{Slug: fmt.Sprintf("explicit-%d", round)})
				return res.GetRoom().GetSlug(), err
			})
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else {
					wantFault(t, err, ErrSlugTaken)
				}
			}
			if won != 1 {
				t.Errorf("%d calls got one slug", won)
			}
		}
		if n := db.Read.Room.Query().CountX(t.Context()); n != 5*9 {
			t.Errorf("%d rooms, want %d", n, 5*9)
		}
		if n := db.Read.Member.Query().CountX(t.Context()); n != 5*9 {
			t.Errorf("%d owners, want %d", n, 5*9)
		}
	})
}

// inParallel calls fn n times at once and returns the answers.
func inParallel[T any](n int, fn func(i int) (T, error)) ([]T, []error) {
	answers, errs := make([]T, n), make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			answers[i], errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return answers, errs
}

func TestGetRoom_views(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob, carol := mustUser(t, db, "Alice"), mustUser(t, db, "Bob"), mustUser(t, db, "Carol")
		unverified := *carol
		unverified.EmailVerified = false
		rooms := map[usherv1.AccessLevel]*usherv1.Room{}
		for _, level := range []usherv1.AccessLevel{public, trusted, restricted} {
			rooms[level] = mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: level})
			mustPending(t, s, rooms[level], "carol@example.org", administrator)
		}
		tests := []struct {
			name   string
			caller context.Context
			direct []usherv1.AccessLevel
			role   usherv1.Role
		}{
			{"owner", as(t, alice), []usherv1.AccessLevel{public, trusted, restricted}, owner},
			{"pending member", as(t, carol), []usherv1.AccessLevel{public, trusted, restricted}, administrator},
			{"somebody who claims the address of one", as(t, &unverified), []usherv1.AccessLevel{public, trusted}, 0},
			{"user", as(t, bob), []usherv1.AccessLevel{public, trusted}, 0},
			{"stranger", as(t, nil), []usherv1.AccessLevel{public}, 0},
			{"service", asService(t), []usherv1.AccessLevel{public}, 0},
		}
		for _, tt := range tests {
			for level, room := range rooms {
				res, err := s.GetRoom(tt.caller, &usherv1.GetRoomRequest{Room: strings.ToUpper("{" + room.GetId() + "}")})
				if err != nil {
					t.Fatal(err)
				}
				want := &usherv1.Room{
					Id: room.GetId(), Name: room.GetName(), Slug: room.GetSlug(), AccessLevel: level, WebUrl: room.GetWebUrl(),
					JoinMode: usherv1.JoinMode_JOIN_MODE_LOBBY,
				}
				if slices.Contains(tt.direct, level) {
					want = proto.CloneOf(room)
					want.MyRole = tt.role
				}
				if diff := cmp.Diff(want, res.GetRoom(), protocmp.Transform()); diff != "" {
					t.Errorf("%s, %v: -want +got\n%s", tt.name, level, diff)
				}
			}
		}
	})
}

// Links that were written with the name of a room lead where they led before its letters counted in the slug, whoever makes
// a room with the slug of today.
func TestGetRoom_formerSlug(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		before := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "Straße", Slug: "stra-e"})
		after := mustRoom(t, s, bob, &usherv1.CreateRoomRequest{Name: "Straße"})
		only := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "Łódź"})
		copied := mustRoom(t, s, bob, &usherv1.CreateRoomRequest{Name: "Copy", Slug: "odz"})
		for ref, want := range map[string]*usherv1.Room{
			"stra-e": before, "Straße": before, "STRAßE": before, "strasse": after, "łódź": only, "lodz": only, "odz": copied,
		} {
			res, err := s.GetRoom(as(t, nil), &usherv1.GetRoomRequest{Room: ref})
			if err != nil || res.GetRoom().GetId() != want.GetId() {
				t.Errorf("%q leads to %q, %v; want %q", ref, res.GetRoom().GetSlug(), err, want.GetSlug())
			}
		}
	})
}

func TestGetRoom_notFound(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		for _, ref := range []string{"", "nothing", "会議", uuid.NewString(), "\x00", "%", strings.Repeat("a", 500)} {
			_, err := s.GetRoom(as(t, nil), &usherv1.GetRoomRequest{Room: ref})
			wantFault(t, err, auth.ErrRoomNotFound)
		}
	})
}

// TestRoom_queryCount: finding a room, and joining one, is one statement.
func TestRoom_queryCount(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
		c, statements := counted(db)
		s.DB = c.DB
		for _, caller := range []context.Context{as(t, alice), as(t, nil)} {
			if _, err := s.GetRoom(caller, &usherv1.GetRoomRequest{Room: room.GetSlug()}); err != nil {
				t.Fatal(err)
			}
			if n := statements(); n != 1 {
				t.Errorf("GetRoom took %d statements", n)
			}
			if _, err := s.JoinRoom(caller, &usherv1.JoinRoomRequest{Room: room.GetSlug()}); err != nil {
				t.Fatal(err)
			}
			if n := statements(); n != 1 {
				t.Errorf("JoinRoom took %d statements", n)
			}
		}
	})
}

func TestDeleteRoom(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		target := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{CallbackId: strings.Repeat("c", 22)})
		mustMember(t, s, target, bob, administrator)
		for _, caller := range []context.Context{as(t, bob), as(t, nil), asService(t)} {
			_, err := s.DeleteRoom(caller, &usherv1.DeleteRoomRequest{Room: target.GetId()})
			if got := wantFault(t, err, auth.ErrInsufficientRole); got["required_role"] != "OWNER" {
				t.Errorf("metadata %v", got)
			}
		}
		if n := db.Read.LiveTask.Query().CountX(t.Context()); n != 0 {
			t.Errorf("%d tasks after refusals", n)
		}
		if _, err := s.DeleteRoom(as(t, alice), &usherv1.DeleteRoomRequest{Room: target.GetSlug()}); err != nil {
			t.Fatal(err)
		}
		_, err := s.DeleteRoom(as(t, alice), &usherv1.DeleteRoomRequest{Room: target.GetId()})
		wantFault(t, err, auth.ErrRoomNotFound)
		ctx := t.Context()
		if left := db.Read.Room.Query().CountX(ctx) + db.Read.Member.Query().CountX(ctx) + db.Read.CreationCallback.Query().CountX(ctx); left != 0 {
			t.Errorf("%d rows left", left)
		}
		task := db.Read.LiveTask.Query().OnlyX(ctx)
		if task.Kind != livetask.KindCloseRoom || task.RoomID.String() != target.GetId() || time.Until(task.KeepUntil) < s.TokenLife {
			t.Errorf("task %v", task)
		}
	})
}

func TestResolveCreationCallback(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		id := strings.Repeat("Ab-_9", 5)
		created := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{CallbackId: id})
		resolve := func(id string) *usherv1.CreatedRoom {
			res, err := s.ResolveCreationCallback(as(t, nil), &usherv1.ResolveCreationCallbackRequest{CallbackId: id})
			if err != nil {
				t.Fatal(err)
			}
			return res.GetRoom()
		}
		if got := resolve(id + "x"); got != nil {
			t.Errorf("unknown: %v", got)
		}
		want := &usherv1.CreatedRoom{Id: created.GetId(), Slug: created.GetSlug()}
		if diff := cmp.Diff(want, resolve(id), protocmp.Transform()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if got := resolve(id); got != nil {
			t.Errorf("a second time: %v", got)
		}

		must(t, db, func(tx *ent.Client) (*ent.CreationCallback, error) {
			return tx.CreationCallback.Create().SetCallbackHash(callbackHash(id)).SetRoomID(uuid.MustParse(created.GetId())).
				SetExpireTime(now().Add(-time.Second)).Save(t.Context())
		})
		if got := resolve(id); got != nil {
			t.Errorf("expired: %v", got)
		}
		mustRoom(t, s, alice, &usherv1.CreateRoomRequest{CallbackId: id}) // takes the place of the expired one
		if got := resolve(id); got == nil || got.GetId() == created.GetId() {
			t.Errorf("after the expired one: %v", got)
		}
	})
}

// TestResolveCreationCallback_concurrent: of several who ask at the same moment, one is told.
func TestResolveCreationCallback_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		for range 10 {
			id := strings.ReplaceAll(uuid.NewString(), "-", "_")
			mustRoom(t, s, alice, &usherv1.CreateRoomRequest{CallbackId: id})
			answers, errs := inParallel(8, func(int) (*usherv1.CreatedRoom, error) {
				res, err := s.ResolveCreationCallback(as(t, nil), &usherv1.ResolveCreationCallbackRequest{CallbackId: id})
				return res.GetRoom(), err
			})
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			told := slices.DeleteFunc(answers, func(r *usherv1.CreatedRoom) bool { return r == nil })
			if len(told) != 1 {
				t.Errorf("%d callers were told about one room", len(told))
			}
		}
	})
}

func TestCleanUp(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		target := uuid.MustParse(mustRoom(t, s, alice, &usherv1.CreateRoomRequest{RequestId: uuid.NewString(), CallbackId: strings.Repeat("n", 22)}).GetId())
		ctx := t.Context()
		must(t, db, func(tx *ent.Client) (any, error) {
			tx.IdempotencyKey.Create().SetCaller("user:1").SetRequestID(uuid.New()).SetBodyHash([]byte{1}).SetResponse([]byte{}).
				SetCreateTime(now().Add(-25 * time.Hour)).ExecX(ctx)
			tx.CreationCallback.Create().SetCallbackHash([]byte{1}).SetRoomID(target).SetExpireTime(now().Add(-time.Second)).ExecX(ctx)
			token := func(name string, expire time.Duration) *ent.APITokenCreate {
				return tx.APIToken.Create().SetName(name).SetUserID(alice.ID).SetScopes([]string{"read"}).SetExpireTime(now().Add(expire))
			}
			token("good", time.Hour).ExecX(ctx)
			token("expired lately", -time.Hour).ExecX(ctx)
			token("expired long ago", -31*24*time.Hour).ExecX(ctx)
			token("revoked long ago", time.Hour).SetRevokeTime(now().Add(-31 * 24 * time.Hour)).ExecX(ctx)
			return nil, nil
		})
		for range 2 {
			if err := s.CleanUp(ctx); err != nil {
				t.Fatal(err)
			}
			names := []string{}
			for _, token := range db.Read.APIToken.Query().Order(ent.Asc("name")).AllX(ctx) {
				names = append(names, token.Name)
			}
			if diff := cmp.Diff([]string{"expired lately", "good"}, names); diff != "" {
				t.Errorf("tokens: -want +got\n%s", diff)
			}
			if k, c := db.Read.IdempotencyKey.Query().CountX(ctx), db.Read.CreationCallback.Query().CountX(ctx); k != 1 || c != 1 {
				t.Errorf("%d keys and %d callbacks, want 1 and 1", k, c)
			}
		}
		if !db.Read.Room.Query().Where(room.ID(target)).ExistX(ctx) {
			t.Error("the room is gone")
		}
	})
}
