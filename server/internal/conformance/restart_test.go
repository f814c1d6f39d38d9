//go:build conformance

package conformance

import (
	"net/http"
	"testing"

	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/internal/recorder"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

var restartFacts = []fact{
	{
		"Participants come back by themselves with identity, kind and attributes, and with another sid",
		"gives them their permissions anew, and finds calls by sip.callID", restartParticipants,
	},
	{
		"A room to which somebody comes back has the sid, the time and the metadata of before",
		"counts it as the same meeting", restartRoom,
	},
	{
		"A room to which nobody comes back stays listed with everybody, and deleting it fails until it " +
			"was created again, which works some seconds after the start",
		"creates a room that cannot be deleted, and deletes it then", restartGhosts,
	},
	{
		"Trunks and dispatch rules are there as before, in Redis",
		"changes nothing about them", restartRules,
	},
	{
		"Recorders are listed as before, and can be stopped",
		"loses no recording", restartEgress,
	},
	{
		"Events that were not delivered before are not sent afterwards",
		"compares all rooms with LiveKit every 30 s", restartEvents,
	},
}

// crash kills livekit-server and starts it again.
func (f *fixture) crash() {
	f.lk.Kill()
	f.lk.Restart()
}

func restartParticipants(t *testing.T, f *fixture) {
	own := f.another(t, parts{noRecorder: true})
	call := own.dial(t, newNumber(), phone.Rule{Attributes: map[string]string{"lobby": "waiting"}})
	caller := call.Identity()
	before := own.person(t, call.room, caller)
	own.crash()
	own.back(t, call.room, before)
	p := own.person(t, call.room, caller)
	if a := p.GetAttributes(); a["sip.callID"] != call.ID || a["lobby"] != "waiting" ||
		p.GetKind() != livekit.ParticipantInfo_SIP {
		t.Errorf("listed: %v, and before: %v", p, before)
	}
}

// back waits until somebody is in their room again, whom LiveKit still lists as they were before.
func (f *fixture) back(t *testing.T, room string, before *livekit.ParticipantInfo) {
	t.Helper()
	eventually(t, before.GetIdentity()+" is back", func() bool {
		p := f.person(t, room, before.GetIdentity())
		return p != nil && p.GetSid() != before.GetSid()
	})
}

func restartRoom(t *testing.T, f *fixture) {
	own := f.another(t, parts{noRecorder: true})
	room := newRoom()
	own.join(t, room, "ada", ofRoom(&livekit.RoomConfiguration{Metadata: "first"}))
	before, ada := own.listed(t, room), own.person(t, room, "ada")
	own.crash()
	own.back(t, room, ada)
	if after := own.listed(t, room); after.GetSid() != before.GetSid() || after.GetMetadata() != "first" ||
		after.GetCreationTimeMs() != before.GetCreationTimeMs() {
		t.Errorf("listed: %v, and before: %v", after, before)
	}
}

func restartGhosts(t *testing.T, f *fixture) {
	own := f.another(t, parts{noRecorder: true})
	room := newRoom()
	ada := own.join(t, room, "ada")
	before := own.listed(t, room).GetSid()
	own.lk.Kill()
	ada.Room.Disconnect()
	own.lk.Restart()
	_, err := own.rooms.DeleteRoom(t.Context(), &livekit.DeleteRoomRequest{Room: room})
	// With which code depends on whether it still counts the server that crashed.
	if err == nil || code(err) == twirp.NotFound {
		t.Errorf("deleting the room: %v", err)
	}
	if own.listed(t, room).GetSid() != before || own.person(t, room, "ada") == nil {
		t.Error("the room or Ada is not listed any more")
	}
	own.createAgain(t, room)
	if got := own.listed(t, room).GetSid(); got != before {
		t.Errorf("the room that was created again has the sid %s, want %s", got, before)
	}
	own.deleteRoom(t, room)
	if own.person(t, room, "ada") != nil {
		t.Error("Ada is still listed")
	}
	own.receiver.await(t, room, "room_finished", 1)
}

// createAgain creates a room that LiveKit still has from before a crash. For some seconds it believes that the server which
// had the room is alive.
func (f *fixture) createAgain(t *testing.T, room string) {
	t.Helper()
	eventually(t, "the room is created again", func() bool {
		_, err := f.rooms.CreateRoom(t.Context(), &livekit.CreateRoomRequest{Name: room})
		return err == nil
	})
}

func restartRules(t *testing.T, f *fixture) {
	own := f.another(t, parts{noRecorder: true})
	l := own.line(t)
	r := phone.Rule{Name: "SIP_room", Room: newRoom(), PIN: pin}
	id := l.rule(t, r)
	own.crash()
	r.TrunkIDs = []string{l.trunk}
	wantRule(t, l, id, r)
	own.bridge(t)
	if got := l.reaches(pin); got != r.Room {
		t.Errorf("the PIN reaches %s, want %s", got, r.Room)
	}
}

func restartEgress(t *testing.T, f *fixture) {
	own := f.another(t, parts{})
	_, id := own.recording(t, recorder.Script{})
	own.crash()
	own.until(t, id, livekit.EgressStatus_EGRESS_ACTIVE)
	if err := own.stop(t, id); err != nil {
		t.Fatal(err)
	}
	own.until(t, id, livekit.EgressStatus_EGRESS_COMPLETE)
}

func restartEvents(t *testing.T, f *fixture) {
	own := f.another(t, parts{noRecorder: true})
	room := newRoom()
	own.receiver.answer(room, func(int) int { return http.StatusInternalServerError })
	own.createRoom(t, room)
	lost := own.receiver.await(t, room, "room_started", 1)
	own.lk.Kill()
	own.receiver.answer(room, func(int) int { return http.StatusOK })
	own.lk.Restart()
	own.createAgain(t, room)
	own.deleteRoom(t, room)
	eventually(t, "the next event of the room is delivered", func() bool {
		about := own.receiver.about(room)
		return about[len(about)-1].answer == http.StatusOK
	})
	for _, d := range own.receiver.about(room) {
		if d.GetId() == lost.GetId() && d.answer == http.StatusOK {
			t.Errorf("%s was sent again", d.body)
		}
	}
}
