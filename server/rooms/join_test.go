package rooms

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/room"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
	"github.com/usher-meet/usher/server/ratelimit"
)

// mustJoin joins and returns the connection and what its token says.
func mustJoin(ctx context.Context, t *testing.T, s *Service, room *usherv1.Room) (*usherv1.Connection, fakeToken) {
	t.Helper()
	res, err := s.JoinRoom(ctx, &usherv1.JoinRoomRequest{Room: room.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetConnection(), tokenOf(s, res.GetConnection())
}

func tokenOf(s *Service, c *usherv1.Connection) fakeToken {
	f := s.LiveKit.(*fakeLiveKit)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tokens[c.GetToken()]
}

// asParticipant is a context in which the holder of a session_token calls.
func asParticipant(t *testing.T, s *Service, c *usherv1.Connection) context.Context {
	t.Helper()
	session, err := s.Keys.VerifySession(c.GetSessionToken())
	if err != nil {
		t.Fatal(err)
	}
	return auth.WithCaller(t.Context(), &auth.Caller{Kind: auth.Participant, Participant: session})
}

func TestJoinRoom(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		alice := mustUser(t, db, "Alice")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{
			AccessLevel: public, Configuration: &usherv1.RoomConfiguration{EveryoneCanMute: proto.Bool(false)},
		})
		for name, caller := range map[string]*ent.User{"Alice": alice, "Guest": nil} {
			before := time.Now()
			c, token := mustJoin(as(t, caller), t, s, room)
			session, err := s.Keys.VerifySession(c.GetSessionToken())
			if err != nil {
				t.Fatal(err)
			}
			userID, ours := s.Keys.IdentityUser(uuid.MustParse(room.GetId()), c.GetParticipantIdentity())
			want := &auth.ParticipantSession{RoomID: uuid.MustParse(room.GetId()), Identity: c.GetParticipantIdentity(), DisplayName: name}
			if caller != nil {
				want.UserID = caller.ID
			}
			if !ours || userID != want.UserID || !strings.HasPrefix(c.GetParticipantIdentity(), "p_") {
				t.Errorf("identity %q is that of %s", c.GetParticipantIdentity(), userID)
			}
			life := session.ExpireTime.Sub(before)
			if life < s.SessionLife-2*time.Second || life > s.SessionLife || !session.ExpireTime.Equal(c.GetSessionExpireTime().AsTime()) {
				t.Errorf("session for %v until %v, connection says %v", life, session.ExpireTime, c.GetSessionExpireTime().AsTime())
			}
			session.JoinTime, session.ExpireTime = time.Time{}, time.Time{}
			if diff := cmp.Diff(want, session); diff != "" {
				t.Errorf("session: -want +got\n%s", diff)
			}
			if c.GetServerUrl() != s.LiveKitURL || c.GetLivekitRoom() != room.GetId() || c.GetTokenExpireTime() == nil {
				t.Errorf("connection %v", c)
			}
			if token.grant.Room.String() != room.GetId() || token.grant.Identity != c.GetParticipantIdentity() {
				t.Errorf("token %+v", token.grant)
			}
			if want := `{"access_level":"ACCESS_LEVEL_PUBLIC","configuration":{"everyoneCanMute":false}}`; token.metadata != want {
				t.Errorf("metadata %s, want %s", token.metadata, want)
			}
		}
		if calls := livekit.took(); len(calls) != 0 {
			t.Errorf("joining called LiveKit: %v", calls)
		}
		first, _ := mustJoin(as(t, alice), t, s, room)
		second, _ := mustJoin(as(t, alice), t, s, room)
		if first.GetParticipantIdentity() == second.GetParticipantIdentity() {
			t.Error("two devices are one participant")
		}
	})
}

