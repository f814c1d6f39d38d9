package rooms

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// mustEnd ends the meeting of a room.
func mustEnd(t *testing.T, s *Service, u *ent.User, room *usherv1.Room) {
	t.Helper()
	if _, err := s.EndMeeting(as(t, u), &usherv1.EndMeetingRequest{Room: room.GetId()}); err != nil {
		t.Fatal(err)
	}
}

// meetingOf is the number of a room's meeting.
func meetingOf(t *testing.T, s *Service, room *usherv1.Room) int64 {
	t.Helper()
	return s.DB.Read.Room.GetX(t.Context(), uuid.MustParse(room.GetId())).Meeting
}

func TestEndMeeting(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		mustConnect(t, s, livekit, room, p.olga)
		mustConnect(t, s, livekit, room, p.mona)
		mustEnd(t, s, p.anna, room)
		workerOf(s).RunDue(t.Context())
		if people := livekit.people(room.GetId()); people != nil {
			t.Errorf("the meeting goes on: %v", people)
		}
		if left := tasks(t, s); len(left) != 0 || meetingOf(t, s, room) != 1 {
			t.Errorf("tasks %v, meeting %d", left, meetingOf(t, s, room))
		}
		after, err := s.GetRoom(as(t, p.olga), &usherv1.GetRoomRequest{Room: room.GetId()})
		if err != nil || after.GetRoom().GetEtag() != room.GetEtag() || !after.GetRoom().GetUpdateTime().AsTime().Equal(room.GetUpdateTime().AsTime()) {
			t.Errorf("the room has changed: %v, %v", after, err)
		}

		// Without a meeting: success, and nothing to do.
		mustEnd(t, s, p.olga, room)
		if left := tasks(t, s); len(left) != 0 {
			t.Errorf("tasks %v", left)
		}
		names := map[string]string{p.olga.ID.String(): "Olga", p.anna.ID.String(): "Anna"}
		events := eventsOf(t, s, room, names)
		want := []string{"Anna meeting.ended meeting=0 live=true", "Olga meeting.ended meeting=1 live=false"}
		if diff := cmp.Diff(want, events[len(events)-2:]); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

func TestEndMeeting_refuses(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		mustConnect(t, s, livekit, room, p.olga)
		livekit.intercept(down)
		tests := []struct {
			name   string
			caller *ent.User
			room   string
			want   *fault.Error
		}{
			{"a member", p.mona, room.GetId(), auth.ErrInsufficientRole},
			{"somebody without a role", p.nina, room.GetId(), auth.ErrInsufficientRole},
			{"no such room", p.olga, uuid.NewString(), auth.ErrRoomNotFound},
			{"while LiveKit does not answer", p.olga, room.GetId(), fault.ErrLiveKit},
		}
		for _, tt := range tests {
			t.Log(tt.name)
			_, err := s.EndMeeting(as(t, tt.caller), &usherv1.EndMeetingRequest{Room: tt.room})
			wantFault(t, err, tt.want)
		}
		if left := tasks(t, s); len(left) != 0 || meetingOf(t, s, room) != 0 || livekit.people(room.GetId()) == nil {
			t.Errorf("tasks %v, meeting %d", left, meetingOf(t, s, room))
		}
	})
}

// A connection from before does not bring back somebody who would have to wait, not even into the next meeting.
func TestEndMeeting_voidsConnections(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := mustRoom(t, s, p.olga, &usherv1.CreateRoomRequest{AccessLevel: public})
		guest := mustConnect(t, s, livekit, room, nil)
		host := mustConnect(t, s, livekit, room, p.olga)
		renew := func(c *usherv1.Connection) error {
			_, err := s.RenewConnection(asParticipant(t, s, c), &usherv1.RenewConnectionRequest{})
			return err
		}
		_, err := s.UpdateRoom(as(t, p.olga), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: room.GetId(), AccessLevel: restricted}})
		if err != nil {
			t.Fatal(err)
		}
		if err := renew(guest); err != nil {
			t.Errorf("while the meeting goes on: %v", err)
		}
		mustEnd(t, s, p.olga, room)
		wantFault(t, renew(guest), auth.ErrLobbyRequired)
		workerOf(s).RunDue(t.Context())
		mustConnect(t, s, livekit, room, p.olga)
		wantFault(t, renew(guest), auth.ErrLobbyRequired)
		if err := renew(host); err != nil {
			t.Errorf("somebody who enters directly: %v", err)
		}
	})
}

