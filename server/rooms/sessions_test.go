package rooms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// finishedLobby counts how often the lobbies of meetings that are over were ended.
type finishedLobby struct {
	noLobby
	mu       sync.Mutex
	finished int
	fail     error
}

func (l *finishedLobby) RoomFinished(context.Context, uuid.UUID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.finished++
	return nil
}

// begin begins a session of a room in LiveKit, and end ends the session that there is.
func (f *fakeLiveKit) begin(room uuid.UUID, sid string, start time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.meetings[room] = &fakeMeeting{sid: sid, start: start, people: map[string]meeting.Participant{}}
}

func (f *fakeLiveKit) end(room uuid.UUID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.meetings, room)
}

// told is an event about a session.
func told(kind meeting.EventType, room uuid.UUID, sid string, start time.Time) meeting.Event {
	return meeting.Event{ID: "EV_" + uuid.NewString(), Type: kind, RoomID: room, RoomSID: sid, RoomStart: start, Time: time.Now()}
}

// permutations are all orders of n things.
func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, shorter := range permutations(n - 1) {
		for i := 0; i <= len(shorter); i++ {
			all = append(all, slices.Insert(slices.Clone(shorter), i, n-1))
		}
	}
	return all
}

// Two sessions of one room, reported in any order, twice each, while the second goes on or after it: each end counts once, and
// people of the second keep what they have.
func TestFollowMeeting_anyOrder(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		lobby := &finishedLobby{}
		s.Lobby = lobby
		p := mustPeople(t, db)
		for _, goesOn := range []bool{true, false} {
			for _, order := range permutations(4) {
				room := uuid.MustParse(p.room(t, s).GetId())
				first, second := "RM_first_"+uuid.NewString(), "RM_second_"+uuid.NewString()
				begun, again := time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
				all := []meeting.Event{
					told(meeting.RoomStarted, room, first, begun), told(meeting.RoomFinished, room, first, begun),
					told(meeting.RoomStarted, room, second, again), told(meeting.ParticipantJoined, room, second, again),
				}
				want := int64(1)
				if goesOn {
					livekit.begin(room, second, again)
				} else {
					all[3], want = told(meeting.RoomFinished, room, second, again), 2
				}
				for _, n := range append(order, order...) {
					if err := s.FollowMeeting(t.Context(), all[n]); err != nil {
						t.Fatal(err)
					}
				}
				r := db.Read.Room.GetX(t.Context(), room)
				bound := goesOn && r.MeetingSid != nil && *r.MeetingSid == second || !goesOn && r.MeetingSid == nil
				if r.Meeting != want || !bound || r.Version != 1 {
					t.Errorf("goes on %v, order %v: meeting %d of session %v, want %d", goesOn, order, r.Meeting, r.MeetingSid, want)
				}
				if goesOn && (inMeeting(r, 0, begun) || !inMeeting(r, 0, again.Add(2*time.Second)) || !inMeeting(r, 1, time.Now())) {
					t.Errorf("order %v: since %v, want who was let in since %v to belong to it, and nobody else", order, r.MeetingSince, again)
				}
				livekit.end(room)
				if err := s.SweepMeetings(t.Context()); err != nil {
					t.Fatal(err)
				}
				if n := db.Read.Room.GetX(t.Context(), room).Meeting; n != 2 {
					t.Errorf("goes on %v, order %v: meeting %d after both, want 2", goesOn, order, n)
				}
			}
		}
		if lobby.finished == 0 {
			t.Error("no lobby was ended")
		}
	})
}

// Without any event: the sweep counts what came and went.
func TestSweepMeetings(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		lobby := &finishedLobby{}
		s.Lobby = lobby
		p := mustPeople(t, db)
		room := uuid.MustParse(p.room(t, s).GetId())
		sweep := func() int64 {
			t.Helper()
			if err := s.SweepMeetings(t.Context()); err != nil {
				t.Fatal(err)
			}
			return db.Read.Room.GetX(t.Context(), room).Meeting
		}
		livekit.begin(room, "RM_1", time.Now())
		livekit.begin(uuid.New(), "RM_stranger", time.Now()) // a room that was deleted, or another program's
		for range 2 {
			if n := sweep(); n != 0 {
				t.Errorf("while the first goes on: %d", n)
			}
		}
		livekit.begin(room, "RM_2", time.Now().Add(time.Second))
		for range 2 {
			if n := sweep(); n != 1 {
				t.Errorf("while the second goes on: %d", n)
			}
		}
		livekit.end(room)
		lobby.fail = errors.New("Redis is gone")
		if err := s.SweepMeetings(t.Context()); err == nil {
			t.Error("a lobby that cannot be ended: no error")
		}
		lobby.fail = nil
		for range 2 {
			if n := sweep(); n != 2 {
				t.Errorf("after the second: %d", n)
			}
		}
		livekit.intercept(down)
		if err := s.SweepMeetings(t.Context()); !errors.Is(err, meeting.ErrUnavailable) {
			t.Errorf("LiveKit is down: %v", err)
		}
		if n := db.Read.Room.GetX(t.Context(), room).Meeting; n != 2 {
			t.Errorf("LiveKit is down: %d", n)
		}
	})
}