func TestJoinRoom_refuses(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		unverified := *bob
		unverified.EmailVerified = false
		rooms := map[usherv1.AccessLevel]*usherv1.Room{}
		for _, level := range []usherv1.AccessLevel{trusted, restricted} {
			rooms[level] = mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: level})
		}
		mustPending(t, s, rooms[restricted], "bob@example.org", plainMember)
		tests := []struct {
			name   string
			caller context.Context
			room   string
			want   *fault.Error
		}{
			{"a stranger in a trusted room", as(t, nil), rooms[trusted].GetId(), auth.ErrLobbyRequired},
			{"a service in a trusted room", asService(t), rooms[trusted].GetId(), auth.ErrLobbyRequired},
			{"a stranger in a restricted room", as(t, nil), rooms[restricted].GetId(), auth.ErrLobbyRequired},
			{"a user in a restricted room", as(t, &unverified), rooms[restricted].GetId(), auth.ErrLobbyRequired},
			{"no such room", as(t, alice), uuid.NewString(), auth.ErrRoomNotFound},
		}
		for _, tt := range tests {
			t.Log(tt.name)
			_, err := s.JoinRoom(tt.caller, &usherv1.JoinRoomRequest{Room: tt.room})
			wantFault(t, err, tt.want)
		}
		if got := membersOf(t, s, rooms[restricted]); !slices.Contains(got, "bob@example.org member") {
			t.Errorf("members %v", got)
		}
	})
}

func TestJoinRoom_grants(t *testing.T) {
	t.Parallel()
	defaults := []usherv1.TrackSource{camera, microphone}
	tests := []struct {
		name          string
		role          usherv1.Role // -1: a stranger
		configuration *usherv1.RoomConfiguration
		sources       []usherv1.TrackSource
		attribute     string
	}{
		{"owner", owner, nil, allSources, "owner"},
		{"administrator of a restricted room", administrator, &usherv1.RoomConfiguration{RestrictSources: true}, allSources, "administrator"},
		{"member", plainMember, nil, defaults, "member"},
		{"member with sources that do not count", plainMember, &usherv1.RoomConfiguration{CanPublishSources: allSources}, defaults, "member"},
		{"member with one source", plainMember, &usherv1.RoomConfiguration{RestrictSources: true, CanPublishSources: []usherv1.TrackSource{microphone}}, []usherv1.TrackSource{microphone}, "member"},
		{"member with none", plainMember, &usherv1.RoomConfiguration{RestrictSources: true}, nil, "member"},
		{"user", 0, nil, defaults, ""},
		{"stranger", -1, nil, defaults, ""},
	}
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		for i, tt := range tests {
			room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public, Configuration: tt.configuration})
			var u *ent.User
			if tt.role >= 0 {
				u = mustUser(t, db, fmt.Sprintf("User%d", i))
			}
			if tt.role > 0 {
				mustMember(t, s, room, u, tt.role)
			}
			c, token := mustJoin(as(t, u), t, s, room)
			if diff := cmp.Diff(tt.sources, token.grant.Sources); diff != "" {
				t.Errorf("%s: sources: -want +got\n%s", tt.name, diff)
			}
			session, err := s.Keys.VerifySession(c.GetSessionToken())
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{
				"room_role": tt.attribute, "is_authenticated": fmt.Sprint(u != nil), "color": meeting.Color(c.GetParticipantIdentity()),
				"meeting": fmt.Sprintf("0/%d", session.JoinTime.Unix()),
			}
			if diff := cmp.Diff(want, token.grant.Attributes); diff != "" {
				t.Errorf("%s: attributes: -want +got\n%s", tt.name, diff)
			}
		}
	})
}

func TestJoinRoom_displayName(t *testing.T) {
	t.Parallel()
	nameless := func(u *ent.User) { u.FullName, u.ShortName = "", "" }
	tests := []struct {
		name    string
		account bool // signed in
		change  func(*ent.User)
		fixed   bool
		asked   string
		want    string
	}{
		{"what a user asks for", true, nil, false, "  Ali\u202ece \x00B ", "Alice B"},
		{"what a stranger asks for", false, nil, false, "Zoé", "Zoé"},
		{"nothing", true, nil, false, " \u200f ", "Alice"},
		{"nothing of a stranger", false, nil, false, "", "Guest"},
		{"nothing of a user without name", true, nameless, false, "", "Guest"},
		{"never the address", true, func(u *ent.User) { u.FullName, u.ShortName = "ALICE@example.org", "" }, false, "", "Guest"},
		{"fixed to the account's", true, nil, true, "The Boss", "Alice"},
		{"fixed without a name", true, nameless, true, "The Boss", "Guest"},
		{"not fixed for strangers", false, nil, true, "Zoé", "Zoé"},
		{"cut", false, nil, false, strings.Repeat("é", 101), strings.Repeat("é", 100)},
	}
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		fixed, _ := newService(t, db)
		fixed.Defaults.AccountNames = true
		alice := mustUser(t, db, "Alice")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
		for _, tt := range tests {
			var u *ent.User
			if tt.account {
				c := *alice
				if u = &c; tt.change != nil {
					tt.change(u)
				}
			}
			service := s
			if tt.fixed {
				service = fixed
			}
			res, err := service.JoinRoom(as(t, u), &usherv1.JoinRoomRequest{Room: room.GetId(), DisplayName: tt.asked})
			if err != nil {
				t.Fatal(err)
			}
			if got := tokenOf(service, res.GetConnection()).grant.DisplayName; got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		}
	})
}

