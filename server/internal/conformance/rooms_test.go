//go:build conformance

package conformance

import (
	"slices"
	"testing"
	"time"

	"github.com/livekit/protocol/egress"
	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

var roomFacts = []fact{
	{
		"A room that is made by somebody who joins has metadata, time-outs and limit from their token",
		"tells clients by the metadata what a meeting is, from its first moment", roomBorn,
	},
	{
		"A room that is there keeps its metadata, whatever the token of who joins later says",
		"tokens of before a change do not undo it", roomKeeps,
	},
	{
		"A room has another sid each time, and its list and its events agree on the millisecond in which it began",
		"counts meetings by sid and tells older ones by that time", roomSessions,
	},
	{
		"Only rooms that go on are listed, and asking for the name of another one is no error",
		"takes what is not listed for over", roomListed,
	},
	{
		"The listed number of participants is right after at most 10 s",
		"shows it in lists of rooms", roomCount,
	},
	{
		"New metadata replace those of before, reach who is in the room, and are not_found where none is",
		"shows everybody that the meeting is recorded", roomMetadata,
	},
	{
		"Deleting a room disconnects everybody with ROOM_DELETED, and deleting it again is not_found",
		"ends meetings", roomDeleted,
	},
	{
		"A token of before the end of a room opens the room again",
		"repeats the end of a meeting until no such token is left", roomReopened,
	},
	{
		"Nobody enters a room that has as many participants as its limit",
		"USHER_LIVEKIT_MAX_PARTICIPANTS", roomFull,
	},
	{
		"A room that the API makes and nobody joins ends after its time-out, and both is told of",
		"`usher doctor` tries webhooks with it", roomEmpty,
	},
	{
		"A room in which only a recorder is left ends after its departure time-out",
		"has recordings end with the meeting", roomRecorderOnly,
	},
	{
		"A room in which only somebody on the phone is left goes on",
		"ends such meetings itself", roomCallerOnly,
	},
}

func roomBorn(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada", ofRoom(&livekit.RoomConfiguration{
		Metadata: "first", EmptyTimeout: 33, DepartureTimeout: 44, MaxParticipants: 55,
	}))
	if got := ada.Room.Metadata(); got != "first" {
		t.Errorf("who joins sees the metadata %q", got)
	}
	r := f.listed(t, room)
	if r.GetMetadata() != "first" || r.GetEmptyTimeout() != 33 || r.GetDepartureTimeout() != 44 || r.GetMaxParticipants() != 55 {
		t.Errorf("listed: %v", r)
	}
}

func roomKeeps(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada", ofRoom(&livekit.RoomConfiguration{Metadata: "first"}))
	grace := f.join(t, room, "grace", ofRoom(&livekit.RoomConfiguration{Metadata: "second"}))
	if a, g, listed := ada.Room.Metadata(), grace.Room.Metadata(), f.listed(t, room).GetMetadata(); a != "first" || g != "first" ||
		listed != "first" {
		t.Errorf("Ada sees %q, Grace %q, and LiveKit lists %q", a, g, listed)
	}
}

func roomSessions(t *testing.T, f *fixture) {
	room := newRoom()
	var sids []string
	for nth := range 2 {
		f.createRoom(t, room)
		r := f.listed(t, room)
		told := f.receiver.await(t, room, "room_started", nth+1).GetRoom()
		if r.GetSid() == "" || slices.Contains(sids, r.GetSid()) || r.GetCreationTimeMs() == 0 ||
			told.GetSid() != r.GetSid() || told.GetCreationTimeMs() != r.GetCreationTimeMs() ||
			time.Since(time.UnixMilli(r.GetCreationTimeMs())).Abs() > time.Minute {
			t.Errorf("the list says %v, the event %v; sids of before: %v", r, told, sids)
		}
		f.deleteRoom(t, room)
		if over := f.receiver.await(t, room, "room_finished", nth+1).GetRoom(); over.GetSid() != r.GetSid() ||
			over.GetCreationTimeMs() != r.GetCreationTimeMs() {
			t.Errorf("the event of the end says %v, want %v", over, r)
		}
		sids = append(sids, r.GetSid())
	}
}

func roomListed(t *testing.T, f *fixture) {
	room := newRoom()
	if r := f.listed(t, room); r != nil {
		t.Errorf("a room that was never there: %v", r)
	}
	f.createRoom(t, room)
	all, err := f.rooms.ListRooms(t.Context(), &livekit.ListRoomsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all.GetRooms(), func(r *livekit.Room) bool { return r.GetName() == room }) || f.listed(t, room) == nil {
		t.Errorf("a room that is there is not listed among all, or by its name: %v", all)
	}
	f.deleteRoom(t, room)
}

