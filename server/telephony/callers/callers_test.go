package callers

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/lease"
	"github.com/usher-meet/usher/server/lobby"
	"github.com/usher-meet/usher/server/meeting"
)

// fixture is a room that can be called, with a LiveKit and a Redis of its own. Nothing is swept: what holds a caller is what
// the test calls.
type fixture struct {
	t       *testing.T
	db      *dbtx.DB
	redis   *testenv.RedisServer
	client  *livekit.Client
	lobby   *lobby.Service
	callers *Service
	bridge  *phone.Bridge
	room    uuid.UUID
}

const (
	dialled = "+4930100"
	pin     = "1234567890"
)

func newFixture(t *testing.T) *fixture {
	t.Helper()
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t)})
	w := &fixture{t: t, db: testenv.SQLite(t), redis: testenv.Redis(t), bridge: phone.New(t, lk)}
	var err error
	w.client, err = livekit.New(livekit.Config{URL: lk.URL, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.lobby = &lobby.Service{
		DB: w.db, LiveKit: w.client, Log: slog.New(slog.DiscardHandler), Draining: make(chan struct{}),
		Store: &lobby.Store{Redis: w.redis.Client(t), Rules: lobby.Rules{
			Waiting: 30 * time.Second, Grace: 10 * time.Second, Accepted: time.Hour, Denied: time.Minute, KeepPlace: time.Minute, Most: 200,
		}},
	}
	w.callers = w.replica()
	err = w.db.Run(t.Context(), func(tx *ent.Client) error {
		r, err := tx.Room.Create().SetName("Phones").SetNameKey("phones").SetSlug("phones").
			SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED).Save(t.Context())
		w.room = r.ID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.bridge.AddRule(phone.Rule{
		Name: "a rule of the test", Room: w.room.String(), PIN: pin, TrunkIDs: []string{w.bridge.Trunk("trunk", dialled)},
		HidesNumber: true, Attributes: map[string]string{meeting.AttributeLobby: meeting.LobbyWaiting},
	})
	return w
}

// replica is another process, which remembers nothing.
func (w *fixture) replica() *Service {
	return &Service{
		DB: w.db, Keys: auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil), Meetings: w.client, LiveKit: w.client, Lobby: w.lobby, Leases: lease.Redis{Client: w.lobby.Store.Redis}, Log: slog.New(slog.DiscardHandler),
		Metrics: NewMetrics(prometheus.NewRegistry()), Timing: Timing{Hold: 5 * time.Second, Sweep: time.Second, Search: time.Second, Grace: time.Minute},
	}
}

// calls is somebody who calls, and how LiveKit has them.
func (w *fixture) calls(number string) (*phone.Call, meeting.Participant) {
	w.t.Helper()
	call := w.bridge.MustDial(number, dialled, pin)
	return call, w.until("the caller is there", call, func(p meeting.Participant) bool { return len(p.Tracks) == 1 })
}

// until waits until LiveKit has a call as it should be.
func (w *fixture) until(what string, call *phone.Call, ok func(meeting.Participant) bool) meeting.Participant {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		people, err := w.client.Participants(w.t.Context(), w.room)
		if err != nil {
			w.t.Fatal(err)
		}
		i := slices.IndexFunc(people, func(p meeting.Participant) bool { return p.Call().ID == call.ID })
		if i >= 0 && ok(people[i]) {
			return people[i]
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not within 20 s: %s; in the meeting are %+v", what, people)
		}
	}
}

func isAdmitted(p meeting.Participant) bool {
	return !p.NoSubscribe && p.Attributes[meeting.AttributeLobby] == meeting.LobbyAdmitted && !p.Tracks[0].Muted
}

// joined is LiveKit's event, as it is handled at once.
func (w *fixture) joined(s *Service, p meeting.Participant) {
	w.t.Helper()
	s.Immediately(w.t.Context(), meeting.Event{Type: meeting.ParticipantJoined, RoomID: w.room, Participant: &p})
}

// decide has the lobby let a call in, as DecideEntry does.
func (w *fixture) decide(p meeting.Participant) {
	w.t.Helper()
	r := w.db.Read.Room.GetX(w.t.Context(), w.room)
	direct := *r
	direct.Configuration = &usherv1.RoomConfiguration{PhonePolicy: usherv1.PhonePolicy_PHONE_POLICY_DIRECT}
	// In a room where callers enter directly they are admitted as soon as they are seen, which is what is needed here.
	if _, err := w.lobby.Calls(w.t.Context(), &direct, []meeting.Call{p.Call()}, false); err != nil {
		w.t.Fatal(err)
	}
}