func TestColor(t *testing.T) {
	t.Parallel()
	shape := regexp.MustCompile(`^hsl\((\d+), (\d+)%, (\d+)%\)$`)
	seen := map[string]bool{}
	for i := range 1000 {
		got := meeting.Color(fmt.Sprint("p_", i))
		seen[got] = true
		m := shape.FindStringSubmatch(got)
		if m == nil {
			t.Fatalf("color %q", got)
		}
		var h, sat, l int
		if _, err := fmt.Sscan(strings.Join(m[1:], " "), &h, &sat, &l); err != nil || h > 360 || sat < 50 || sat > 75 || l < 25 || l > 60 {
			t.Errorf("color %q", got)
		}
	}
	if len(seen) < 900 {
		t.Errorf("%d colours of 1000 identities", len(seen))
	}
	if first, again := meeting.Color("p_1"), meeting.Color("p_1"); first != again {
		t.Errorf("one identity is %s and %s", first, again)
	}
}

func TestRoomMetadata_isStable(t *testing.T) {
	t.Parallel()
	r := &ent.Room{AccessLevel: trusted, Configuration: &usherv1.RoomConfiguration{
		RestrictSources: true, CanPublishSources: []usherv1.TrackSource{camera, microphone}, PhonePolicy: usherv1.PhonePolicy_PHONE_POLICY_LOBBY,
	}}
	want, err := roomMetadata(r, recordingLabel{})
	if err != nil || !json.Valid([]byte(want)) || strings.Contains(want, " ") {
		t.Errorf("metadata %q, %v", want, err)
	}
	for range 50 {
		if got, _ := roomMetadata(r, recordingLabel{}); got != want {
			t.Fatalf("%s, then %s", want, got)
		}
	}
}

// TestPendingMemberIsClaimed: whoever was named by address owns the membership once they joined, and only then.
func TestPendingMemberIsClaimed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		own     usherv1.Role
		pending usherv1.Role
		want    string
	}{
		{"no membership before", 0, administrator, "Bob administrator"},
		{"a lower one", plainMember, administrator, "Bob administrator"},
		{"a higher one", administrator, plainMember, "Bob administrator"},
		{"owner", 0, owner, "Bob owner"},
	}
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		unverified := *bob
		unverified.EmailVerified = false
		for _, tt := range tests {
			room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
			mustPending(t, s, room, "bob@example.org", tt.pending)
			if tt.own != 0 {
				mustMember(t, s, room, bob, tt.own)
			}
			before := membersOf(t, s, room)
			mustJoin(as(t, &unverified), t, s, room)
			mustJoin(as(t, alice), t, s, room)
			mustJoin(as(t, nil), t, s, room)
			if _, err := s.GetRoom(as(t, bob), &usherv1.GetRoomRequest{Room: room.GetId()}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, membersOf(t, s, room)); diff != "" {
				t.Errorf("%s: claimed before joining: -want +got\n%s", tt.name, diff)
			}
			_, token := mustJoin(as(t, bob), t, s, room)
			if got := "Bob " + token.grant.Attributes["room_role"]; got != tt.want {
				t.Errorf("%s: joined as %s, want %s", tt.name, got, tt.want)
			}
			if diff := cmp.Diff([]string{"Alice owner", tt.want}, membersOf(t, s, room)); diff != "" {
				t.Errorf("%s: -want +got\n%s", tt.name, diff)
			}
		}
	})
}