// Many replicas hear of one end at the same time, from events and the sweep: it counts once.
func TestFollowMeeting_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := uuid.MustParse(p.room(t, s).GetId())
		for n := range int64(10) {
			sid := fmt.Sprint("RM_", n, uuid.NewString())
			livekit.begin(room, sid, time.Now())
			if err := s.FollowMeeting(t.Context(), told(meeting.RoomStarted, room, sid, time.Now())); err != nil {
				t.Fatal(err)
			}
			livekit.end(room)
			var group sync.WaitGroup
			for i := range 6 {
				group.Go(func() {
					err := s.SweepMeetings(t.Context())
					if i%2 == 0 {
						err = s.FollowMeeting(t.Context(), told(meeting.RoomFinished, room, sid, time.Now()))
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			if got := db.Read.Room.GetX(t.Context(), room).Meeting; got != n+1 {
				t.Fatalf("after %d meetings the number is %d", n+1, got)
			}
		}
	})
}

// Different replicas hear of the ends of different sessions at the same time: each counts.
func TestFollowMeeting_concurrentSessions(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		p := mustPeople(t, db)
		room := uuid.MustParse(p.room(t, s).GetId())
		const sessions = 20
		var group sync.WaitGroup
		for range sessions {
			group.Go(func() {
				if err := s.FollowMeeting(t.Context(), told(meeting.RoomFinished, room, "RM_"+uuid.NewString(), time.Now())); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := db.Read.Room.GetX(t.Context(), room).Meeting; got != sessions {
			t.Errorf("after %d meetings the number is %d", sessions, got)
		}
	})
}

// A session that begins while the sweep asks LiveKit is not over because LiveKit's answer lacks it.
func TestSweepMeetings_beginsMeanwhile(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := uuid.MustParse(p.room(t, s).GetId())
		livekit.intercept(func(ctx context.Context, call string) error {
			if call != "LiveMeetings" {
				return nil
			}
			// Another replica hears of it after LiveKit has made its list, which is empty.
			return s.observe(ctx, room, sessionReport{sid: "RM_1", start: time.Now()})
		})
		if err := s.SweepMeetings(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := db.Read.Room.GetX(t.Context(), room); r.Meeting != 0 || r.MeetingSid == nil {
			t.Errorf("meeting %d of %v, want the first one to go on", r.Meeting, r.MeetingSid)
		}
	})
}

// A meeting that a host ended counts once, though LiveKit tells of its end afterwards, and of its beginning later still.
func TestEndMeeting_thenToldOf(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		for _, known := range []bool{true, false} {
			made := p.room(t, s)
			room := uuid.MustParse(made.GetId())
			sid := "RM_" + uuid.NewString()
			livekit.begin(room, sid, time.Now())
			follow := func(kind meeting.EventType) {
				if err := s.FollowMeeting(t.Context(), told(kind, room, sid, time.Now())); err != nil {
					t.Fatal(err)
				}
			}
			if known {
				follow(meeting.RoomStarted)
			}
			mustEnd(t, s, p.olga, made)
			workerOf(s).RunDue(t.Context())
			follow(meeting.RoomFinished)
			follow(meeting.RoomStarted)
			if err := s.SweepMeetings(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r := db.Read.Room.GetX(t.Context(), room); r.Meeting != 1 || r.MeetingSid != nil {
				t.Errorf("known before %v: meeting %d of %v, want 1", known, r.Meeting, r.MeetingSid)
			}
		}
	})
}