// What a held caller publishes is muted when LiveKit tells of it, by the replica that held them and by any other; what an
// admitted one publishes is not.
func TestTrackPublished(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	call, p := w.calls("+4917012345678")
	w.joined(w.callers, p)
	w.until("held", call, isHeld)
	other := w.replica()
	other.Meetings = late{w.client}
	for name, s := range map[string]*Service{"the same replica": w.callers, "another replica": other} {
		if err := w.client.UnmuteCaller(t.Context(), w.room, p, p.Tracks[0].SID); err != nil {
			t.Fatal(err)
		}
		w.until("not muted", call, func(p meeting.Participant) bool { return !p.Tracks[0].Muted })
		s.Immediately(t.Context(), meeting.Event{
			Type: meeting.TrackPublished, RoomID: w.room, Track: &meeting.Track{SID: p.Tracks[0].SID},
			// LiveKit says no more, and calls them a participant with a browser.
			Participant: &meeting.Participant{Identity: p.Identity, SID: p.SID, Kind: usherv1.ParticipantKind_PARTICIPANT_KIND_WEB},
		})
		w.until("muted by "+name, call, isHeld)
	}
	w.decide(p)
	if err := w.callers.Admit(t.Context(), w.room, p.Call()); err != nil {
		t.Fatal(err)
	}
	w.until("admitted", call, isAdmitted)
	w.callers.Immediately(t.Context(), meeting.Event{
		Type: meeting.TrackPublished, RoomID: w.room, Participant: &p, Track: &meeting.Track{SID: p.Tracks[0].SID},
	})
	w.until("admitted as before", call, isAdmitted)
}

// late is a LiveKit whose list does not have tracks yet.
type late struct{ *livekit.Client }

func (l late) Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error) {
	people, err := l.Client.Participants(ctx, room)
	for i := range people {
		people[i].Tracks = nil
	}
	return people, err
}

// overtaken does something right before LiveKit is told to hold, or to admit, somebody.
type overtaken struct {
	*livekit.Client
	hold, admit func()
}

func (o *overtaken) HoldCaller(ctx context.Context, room uuid.UUID, identity string) (meeting.Participant, error) {
	if o.hold != nil {
		o.hold()
	}
	return o.Client.HoldCaller(ctx, room, identity)
}

func (o *overtaken) AdmitCaller(ctx context.Context, room uuid.UUID, identity string) (meeting.Participant, error) {
	if o.admit != nil {
		o.admit()
	}
	return o.Client.AdmitCaller(ctx, room, identity)
}

// Who is let in on one replica while another one holds them is in, whoever tells LiveKit last.
func TestHold_decidedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for number, again := range map[string]func(s *Service, p meeting.Participant){
		"+4917000000001": w.joined, // the event a second time, as it was
		"+4917000000002": func(s *Service, p meeting.Participant) {
			// As LiveKit forgets mutes.
			if err := w.client.UnmuteCaller(t.Context(), w.room, p, p.Tracks[0].SID); err != nil {
				t.Error(err)
			}
			if err := s.sweepRoom(t.Context(), w.room); err != nil {
				t.Error(err)
			}
		},
	} {
		call, p := w.calls(number)
		w.joined(w.callers, p)
		w.until("held", call, isHeld)
		other := w.replica()
		other.LiveKit = &overtaken{Client: w.client, hold: sync.OnceFunc(func() {
			w.decide(p)
			if err := w.callers.Admit(t.Context(), w.room, p.Call()); err != nil {
				t.Error(err)
			}
		})}
		again(other, p)
		w.until("admitted", call, isAdmitted)
	}
}

// Who takes over the identity of an admitted caller at that very moment is not admitted.
func TestAdmit_takenOver(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	first, p := w.calls("+4917012345678")
	w.joined(w.callers, p)
	w.until("held", first, isHeld)
	w.decide(p)
	var second *phone.Call
	w.callers.LiveKit = &overtaken{Client: w.client, admit: func() {
		second = w.bridge.MustDial("+4917012345678", dialled, pin)
		w.until("the second call is there", second, func(p meeting.Participant) bool { return len(p.Tracks) == 1 })
	}}
	if err := w.callers.Admit(t.Context(), w.room, p.Call()); ignoreNotFound(err) != nil || err == nil {
		t.Errorf("Admit = %v, want that the call is over", err)
	}
	first.WaitGone()
	w.until("the second call is held", second, isHeld)
}

// failingUnmute is a LiveKit that does not unmute.
type failingUnmute struct{ *livekit.Client }

func (failingUnmute) UnmuteCaller(context.Context, uuid.UUID, meeting.Participant, string) error {
	return meeting.ErrUnavailable
}

// A hold that cannot be lifted as a whole is whole again when the host is told.
func TestAdmit_notLifted(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	call, p := w.calls("+4917012345678")
	w.joined(w.callers, p)
	w.until("held", call, isHeld)
	w.decide(p)
	w.callers.LiveKit = failingUnmute{w.client}
	if err := w.callers.Admit(t.Context(), w.room, p.Call()); !errors.Is(err, meeting.ErrUnavailable) {
		t.Errorf("Admit = %v, want that LiveKit is unavailable", err)
	}
	w.until("held again", call, isHeld)
	standings, err := w.lobby.Calls(t.Context(), w.db.Read.Room.GetX(t.Context(), w.room), []meeting.Call{p.Call()}, false)
	if err != nil || standings[0] != meeting.CallWaiting {
		t.Errorf("the call stands %v, %v; want it to wait", standings, err)
	}
}