// TestPendingMember_claimedOnce: joining on two devices at the same moment claims once.
func TestPendingMember_claimedOnce(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		for round := range 6 {
			room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: restricted})
			mustPending(t, s, room, "bob@example.org", administrator)
			if round%2 == 0 {
				mustMember(t, s, room, bob, plainMember)
			}
			_, errs := inParallel(6, func(int) (any, error) {
				return s.JoinRoom(as(t, bob), &usherv1.JoinRoomRequest{Room: room.GetId()})
			})
			for _, err := range errs {
				if err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff([]string{"Alice owner", "Bob administrator"}, membersOf(t, s, room)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		}
	})
}

// TestPendingMember_removedMeanwhile: who is removed while they wait to claim their membership does not get in with it.
func TestPendingMember_removedMeanwhile(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: restricted})
		mustPending(t, s, room, "bob@example.org", administrator)
		err := meanwhile(t, s, func(tx *ent.Client) error {
			_, err := auth.LockRoom(t.Context(), tx, room.GetId())
			return err
		}, func() error {
			_, err := s.JoinRoom(as(t, bob), &usherv1.JoinRoomRequest{Room: room.GetId()})
			return err
		}, func(tx *ent.Client) error {
			_, err := tx.Member.Delete().Where(member.Email("bob@example.org")).Exec(t.Context())
			return err
		})
		wantFault(t, err, auth.ErrLobbyRequired)
		if diff := cmp.Diff([]string{"Alice owner"}, membersOf(t, s, room)); diff != "" || len(livekit.tokens) != 0 {
			t.Errorf("%d tokens; members: -want +got\n%s", len(livekit.tokens), diff)
		}
	})
}

// meanwhile makes a call that waits for what a transaction holds, and then the change of that transaction, which commits
// before the call goes on. It returns the call's error.
func meanwhile(t *testing.T, s *Service, hold func(tx *ent.Client) error, call func() error, change func(tx *ent.Client) error) error {
	t.Helper()
	done := make(chan error, 1)
	must(t, s.DB, func(tx *ent.Client) (any, error) {
		if err := hold(tx); err != nil {
			return nil, err
		}
		before := s.DB.SQL().Stats().WaitCount
		go func() { done <- call() }()
		eventually(t, "the call waits", func() bool {
			if s.DB.Dialect == dialect.SQLite {
				return s.DB.SQL().Stats().WaitCount > before
			}
			var waiting bool
			err := s.DB.SQL().QueryRowContext(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity"+
				" WHERE datname = current_database() AND wait_event_type = 'Lock')").Scan(&waiting)
			return err == nil && waiting
		})
		return nil, change(tx)
	})
	return <-done
}

// TestJoinRoom_writesNothing: an ordinary join goes on while somebody else holds the only connection that writes.
func TestJoinRoom_writesNothing(t *testing.T) {
	t.Parallel()
	db := testenv.SQLite(t)
	s, _ := newService(t, db)
	alice := mustUser(t, db, "Alice")
	room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
	conn, err := db.SQL().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, u := range []*ent.User{alice, nil} {
		ctx, cancel := context.WithTimeout(as(t, u), 5*time.Second)
		defer cancel()
		if _, err := s.JoinRoom(ctx, &usherv1.JoinRoomRequest{Room: room.GetId()}); err != nil {
			t.Error(err)
		}
	}
}

func TestJoinRoom_rateLimit(t *testing.T) {
	t.Parallel()
	db := testenv.SQLite(t)
	s, _ := newService(t, db)
	redis := testenv.Redis(t)
	s.Limiter.Redis = redis.Client(t)
	s.JoinLimit = ratelimit.Limit{Name: "join", Burst: 2, Period: time.Minute}
	alice := mustUser(t, db, "Alice")
	room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
	mustJoin(as(t, alice), t, s, room)
	c, _ := mustJoin(as(t, alice), t, s, room)
	_, err := s.JoinRoom(as(t, alice), &usherv1.JoinRoomRequest{Room: room.GetId()})
	wantFault(t, err, ratelimit.ErrLimited)
	mustJoin(as(t, nil), t, s, room)
	for range 2 {
		if _, err := s.RenewConnection(asParticipant(t, s, c), &usherv1.RenewConnectionRequest{}); err != nil {
			t.Error(err)
		}
	}
	_, err = s.RenewConnection(asParticipant(t, s, c), &usherv1.RenewConnectionRequest{})
	wantFault(t, err, ratelimit.ErrLimited)
	redis.Kill()
	mustJoin(as(t, alice), t, s, room)
}