// Who was let into one meeting has to leave the next one; who belongs there stays.
func TestFollowMeeting_lateGuests(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		made := p.room(t, s)
		room := uuid.MustParse(made.GetId())
		// let lets somebody in who would have to wait, and returns their token.
		let := func(name string, user *ent.User) string {
			t.Helper()
			id := uuid.Nil
			if user != nil {
				id = user.ID
			}
			c, err := s.ConnectAdmitted(t.Context(), db.Read.Room.GetX(t.Context(), room), meeting.Admission{
				Identity: s.Keys.NewIdentity(room, id), DisplayName: name, UserID: id, Time: time.Now(),
			})
			if err != nil {
				t.Fatal(err)
			}
			return c.GetToken()
		}
		host, err := s.JoinRoom(as(t, p.olga), &usherv1.JoinRoomRequest{Room: made.GetId(), DisplayName: "host"})
		if err != nil {
			t.Fatal(err)
		}
		stranger := mustUser(t, db, "Stranger")
		early, earlyUser := let("early guest", nil), let("early user", stranger)
		mustEnd(t, s, p.olga, made)
		workerOf(s).RunDue(t.Context())
		for _, token := range []string{early, earlyUser, let("guest", nil), host.GetConnection().GetToken()} {
			livekit.connect(t, token)
		}
		livekit.mu.Lock()
		e := told(meeting.ParticipantJoined, room, livekit.meetings[room].sid, livekit.meetings[room].start)
		livekit.mu.Unlock()
		if err := s.FollowMeeting(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		people := livekit.people(room.String())
		_, hostIsThere := people["host"]
		_, guestIsThere := people["guest"]
		if len(people) != 2 || !guestIsThere || !hostIsThere {
			t.Errorf("in the second meeting: %v, want the host and the guest of this meeting", people)
		}
		if _, err := s.UpdateRoom(as(t, p.olga), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: made.GetId(), AccessLevel: trusted}}); err != nil {
			t.Fatal(err)
		}
		livekit.connect(t, earlyUser) // may enter now without being let in
		if err := s.FollowMeeting(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if _, ok := livekit.people(room.String())["early user"]; !ok {
			t.Errorf("who may enter directly has to leave: %v", livekit.people(room.String()))
		}
	})
}

func TestLateGuest(t *testing.T) {
	t.Parallel()
	since := time.Unix(1_800_000_000, 0)
	room := func(level usherv1.AccessLevel) *ent.Room {
		return &ent.Room{Meeting: 5, MeetingSince: &since, AccessLevel: level}
	}
	tests := map[string]struct {
		room *ent.Room
		text string
		user uuid.UUID
		role usherv1.Role
		want bool
	}{
		"of this meeting":                       {room(restricted), "5/1700000000", uuid.Nil, 0, false},
		"of the meeting before":                 {room(restricted), "4/1799999999", uuid.Nil, 0, true},
		"let in when this one had begun":        {room(restricted), "4/1800000000", uuid.Nil, 0, false},
		"of long ago, by a clock that is wrong": {room(restricted), "3/1800000001", uuid.Nil, 0, true},
		"of a meeting to come":                  {room(restricted), "6/1800000001", uuid.Nil, 0, true},
		"a member":                              {room(restricted), "1/1700000000", uuid.New(), plainMember, false},
		"anybody, in a public room":             {room(public), "1/1700000000", uuid.Nil, 0, false},
		"somebody signed in, in a trusted room": {room(trusted), "1/1700000000", uuid.New(), 0, false},
		"a stranger, in a trusted room":         {room(trusted), "1/1700000000", uuid.Nil, 0, true},
		"somebody signed in, in a closed room":  {room(restricted), "1/1700000000", uuid.New(), 0, true},
		"nonsense":                              {room(restricted), "abc", uuid.Nil, 0, true},
		"half of it":                            {room(restricted), "5", uuid.Nil, 0, true},
	}
	for name, test := range tests {
		p := meeting.Participant{Attributes: map[string]string{attributeMeeting: test.text}}
		if got := lateGuest(test.room, p, test.user, test.role); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	// A connection that an older server made says nothing, and its token is good for minutes.
	if lateGuest(room(restricted), meeting.Participant{}, uuid.Nil, 0) {
		t.Error("without the attribute: late")
	}
	session := &auth.ParticipantSession{Meeting: 5, JoinTime: time.Unix(1_700_000_000, 0)}
	if got, want := meetingAttribute(session), "5/1700000000"; got != want {
		t.Errorf("attribute %q, want %q", got, want)
	}
}