// Without Redis nobody can say how a call stands: who comes is held, and who was let in stays.
func TestHold_withoutRedis(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	in, p := w.calls("+4917012345678")
	w.joined(w.callers, p)
	w.decide(p)
	if err := w.callers.Admit(t.Context(), w.room, p.Call()); err != nil {
		t.Fatal(err)
	}
	w.redis.Kill()
	comes, q := w.calls("+4917087654321")
	q.Attributes = maps.Clone(q.Attributes)
	delete(q.Attributes, meeting.AttributeLobby) // or they would be held before anybody is asked
	w.joined(w.callers, q)
	w.until("held", comes, isHeld)
	if err := w.callers.sweepRoom(t.Context(), w.room); err == nil {
		t.Error("the sweep says nothing")
	}
	w.until("held as before", comes, isHeld)
	w.until("admitted as before", in, isAdmitted)
	w.redis.Restart()
}

// Callers of a room are looked at by one replica at a time.
func TestSweep_turns(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	if taken, _, err := w.callers.Leases.Take(t.Context(), w.room, sweepLease, time.Minute); err != nil || !taken {
		t.Fatalf("the first replica does not get the lease: %v", err)
	}
	call, _ := w.calls("+4917012345678")
	sweep := newSweeper(w.callers)
	if err := sweep.begin(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	sweep.running.Wait()
	if now := w.until("still there", call, func(meeting.Participant) bool { return true }); isHeld(now) {
		t.Error("the caller was held by a replica without the lease")
	}
	if err := w.callers.sweepRoom(t.Context(), w.room); err != nil {
		t.Fatal(err)
	}
	w.until("held", call, isHeld)
}

// visited notes about which rooms LiveKit is asked.
type visited struct {
	meetings
	list error

	mu    sync.Mutex
	rooms []uuid.UUID
}

func (v *visited) LiveRooms(ctx context.Context) ([]uuid.UUID, error) {
	if v.list != nil {
		return nil, v.list
	}
	return v.meetings.LiveRooms(ctx)
}

func (v *visited) Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error) {
	v.mu.Lock()
	v.rooms = append(v.rooms, room)
	v.mu.Unlock()
	return v.meetings.Participants(ctx, room)
}

// Each second LiveKit is asked about the meetings of rooms that can be dialled, and about nothing else, however many rooms
// can be dialled. When it does not list its rooms, it is asked about every one of those.
func TestSweep_meetingsOnly(t *testing.T) {
	t.Parallel()
	for _, list := range []error{nil, meeting.ErrUnavailable} {
		w := newFixture(t)
		empty := uuid.New()
		err := w.db.Run(t.Context(), func(tx *ent.Client) error {
			r := tx.Room.Create().SetID(empty).SetName("Empty").SetNameKey("empty").SetSlug("empty").
				SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED)
			if err := r.Exec(t.Context()); err != nil {
				return err
			}
			for _, room := range []uuid.UUID{w.room, empty} {
				if err := tx.DispatchRule.Create().SetID(room).SetRuleID("SDR_" + room.String()).Exec(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		call, _ := w.calls("+4917012345678")
		v := &visited{meetings: w.client, list: list}
		w.callers.Meetings = v
		sweep := newSweeper(w.callers)
		if err := sweep.begin(t.Context(), false); !errors.Is(err, list) {
			t.Errorf("begin = %v, want %v", err, list)
		}
		sweep.running.Wait()
		w.until("held", call, isHeld)
		if got := slices.Contains(v.rooms, empty); got != (list != nil) {
			t.Errorf("with %v LiveKit was asked about a room without a meeting: %t", list, got)
		}
		if !slices.Contains(v.rooms, w.room) {
			t.Errorf("with %v LiveKit was not asked about the meeting", list)
		}
	}
}

// A call that ended without a word does not wait for long, though its room is empty when that is seen first.
func TestSweep_endedUnseen(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	call, p := w.calls("+4917012345678")
	w.joined(w.callers, p)
	call.HangUp()
	var host *ent.User
	err := w.db.Run(t.Context(), func(tx *ent.Client) (err error) {
		if host, err = tx.User.Create().SetSub("test-host").Save(t.Context()); err != nil {
			return err
		}
		return tx.Member.Create().SetRoomID(w.room).SetUserID(host.ID).SetRole(usherv1.Role_ROLE_OWNER).Exec(t.Context())
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := auth.WithCaller(t.Context(), &auth.Caller{Kind: auth.User, User: host})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if err := w.callers.sweepRoom(t.Context(), w.room); err != nil {
			t.Fatal(err)
		}
		res, err := w.lobby.ListWaiting(ctx, &usherv1.ListWaitingRequest{Room: w.room.String()})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.GetEntries()) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the call waits after 20 s, though nobody is there")
		}
	}
}