func TestRenewConnection(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: trusted})
		first, _ := mustJoin(as(t, bob), t, s, room)
		mustMember(t, s, room, bob, administrator)
		res, err := s.RenewConnection(asParticipant(t, s, first), &usherv1.RenewConnectionRequest{})
		if err != nil {
			t.Fatal(err)
		}
		second := res.GetConnection()
		ignore := protocmp.IgnoreFields(&usherv1.Connection{}, "token", "token_expire_time")
		if diff := cmp.Diff(first, second, protocmp.Transform(), ignore); diff != "" {
			t.Errorf("-first +second\n%s", diff)
		}
		grant := tokenOf(s, second).grant
		if first.GetToken() == second.GetToken() || grant.Attributes["room_role"] != "administrator" || len(grant.Sources) != 4 || grant.DisplayName != "Bob" {
			t.Errorf("grant %+v, want that of an administrator", grant)
		}
		if calls := livekit.took(); len(calls) != 0 {
			t.Errorf("a direct participant cost calls: %v", calls)
		}
	})
}

// TestRenewConnection_accountNames: where names are fixed to those of accounts, a renewed token says today's.
func TestRenewConnection_accountNames(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
		for _, tt := range []struct {
			caller     *ent.User
			fixed      bool
			asked, now string
		}{
			{alice, true, "The Boss", "Alice Married"},
			{alice, false, "The Boss", "The Boss"},
			{nil, true, "Zoé", "Zoé"},
			{nil, true, "", "Guest"},
		} {
			res, err := s.JoinRoom(as(t, tt.caller), &usherv1.JoinRoomRequest{Room: room.GetId(), DisplayName: tt.asked})
			if err != nil {
				t.Fatal(err)
			}
			must(t, db, func(tx *ent.Client) (*ent.User, error) {
				return tx.User.UpdateOne(alice).SetFullName("Alice Married").Save(t.Context())
			})
			s.Defaults.AccountNames = tt.fixed
			renewed, err := s.RenewConnection(asParticipant(t, s, res.GetConnection()), &usherv1.RenewConnectionRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if got := tokenOf(s, renewed.GetConnection()).grant.DisplayName; got != tt.now {
				t.Errorf("joined as %q, renewed as %q, want %q", tt.asked, got, tt.now)
			}
			if renewed.GetConnection().GetSessionToken() != res.GetConnection().GetSessionToken() {
				t.Error("the session token changed")
			}
			s.Defaults.AccountNames = false
		}
	})
}