// A worker that comes late ends the meeting that was meant, and not the one that has begun since.
func TestEndMeeting_nextMeetingStays(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		mustConnect(t, s, livekit, room, p.olga)
		mustEnd(t, s, p.olga, room)
		if err := livekit.CloseRoom(t.Context(), uuid.MustParse(room.GetId())); err != nil { // all left
			t.Fatal(err)
		}
		mustConnect(t, s, livekit, room, p.mona)
		workerOf(s).RunDue(t.Context())
		if people := livekit.people(room.GetId()); len(people) != 1 || len(tasks(t, s)) != 0 {
			t.Errorf("people %v, tasks %v", people, tasks(t, s))
		}
	})
}

// Two hosts end one meeting. The one who is slower does not end the next one.
func TestEndMeeting_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		mustConnect(t, s, livekit, room, p.olga)
		asking, answer := make(chan struct{}), make(chan struct{})
		var calls atomic.Int32
		livekit.intercept(func(_ context.Context, call string) error {
			if call == "Meeting" && calls.Add(1) == 1 {
				close(asking)
				<-answer
			}
			return nil
		})
		slow := make(chan error, 1)
		go func() {
			_, err := s.EndMeeting(as(t, p.anna), &usherv1.EndMeetingRequest{Room: room.GetId()})
			slow <- err
		}()
		<-asking
		mustEnd(t, s, p.olga, room)
		workerOf(s).RunDue(t.Context())
		mustConnect(t, s, livekit, room, p.mona)
		close(answer)
		if err := <-slow; err != nil {
			t.Errorf("the slower one: %v", err)
		}
		workerOf(s).RunDue(t.Context())
		if people := livekit.people(room.GetId()); len(people) != 1 || meetingOf(t, s, room) != 1 {
			t.Errorf("the next meeting was ended: people %v, meeting %d, want 1 and 1", people, meetingOf(t, s, room))
		}
	})
}

// Hosts who end a meeting at the same moment end one.
func TestEndMeeting_atOnce(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		mustConnect(t, s, livekit, room, p.olga)
		const n = 8
		var waiting atomic.Int32
		all := make(chan struct{})
		livekit.intercept(func(context.Context, string) error {
			if waiting.Add(1) == n {
				close(all)
			}
			select {
			case <-all:
			case <-time.After(10 * time.Second):
				return meeting.ErrUnavailable
			}
			return nil
		})
		_, errs := inParallel(n, func(int) (any, error) {
			return s.EndMeeting(as(t, p.olga), &usherv1.EndMeetingRequest{Room: room.GetId()})
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		ended := 0
		for _, e := range eventsOf(t, s, room, nil) {
			if e == p.olga.ID.String()+" meeting.ended meeting=0 live=true" {
				ended++
			}
		}
		if left := tasks(t, s); len(left) != 1 || meetingOf(t, s, room) != 1 || ended != 1 {
			t.Errorf("%d tasks, meeting %d, %d events; want one of each", len(left), meetingOf(t, s, room), ended)
		}
	})
}

// A task to end one session of a room stands for no other session, however the clocks of those who wrote them differ.
func TestEndMeeting_eachSession(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		mustConnect(t, s, livekit, room, p.olga)
		early := must(t, db, func(tx *ent.Client) (*ent.LiveTask, error) {
			return tx.LiveTask.Create().SetKind(livetask.KindEndMeeting).SetRoomID(uuid.MustParse(room.GetId())).
				SetMeetingSid("RM_test-before").SetKeepUntil(now().Add(time.Second)).SetNextTime(now().Add(time.Hour)).Save(t.Context())
		})
		mustEnd(t, s, p.olga, room)
		workerOf(s).Do(t.Context(), early)
		workerOf(s).RunDue(t.Context())
		if people := livekit.people(room.GetId()); people != nil {
			t.Errorf("the meeting goes on: %v", people)
		}
	})
}