func roomCount(t *testing.T, f *fixture) {
	room := newRoom()
	f.join(t, room, "ada")
	f.join(t, room, "grace").Room.Disconnect()
	f.join(t, room, "mary")
	within(t, 10*time.Second, "two participants are counted", func() bool { return f.listed(t, room).GetNumParticipants() == 2 })
}

func roomMetadata(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada", ofRoom(&livekit.RoomConfiguration{Metadata: "first"}))
	change := func(room string) error {
		_, err := f.rooms.UpdateRoomMetadata(t.Context(), &livekit.UpdateRoomMetadataRequest{Room: room, Metadata: "second"})
		return err
	}
	if err := change(room); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Ada sees the new metadata", func() bool { return ada.Room.Metadata() == "second" })
	if got := f.listed(t, room).GetMetadata(); got != "second" {
		t.Errorf("listed: %q", got)
	}
	wantCode(t, "metadata of no room", change(newRoom()), twirp.NotFound)
}

func roomDeleted(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada")
	f.deleteRoom(t, room)
	ada.WaitGone()
	if got := ada.Room.DisconnectReason(); got != livekit.DisconnectReason_ROOM_DELETED {
		t.Errorf("the connection ended with %v", got)
	}
	_, err := f.rooms.DeleteRoom(t.Context(), &livekit.DeleteRoomRequest{Room: room})
	wantCode(t, "deleting it again", err, twirp.NotFound)
}

func roomReopened(t *testing.T, f *fixture) {
	room := newRoom()
	ticket := token(t, room, "ada")
	ada := participant.Join(t, f.lk.URL, ticket)
	before := f.listed(t, room).GetSid()
	f.deleteRoom(t, room)
	ada.WaitGone()
	participant.Join(t, f.lk.URL, ticket)
	if after := f.listed(t, room).GetSid(); after == "" || after == before {
		t.Errorf("the sid is %q, and was %q", after, before)
	}
}

func roomFull(t *testing.T, f *fixture) {
	room := newRoom()
	limit := ofRoom(&livekit.RoomConfiguration{MaxParticipants: 1})
	f.join(t, room, "ada", limit)
	// LiveKit counts anew every some seconds.
	within(t, 10*time.Second, "Ada is counted", func() bool { return f.listed(t, room).GetNumParticipants() == 1 })
	if s, err := f.trySignal(t, token(t, room, "grace", limit)); err == nil {
		s.await(t, "good-bye", func(m *livekit.SignalResponse) bool { return m.GetLeave() != nil })
	}
	if p := f.person(t, room, "grace"); p != nil {
		t.Errorf("the second of one is in the room: %v", p)
	}
}

func roomEmpty(t *testing.T, f *fixture) {
	room := newRoom()
	if _, err := f.rooms.CreateRoom(t.Context(), &livekit.CreateRoomRequest{Name: room, EmptyTimeout: 1}); err != nil {
		t.Fatal(err)
	}
	f.receiver.await(t, room, "room_started", 1)
	f.receiver.await(t, room, "room_finished", 1)
}

// shortDeparture has a room end as soon as everybody has left.
func shortDeparture() claims { return ofRoom(&livekit.RoomConfiguration{DepartureTimeout: 1}) }

func roomRecorderOnly(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada", shortDeparture())
	f.joinRecorder(t, room, "EG_alone")
	ada.Room.Disconnect()
	f.receiver.await(t, room, "room_finished", 1)
}

// joinRecorder brings the browser of a recorder into a room, as an egress does.
func (f *fixture) joinRecorder(t *testing.T, room, id string) *participant.Participant {
	t.Helper()
	ticket, err := egress.BuildEgressToken(id, testenv.LiveKitKey, testenv.LiveKitSecret, room)
	if err != nil {
		t.Fatal(err)
	}
	return participant.Join(t, f.lk.URL, ticket)
}

func roomCallerOnly(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada", shortDeparture())
	f.dial(t, newNumber(), phone.Rule{Room: room})
	ada.Room.Disconnect()
	f.receiver.await(t, room, "participant_left", 1)
	// An empty room would end a second later, and LiveKit looks each second.
	time.Sleep(5 * time.Second)
	if f.listed(t, room) == nil || ended(f.receiver.kinds(room)) {
		t.Errorf("the room is over: %v", f.receiver.kinds(room))
	}
}