func TestRenewConnection_refuses(t *testing.T) {
	t.Parallel()
	type scene struct {
		t       *testing.T
		s       *Service
		livekit *fakeLiveKit
		alice   *ent.User
		bob     *ent.User
		room    *usherv1.Room
		first   *usherv1.Connection
	}
	lock := func(c scene) {
		_, err := c.s.UpdateRoom(as(c.t, c.alice), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: c.room.GetId(), AccessLevel: restricted}})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	startMeeting := func(c scene, start time.Duration) {
		c.livekit.connect(c.t, c.first.GetToken())
		c.livekit.meetings[uuid.MustParse(c.room.GetId())].start = time.Now().Add(start)
	}
	setUser := func(c scene, fn func(*ent.UserUpdateOne) *ent.UserUpdateOne) {
		must(c.t, c.s.DB, func(tx *ent.Client) (*ent.User, error) { return fn(tx.User.UpdateOne(c.bob)).Save(c.t.Context()) })
	}
	tests := []struct {
		name   string
		change func(scene)
		want   *fault.Error // nil: it is granted
	}{
		{"locked, the meeting goes on", func(c scene) { lock(c); startMeeting(c, -time.Minute) }, nil},
		{"locked, the meeting began while the first token was good", func(c scene) { lock(c); startMeeting(c, 9*time.Minute) }, nil},
		{"locked, the meeting began later", func(c scene) { lock(c); startMeeting(c, 11*time.Minute) }, auth.ErrLobbyRequired},
		{"locked, there is no meeting", lock, auth.ErrLobbyRequired},
		{"locked, the room counted another meeting", func(c scene) {
			lock(c)
			startMeeting(c, -time.Minute)
			must(c.t, c.s.DB, func(tx *ent.Client) (int, error) { return tx.Room.Update().AddMeeting(1).Save(c.t.Context()) })
		}, auth.ErrLobbyRequired},
		{"locked, LiveKit is down", func(c scene) { lock(c); startMeeting(c, -time.Minute); c.livekit.intercept(down) }, fault.ErrLiveKit},
		{"not locked, LiveKit is down", func(c scene) { c.livekit.intercept(down) }, nil},
		{"not locked, another meeting", func(c scene) {
			must(c.t, c.s.DB, func(tx *ent.Client) (int, error) { return tx.Room.Update().AddMeeting(1).Save(c.t.Context()) })
		}, nil},
		{"locked, but a member now", func(c scene) { lock(c); mustMember(c.t, c.s, c.room, c.bob, plainMember) }, nil},
		{"the room is gone", func(c scene) {
			if _, err := c.s.DeleteRoom(as(c.t, c.alice), &usherv1.DeleteRoomRequest{Room: c.room.GetId()}); err != nil {
				c.t.Fatal(err)
			}
		}, auth.ErrRoomNotFound},
		{"the account was deactivated", func(c scene) {
			setUser(c, func(u *ent.UserUpdateOne) *ent.UserUpdateOne { return u.SetActive(false) })
		}, auth.ErrAccountInactive},
		{"the account was deleted", func(c scene) {
			must(c.t, c.s.DB, func(tx *ent.Client) (any, error) { return nil, tx.User.DeleteOne(c.bob).Exec(c.t.Context()) })
		}, auth.ErrUnauthenticated},
	}
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		for i, tt := range tests {
			s, livekit := newService(t, db)
			c := scene{t: t, s: s, livekit: livekit, alice: mustUser(t, db, fmt.Sprint("Alice", i)), bob: mustUser(t, db, fmt.Sprint("Bob", i))}
			c.room = mustRoom(t, s, c.alice, &usherv1.CreateRoomRequest{AccessLevel: trusted})
			c.first, _ = mustJoin(as(t, c.bob), t, s, c.room)
			caller := asParticipant(t, s, c.first)
			tt.change(c)
			_, err := s.RenewConnection(caller, &usherv1.RenewConnectionRequest{})
			t.Log(tt.name)
			if tt.want != nil {
				wantFault(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		}
		s, _ := newService(t, db)
		_, err := s.RenewConnection(as(t, nil), &usherv1.RenewConnectionRequest{})
		wantFault(t, err, auth.ErrUnauthenticated)
	})
}

// TestRenewConnection_isNotTheUser: a session token finds the role of its user in its own room, and is nobody elsewhere.
func TestRenewConnection_isNotTheUser(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		target := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: restricted})
		first, _ := mustJoin(as(t, alice), t, s, target)
		participant := asParticipant(t, s, first)
		_, err := s.UpdateRoom(participant, &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: target.GetId(), Name: "New"}})
		wantFault(t, err, auth.ErrInsufficientRole)
		_, err = s.DeleteRoom(participant, &usherv1.DeleteRoomRequest{Room: target.GetId()})
		wantFault(t, err, auth.ErrInsufficientRole)
		_, err = s.ListRooms(participant, &usherv1.ListRoomsRequest{})
		wantFault(t, err, auth.ErrSignInRequired)
		if !db.Read.Room.Query().Where(room.ID(uuid.MustParse(target.GetId()))).ExistX(t.Context()) {
			t.Error("the room is gone")
		}
	})
}

// Where hosts have decided about nobody, joining is one statement; else it is two, however many they decided about.
func TestAuthorizeJoin_statements(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
		c, statements := counted(db)
		enter := func() int {
			t.Helper()
			if _, _, err := c.authorizeJoin(as(t, alice), room.GetId()); err != nil {
				t.Fatal(err)
			}
			return statements()
		}
		if n := enter(); n != 1 {
			t.Errorf("an ordinary room: %d statements, want 1", n)
		}
		for i := range 5 {
			must(t, db, func(tx *ent.Client) (any, error) {
				who := moderation.Who{Identity: fmt.Sprintf("p_test-%d", i)}
				return nil, moderation.Edit(t.Context(), tx, tx.Room.GetX(t.Context(), uuid.MustParse(room.GetId())), who,
					func(row moderation.Row) { row.SetName("Renamed", true) })
			})
		}
		if n := enter(); n != 2 {
			t.Errorf("a room with decisions: %d statements, want 2", n)
		}
	})
}
