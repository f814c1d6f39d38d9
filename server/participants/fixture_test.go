package participants

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/auditevent"
	"github.com/usher-meet/usher/gen/ent/member"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	plainMember   = usherv1.Role_ROLE_MEMBER
	administrator = usherv1.Role_ROLE_ADMINISTRATOR
	owner         = usherv1.Role_ROLE_OWNER
	microphone    = usherv1.TrackSource_TRACK_SOURCE_MICROPHONE
	camera        = usherv1.TrackSource_TRACK_SOURCE_CAMERA
)

// fixture is a room with a meeting in it: Olga owns it, Adam administers it, Mona is a member, and a stranger is there too.
type fixture struct {
	*Service
	t                *testing.T
	room             *ent.Room
	olga, adam, mona *ent.User
	livekit          *fakeLiveKit
	rooms            *fakeRooms
	lobby            *fakeLobby
	identities       map[string]string
}

// onBoth runs a test on both databases.
func onBoth(t *testing.T, test func(t *testing.T, w *fixture)) {
	t.Helper()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) { test(t, newFixture(t, db)) })
}

func newFixture(t *testing.T, db *dbtx.DB) *fixture {
	t.Helper()
	w := &fixture{
		t: t, livekit: &fakeLiveKit{removed: map[string]bool{}, gone: map[string]bool{}}, rooms: &fakeRooms{}, lobby: &fakeLobby{},
		identities: map[string]string{},
	}
	w.Service = &Service{
		DB: db, Keys: auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil), LiveKit: w.livekit, Rooms: w.rooms, Tasks: w.rooms, Lobby: w.lobby,
		Limiter: &ratelimit.Limiter{}, Log: slog.New(slog.DiscardHandler), SessionLife: 12 * time.Hour,
	}
	w.run(func(tx *ent.Client) (err error) {
		w.room, err = tx.Room.Create().SetName("Room").SetNameKey("room").SetSlug("room").
			SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC).SetMeeting(3).Save(t.Context())
		return err
	})
	w.olga, w.adam, w.mona = w.user("Olga", owner), w.user("Adam", administrator), w.user("Mona", plainMember)
	w.joins("Stranger", uuid.Nil, 0)
	return w
}

