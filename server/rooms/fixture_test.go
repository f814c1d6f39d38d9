package rooms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
)

const (
	public     = usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC
	trusted    = usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED
	restricted = usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED

	plainMember   = usherv1.Role_ROLE_MEMBER
	administrator = usherv1.Role_ROLE_ADMINISTRATOR

	camera     = usherv1.TrackSource_TRACK_SOURCE_CAMERA
	microphone = usherv1.TrackSource_TRACK_SOURCE_MICROPHONE
)

// newService is a service on db without limits, with a LiveKit in memory.
func newService(t *testing.T, db *dbtx.DB) (*Service, *fakeLiveKit) {
	t.Helper()
	livekit := &fakeLiveKit{meetings: map[uuid.UUID]*fakeMeeting{}, tokens: map[string]fakeToken{}, updated: map[string]bool{}}
	return &Service{
		DB: db, Keys: auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil), Limiter: &ratelimit.Limiter{},
		LiveKit: livekit, Lobby: noLobby{}, Recordings: noRecordings{}, Telephony: noTelephony{}, Log: slog.New(slog.DiscardHandler),
		PublicURL: "https://meet.example.org", LiveKitURL: "wss://livekit.example.org",
		Defaults: Defaults{
			AccessLevel: trusted, Sources: []usherv1.TrackSource{camera, microphone}, UsersCreate: true,
		},
		TokenLife: 10 * time.Minute, SessionLife: 12 * time.Hour, Tasks: livetasks.NewQueue(10 * time.Minute),
		IdempotencyLife: 24 * time.Hour, KeepTokens: 30 * 24 * time.Hour, KeepAudit: 365 * 24 * time.Hour,
	}, livekit
}

// mustUser stores a user with a verified address.
func mustUser(t *testing.T, db *dbtx.DB, name string) *ent.User {
	t.Helper()
	return must(t, db, func(tx *ent.Client) (*ent.User, error) {
		return tx.User.Create().SetSub("test-" + name).SetFullName(name).SetShortName(name).
			SetEmail(mailbox.Address(strings.ToLower(name) + "@example.org")).SetEmailVerified(true).Save(t.Context())
	})
}

