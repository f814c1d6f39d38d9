package telephony

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// overheard is a LiveKit that is asked who is in a meeting by way of a test.
type overheard struct {
	liveKit
	participants func(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error)
}

func (o overheard) Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error) {
	return o.participants(ctx, room)
}

// with has a service see other people in meetings than there are.
func (w *fixture) with(people func() ([]meeting.Participant, error)) {
	w.LiveKit = overheard{w.client, func(context.Context, uuid.UUID) ([]meeting.Participant, error) { return people() }}
}

func (w *fixture) reconcileRoom(room uuid.UUID) (*usherv1.ReconcileDialInResponse, error) {
	w.t.Helper()
	return w.ReconcileDialIn(w.t.Context(), &usherv1.ReconcileDialInRequest{RoomId: room.String()})
}

func (w *fixture) mustReconcile(room uuid.UUID) {
	w.t.Helper()
	if _, err := w.reconcileRoom(room); err != nil {
		w.t.Fatalf("reconcile: %v", err)
	}
}

func kinds(list ...usherv1.ParticipantKind) (people []meeting.Participant) {
	for _, k := range list {
		people = append(people, meeting.Participant{Kind: k})
	}
	return people
}

const (
	web      = usherv1.ParticipantKind_PARTICIPANT_KIND_WEB
	onPhone  = usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE
	recorder = usherv1.ParticipantKind_PARTICIPANT_KIND_RECORDER
)

// A room can be dialled while somebody is in its meeting who is neither on the phone nor a recorder.
func TestReconcileDialIn_room(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		other := w.room(direct)
		w.join(other) // and nobody told Usher
		room := w.room(waiting)
		for _, test := range []struct {
			name   string
			people []meeting.Participant
			err    error
			open   bool
		}{
			{"nobody", nil, meeting.ErrNotFound, false},
			{"callers and recorders only", kinds(onPhone, recorder), nil, false},
			{"somebody by browser", kinds(web), nil, true},
			{"the same once more", kinds(web), nil, true},
			{"among others", kinds(onPhone, recorder, web), nil, true},
			{"the one by browser left", kinds(onPhone, recorder), nil, false},
			{"nobody is left", nil, meeting.ErrNotFound, false},
		} {
			t.Run(test.name, func(t *testing.T) {
				defer w.in(t)()
				w.with(func() ([]meeting.Participant, error) { return test.people, test.err })
				hadPIN := w.pinOf(room) != ""
				w.mustReconcile(room)
				if test.open {
					w.wantOneRule(room)
					return
				}
				w.wantNoRule(room)
				if !hadPIN && w.pinOf(room) != "" {
					t.Error("a room that nobody can call got a PIN")
				}
			})
		}
		w.wantNoRule(other)

		// What cannot be reached by phone is no failure, and has no rule.
		w.with(func() ([]meeting.Participant, error) { return kinds(web), nil })
		w.mustReconcile(room)
		w.setPolicy(room, refused)
		w.mustReconcile(room)
		w.wantNoRule(room)
		w.setPolicy(room, direct)
		w.mustReconcile(room)
		w.wantOneRule(room)
		w.deleteRoom(room)
		w.mustReconcile(room)
		w.wantNoRule(room)
		w.mustReconcile(uuid.New())
		last := w.room(direct)
		w.mustReconcile(last)
		w.Service, _ = w.replica(db)
		w.Trunks.Enabled = false
		w.mustReconcile(last)
		w.wantNoRule(last)
		_, err := w.ReconcileDialIn(t.Context(), &usherv1.ReconcileDialInRequest{RoomId: "nonsense"})
		wantFault(t, err, fault.ErrInvalid)
	})
}

// What fails is a failure, and the event that this was for is handled again.
func TestReconcileDialIn_roomFails(t *testing.T) {
	t.Parallel()
	w := newFixture(t, testenv.SQLite(t), 1)
	room := w.room(direct)
	w.join(room)
	for _, failing := range []string{"ListParticipants", "CreateSIPDispatchRule"} {
		w.gate.set(func(call string, forward func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
			if call == failing {
				return broken()
			}
			return forward()
		})
		_, err := w.reconcileRoom(room)
		wantFault(t, err, fault.ErrLiveKit)
	}
	w.gate.set(nil)
	w.mustReconcile(room)
	w.wantOneRule(room)
}

// LiveKit is asked who is in the meeting once before a room is opened or closed and once after that, and only once when
// there is nothing to do.
func TestReconcileDialIn_cost(t *testing.T) {
	t.Parallel()
	w := newFixture(t, testenv.SQLite(t), 1)
	room := w.room(direct)
	cost := func(what string, looks, others int) {
		t.Helper()
		w.gate.took()
		w.mustReconcile(room)
		calls := w.gate.took()
		all := 0
		for _, n := range calls {
			all += n
		}
		if calls["ListParticipants"] != looks || all != looks+others {
			t.Errorf("%s: LiveKit was asked %v, want %d looks and %d other calls", what, calls, looks, others)
		}
	}
	w.Trunks.inUse(t.Context()) // LiveKit is asked for its trunks once
	ada := w.join(room)
	cost("the first one came", 2, 1)
	bob := w.join(room)
	cost("another one came", 1, 0)
	bob.Room.Disconnect()
	cost("one of them left", 1, 0)
	w.leave(room, ada)
	cost("the last one left", 2, 1)
	w.setPolicy(room, refused)
	cost("nobody may call", 0, 0)
}

// One server closes on what it saw while somebody comes back and another server finds the room open: whoever acts last looks
// again.
func TestDialIn_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(direct)
		ada := w.join(room)
		w.mustReconcile(room)
		w.leave(room, ada)

		other, _ := w.replica(db)
		came := false
		w.LiveKit = overheard{w.client, func(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error) {
			people, err := w.client.Participants(ctx, room)
			if !came {
				came = true
				w.join(room)
				if _, err := other.ReconcileDialIn(ctx, &usherv1.ReconcileDialInRequest{RoomId: room.String()}); err != nil {
					t.Errorf("the other server: %v", err)
				}
			}
			return people, err // of before
		}}
		w.mustReconcile(room)
		w.wantOneRule(room)

		// People who come and go all the time end the call, and the event that it was for is handled again.
		there := false
		w.with(func() ([]meeting.Participant, error) {
			if there = !there; there {
				return nil, meeting.ErrNotFound
			}
			return kinds(web), nil
		})
		_, err := w.reconcileRoom(room)
		wantFault(t, err, fault.ErrConflict)
	})
}