func (w *fixture) run(fn func(tx *ent.Client) error) {
	w.t.Helper()
	if err := w.DB.Run(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// user makes a member who is in the meeting.
func (w *fixture) user(name string, role usherv1.Role) (u *ent.User) {
	w.t.Helper()
	w.run(func(tx *ent.Client) (err error) {
		u, err = tx.User.Create().SetSub("test-" + name).SetFullName(name).Save(w.t.Context())
		if err != nil {
			return err
		}
		return tx.Member.Create().SetRoomID(w.room.ID).SetUserID(u.ID).SetRole(role).Exec(w.t.Context())
	})
	w.joins(name, u.ID, role)
	return u
}

// joins puts somebody into the meeting, each a second after the one before.
func (w *fixture) joins(name string, user uuid.UUID, role usherv1.Role) {
	id := w.Keys.NewIdentity(w.room.ID, user)
	w.identities[name] = id
	n := len(w.livekit.people)
	w.livekit.people = append(w.livekit.people, meeting.Participant{
		Identity: id, SID: "PA_" + name, DisplayName: name, JoinTime: time.Unix(int64(1000+n), 0),
		Attributes: map[string]string{auth.AttributeRole: auth.RoleAttribute(role), "color": "hsl(1, 50%, 50%)"},
		Tracks:     []meeting.Track{{SID: "TR_" + name, Source: microphone}, {SID: "TV_" + name, Source: camera}},
	})
}

// as is a context in which u calls; nil is a stranger.
func (w *fixture) as(u *ent.User) context.Context {
	if u == nil {
		return auth.WithCaller(w.t.Context(), &auth.Caller{AddressPrefix: "192.0.2.0/24"})
	}
	return auth.WithCaller(w.t.Context(), &auth.Caller{Kind: auth.User, User: u, AllScopes: true})
}

// self is a context in which somebody in the meeting calls with their session token.
func (w *fixture) self(name string, user uuid.UUID) context.Context {
	return auth.WithCaller(w.t.Context(), &auth.Caller{Kind: auth.Participant, Participant: &auth.ParticipantSession{
		RoomID: w.room.ID, Identity: w.identities[name], UserID: user, DisplayName: name, Meeting: w.room.Meeting,
	}})
}

// recorded are the events of the room, as action, whom, and detail.
func (w *fixture) recorded() []string {
	w.t.Helper()
	rows := w.DB.Read.AuditEvent.Query().Where(auditevent.RoomID(w.room.ID)).Order(auditevent.ByID()).AllX(w.t.Context())
	out := make([]string, 0, len(rows))
	for _, e := range rows {
		line := e.Action + " " + e.Target + " " + e.Detail
		for name, id := range w.identities {
			line = strings.ReplaceAll(strings.ReplaceAll(line, id, name), w.Keys.Pseudonym(id), name)
		}
		for _, u := range []*ent.User{w.olga, w.adam, w.mona} {
			line = strings.ReplaceAll(line, u.ID.String(), u.FullName)
		}
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

func (w *fixture) wantRecorded(want ...string) {
	w.t.Helper()
	if got := w.recorded(); !slices.Equal(got, want) {
		w.t.Errorf("recorded %q, want %q", got, want)
	}
}

// wantNothing checks that what was refused left nothing behind.
func (w *fixture) wantNothing(what string) {
	w.t.Helper()
	if n := w.DB.Read.ParticipantState.Query().CountX(w.t.Context()); n != 0 || len(w.recorded()) != 0 || w.rooms.later != 0 {
		w.t.Errorf("%s: %d decisions, %d events and %d tasks, want none", what, n, len(w.recorded()), w.rooms.later)
	}
}

func want(t *testing.T, what string, err error, want *fault.Error) {
	t.Helper()
	if want == nil && err == nil {
		return
	}
	if got, ok := errors.AsType[*fault.Error](err); !ok || want == nil || got.Reason != want.Reason {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// fakeLiveKit is a meeting in memory.
type fakeLiveKit struct {
	mu      sync.Mutex
	people  []meeting.Participant
	down    error
	asked   int
	removed map[string]bool
	muted   []string
	unmuted []string
	// gone are those who leave before anything can be done to them.
	gone map[string]bool
}

func (f *fakeLiveKit) Participants(context.Context, uuid.UUID) ([]meeting.Participant, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return slices.Clone(f.people), f.down
}

func (f *fakeLiveKit) EditParticipant(_ context.Context, _ uuid.UUID, identity string, attributes map[string]string) error {
	if f.gone[identity] {
		return meeting.ErrNotFound
	}
	for _, p := range f.people {
		if p.Identity == identity {
			for k, v := range attributes {
				p.Attributes[k] = v
			}
		}
	}
	return f.down
}

func (f *fakeLiveKit) MuteTrack(_ context.Context, _ uuid.UUID, identity, sid string) error {
	switch {
	case f.gone[identity]:
		return meeting.ErrNotFound
	case f.down != nil:
		return f.down
	}
	f.muted = append(f.muted, sid)
	return nil
}

func (f *fakeLiveKit) UnmuteCaller(_ context.Context, _ uuid.UUID, p meeting.Participant, sid string) error {
	switch {
	case f.gone[p.Identity]:
		return meeting.ErrNotFound
	case f.down != nil:
		return f.down
	}
	f.unmuted = append(f.unmuted, sid)
	return nil
}

func (f *fakeLiveKit) RemoveParticipant(_ context.Context, _ uuid.UUID, identity string) error {
	f.removed[identity] = true
	return f.down
}

// fakeRooms keeps count; server/rooms tests what the real one does.
type fakeRooms struct {
	later, now int
	fails      error
}

func (f *fakeRooms) SetRole(ctx context.Context, tx *ent.Client, a *auth.Access, u *ent.User, role usherv1.Role) error {
	return tx.Member.Update().Where(member.RoomID(a.Room.ID), member.UserID(u.ID)).SetRole(role).Exec(ctx)
}

func (f *fakeRooms) SyncRoom(context.Context, *ent.Client, uuid.UUID) error {
	if f.fails != nil {
		return f.fails
	}
	f.later++
	return nil
}

func (*fakeRooms) Wake() {}

func (f *fakeRooms) Sync(context.Context, uuid.UUID) error { f.now++; return nil }

// fakeLobby remembers whose tickets are void.
type fakeLobby struct {
	void  []string
	users []uuid.UUID
	down  error
}

func (f *fakeLobby) ParticipantRemoved(_ context.Context, _ uuid.UUID, identity string, user uuid.UUID) error {
	f.void, f.users = append(f.void, identity), append(f.users, user)
	return f.down
}