// must runs fn in a transaction.
func must[T any](t *testing.T, db *dbtx.DB, fn func(tx *ent.Client) (T, error)) (out T) {
	t.Helper()
	err := db.Run(t.Context(), func(tx *ent.Client) (err error) {
		out, err = fn(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// mustRoom makes a room that u owns.
func mustRoom(t *testing.T, s *Service, u *ent.User, req *usherv1.CreateRoomRequest) *usherv1.Room {
	t.Helper()
	res, err := s.CreateRoom(as(t, u), req)
	if err != nil {
		t.Fatal(err)
	}
	return res.GetRoom()
}

// mustMember gives u a role in a room.
func mustMember(t *testing.T, s *Service, room *usherv1.Room, u *ent.User, role usherv1.Role) {
	t.Helper()
	must(t, s.DB, func(tx *ent.Client) (*ent.Member, error) {
		return tx.Member.Create().SetRoomID(uuid.MustParse(room.GetId())).SetUserID(u.ID).SetRole(role).Save(t.Context())
	})
}

// mustPending gives an address a role in a room.
func mustPending(t *testing.T, s *Service, room *usherv1.Room, email mailbox.Address, role usherv1.Role) {
	t.Helper()
	must(t, s.DB, func(tx *ent.Client) (*ent.Member, error) {
		return tx.Member.Create().SetRoomID(uuid.MustParse(room.GetId())).SetEmail(email).SetRole(role).Save(t.Context())
	})
}

// membersOf describes the members of a room as "who role", sorted: an account by its name, others by their address.
func membersOf(t *testing.T, s *Service, room *usherv1.Room) []string {
	t.Helper()
	rows, err := s.DB.Read.Member.Query().Where(member.RoomID(uuid.MustParse(room.GetId()))).WithUser().All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, 0, len(rows))
	for _, m := range rows {
		who := ""
		if m.Edges.User != nil {
			who = m.Edges.User.FullName
		}
		if m.Email != nil {
			who += string(*m.Email)
		}
		out = append(out, who+" "+auth.RoleAttribute(m.Role))
	}
	slices.Sort(out)
	return out
}

// as is a context in which u calls; nil is a stranger.
func as(t *testing.T, u *ent.User) context.Context {
	t.Helper()
	if u == nil {
		return auth.WithCaller(t.Context(), &auth.Caller{AddressPrefix: "192.0.2.0/24"})
	}
	return auth.WithCaller(t.Context(), &auth.Caller{Kind: auth.User, User: u, AllScopes: true})
}

// asService is a context in which a program of the operator calls.
func asService(t *testing.T) context.Context {
	t.Helper()
	return auth.WithCaller(t.Context(), &auth.Caller{Kind: auth.Service, Name: "calendar", Scopes: []string{auth.ScopeRooms}})
}

// wantFault checks that err is the fault want, and returns its metadata.
func wantFault(t *testing.T, err error, want *fault.Error) map[string]string {
	t.Helper()
	got, ok := errors.AsType[*fault.Error](err)
	if !ok || !errors.Is(err, want) || got.Code != want.Code {
		t.Errorf("got %v, want %s", err, want.Name())
		return nil
	}
	return got.Meta
}

// counted returns a copy of the database whose statements outside transactions are counted.
func counted(db *dbtx.DB) (*Service, func() int) {
	var mu sync.Mutex
	n := 0
	driver := dialect.DebugWithContext(entsql.OpenDB(db.Dialect, db.SQL()), func(context.Context, ...any) {
		mu.Lock()
		defer mu.Unlock()
		n++
	})
	c := *db
	c.Read = ent.NewClient(ent.Driver(driver))
	return &Service{DB: &c}, func() int {
		mu.Lock()
		defer mu.Unlock()
		was := n
		n = 0
		return was
	}
}

// noLobby is a lobby in which nobody waits; server/lobby tests what happens to those who do.
type noLobby struct{}

func (noLobby) AdmitEligible(context.Context, *ent.Room) error { return nil }
func (noLobby) Clear(context.Context, uuid.UUID) error         { return nil }

func (noLobby) RoomFinished(context.Context, uuid.UUID) error { return nil }

// noTelephony is that of an instance without trunks; server/telephony tests what it does with them.
type noTelephony struct{}

func (noTelephony) DialIns(context.Context, ...*ent.Room) (map[uuid.UUID]*usherv1.DialIn, error) {
	return nil, nil
}
func (noTelephony) Settle(context.Context, uuid.UUID) error { return nil }

// fakeLiveKit keeps meetings in memory like LiveKit: a token makes the meeting when it is used, with the metadata that it
// carries, and brings the participant in as it says.
type fakeLiveKit struct {
	mu       sync.Mutex
	meetings map[uuid.UUID]*fakeMeeting
	tokens   map[string]fakeToken
	// before runs ahead of every call to the API, outside the lock; its error is the answer.
	before func(ctx context.Context, call string) error
	calls  []string
	// updated are the display names of participants whose permissions were set.
	updated map[string]bool
}

type fakeMeeting struct {
	sid      string
	start    time.Time
	metadata string
	people   map[string]meeting.Participant
}

type fakeToken struct {
	grant    meeting.Grant
	metadata string
}

var _ liveKit = (*fakeLiveKit)(nil)

func (f *fakeLiveKit) Token(g meeting.Grant, metadata string) (string, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := fmt.Sprintf("test-token-%d", len(f.tokens))
	f.tokens[text] = fakeToken{g, metadata}
	return text, time.Now().Add(10 * time.Minute), nil
}

// connect uses a token, as a participant's client does.
func (f *fakeLiveKit) connect(t *testing.T, token string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	k, ok := f.tokens[token]
	if !ok {
		t.Fatalf("no such token: %q", token)
	}
	m := f.meetings[k.grant.Room]
	if m == nil {
		m = &fakeMeeting{sid: uuid.NewString(), start: time.Now(), metadata: k.metadata, people: map[string]meeting.Participant{}}
		f.meetings[k.grant.Room] = m
	}
	m.people[k.grant.Identity] = meeting.Participant{
		Identity: k.grant.Identity, DisplayName: k.grant.DisplayName, Attributes: maps.Clone(k.grant.Attributes), Sources: k.grant.Sources,
		NoSubscribe: k.grant.NoSubscribe,
	}
}

// api runs one call on the state.
func (f *fakeLiveKit) api(ctx context.Context, call string, fn func() error) error {
	f.mu.Lock()
	f.calls = append(f.calls, call)
	before := f.before
	f.mu.Unlock()
	if before != nil {
		if err := before(ctx, call); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return fn()
}

// intercept sets what happens before each call; nil mends it.
func (f *fakeLiveKit) intercept(before func(ctx context.Context, call string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

// down is a LiveKit that does not answer.
func down(context.Context, string) error { return meeting.ErrUnavailable }

// took returns the calls since it was last asked.
func (f *fakeLiveKit) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls, f.updated = nil, map[string]bool{}
	return calls
}

// touched are the participants whose permissions were set since it was last asked what happened.
func (f *fakeLiveKit) touched() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.updated))
}

// people are the participants of a meeting by display name; nil when there is none.
func (f *fakeLiveKit) people(room string) map[string]meeting.Participant {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.meetings[uuid.MustParse(room)]
	if m == nil {
		return nil
	}
	out := map[string]meeting.Participant{}
	for _, p := range m.people {
		out[p.DisplayName] = p
	}
	return out
}

func (f *fakeLiveKit) metadata(room string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.meetings[uuid.MustParse(room)]; m != nil {
		return m.metadata
	}
	return ""
}

func (f *fakeLiveKit) Live(_ context.Context, room uuid.UUID) *usherv1.RoomLive {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.meetings[room]
	if m == nil {
		return &usherv1.RoomLive{}
	}
	return &usherv1.RoomLive{Active: true, ParticipantCount: int32(len(m.people))}
}

func (f *fakeLiveKit) Meeting(ctx context.Context, room uuid.UUID) (out *meeting.Meeting, err error) {
	err = f.api(ctx, "Meeting", func() error {
		m := f.meetings[room]
		if m == nil {
			return meeting.ErrNotFound
		}
		out = &meeting.Meeting{Room: room, SID: m.sid, StartTime: m.start, ParticipantCount: len(m.people), Metadata: m.metadata}
		return nil
	})
	return out, err
}

func (f *fakeLiveKit) Participants(ctx context.Context, room uuid.UUID) (out []meeting.Participant, err error) {
	err = f.api(ctx, "Participants", func() error {
		m := f.meetings[room]
		if m == nil {
			return meeting.ErrNotFound
		}
		for _, p := range m.people {
			p.Attributes = maps.Clone(p.Attributes)
			out = append(out, p)
		}
		return nil
	})
	return out, err
}

func (f *fakeLiveKit) LiveRooms(ctx context.Context) (out []uuid.UUID, err error) {
	err = f.api(ctx, "LiveRooms", func() error {
		out = slices.Collect(maps.Keys(f.meetings))
		return nil
	})
	return out, err
}

func (f *fakeLiveKit) LiveMeetings(ctx context.Context) (out []meeting.Meeting, err error) {
	err = f.api(ctx, "LiveMeetings", func() error {
		for id, m := range f.meetings {
			out = append(out, meeting.Meeting{Room: id, SID: m.sid, StartTime: m.start, ParticipantCount: len(m.people), Metadata: m.metadata})
		}
		return nil
	})
	return out, err
}

func (f *fakeLiveKit) CloseRoom(ctx context.Context, room uuid.UUID) error {
	return f.api(ctx, "CloseRoom", func() error {
		delete(f.meetings, room)
		return nil
	})
}

func (f *fakeLiveKit) RemoveParticipant(ctx context.Context, room uuid.UUID, identity string) error {
	return f.api(ctx, "RemoveParticipant", func() error {
		if m := f.meetings[room]; m != nil {
			delete(m.people, identity)
		}
		return nil
	})
}

func (f *fakeLiveKit) UpdateParticipant(ctx context.Context, g meeting.Grant) error {
	return f.api(ctx, "UpdateParticipant", func() error {
		m := f.meetings[g.Room]
		if m == nil {
			return meeting.ErrNotFound
		}
		p, ok := m.people[g.Identity]
		if !ok {
			return meeting.ErrNotFound
		}
		if len(g.DisplayName) > 256 {
			return meeting.ErrUnavailable // LiveKit's limit.max_participant_name_length, which it does not apply to tokens
		}
		f.updated[p.DisplayName] = true
		p.Sources, p.NoSubscribe, p.DisplayName = g.Sources, g.NoSubscribe, cmp.Or(g.DisplayName, p.DisplayName)
		p.Attributes = maps.Clone(p.Attributes)
		maps.Copy(p.Attributes, g.Attributes)
		m.people[g.Identity] = p
		return nil
	})
}

func (f *fakeLiveKit) SetRoomMetadata(ctx context.Context, room uuid.UUID, metadata string) error {
	return f.api(ctx, "SetRoomMetadata", func() error {
		m := f.meetings[room]
		if m == nil {
			return meeting.ErrNotFound
		}
		m.metadata = metadata
		return nil
	})
}

// noRecordings records nothing.
type noRecordings struct{}

func (noRecordings) MeetingEnded(context.Context, *ent.Client, uuid.UUID) error { return nil }

func (noRecordings) RoomDeleted(context.Context, *ent.Client, uuid.UUID) error { return nil }

func (noRecordings) Label(context.Context, uuid.UUID, time.Time) (mode, status string, err error) {
	return "", "", nil
}
