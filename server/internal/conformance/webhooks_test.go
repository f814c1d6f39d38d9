//go:build conformance

package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/livekit/protocol/livekit"

	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

var webhookFacts = []fact{
	{
		"An event is signed: the header Authorization is a JWT of the key, without \"Bearer\", which ends and has the hash of the body",
		"refuses all other events", webhookSigned,
	},
	{
		"A meeting is told of as room_started, participant_joined, track_published, track_unpublished, participant_left and " +
			"room_finished, each with an id of its own, the second in which it happened, and name and sid of the room",
		"meetings, phone lines and lobbies follow these, and events that lack one of them are not stored", webhookMeeting,
	},
	{
		"participant_joined has identity, kind, sid, name and attributes; track_published has the identity and sid of who " +
			"publishes, and the sid of the track",
		"callers are known and held by these before anybody is asked", webhookParticipant,
	},
	{
		"Who ends the connection before media flows is told of as participant_connection_aborted or participant_left",
		"ends the lobby entry of such a call", webhookAborted,
	},
	{
		"An event that was answered with 500, 503 or 429 comes again within seconds, with the same id and body, signed",
		"answers 500 to what it could not store, and stores each id once", webhookRepeated,
	},
	{
		"An event that was answered with 400 or 401 does not come again",
		"answers so to what will never be readable", webhookRefused,
	},
	{
		"Later events of a room wait until the one before is delivered, and those of other rooms do not",
		"stores an event and does nothing else before it answers", webhookQueue,
	},
	{
		"Events that wait for half a minute are dropped",
		"compares all rooms with LiveKit every 30 s, and takes no event that is older than ten minutes", webhookDropped,
	},
}

func webhookSigned(t *testing.T, f *fixture) {
	room := newRoom()
	f.join(t, room, "ada")
	d := f.receiver.await(t, room, "room_started", 1)
	token := d.header.Get("Authorization")
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(
		token, claims, func(*jwt.Token) (any, error) { return []byte(testenv.LiveKitSecret), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(testenv.LiveKitKey), jwt.WithExpirationRequired(),
	)
	if err != nil {
		t.Fatalf("the token %q: %v", token, err)
	}
	sum := sha256.Sum256(d.body)
	if got, want := claims["sha256"], base64.StdEncoding.EncodeToString(sum[:]); got != want {
		t.Errorf("the token has the hash %v, want %s", got, want)
	}
	if end, err := claims.GetExpirationTime(); err != nil || time.Until(end.Time) > time.Hour {
		t.Errorf("the token ends at %v, %v", end, err)
	}
}

func webhookMeeting(t *testing.T, f *fixture) {
	room := newRoom()
	f.join(t, room, "ada").Speak()
	f.track(t, room, "ada")
	sid := f.listed(t, room).GetSid()
	f.receiver.await(t, room, "track_published", 1)
	f.deleteRoom(t, room)
	seen := map[string]bool{}
	for _, kind := range []string{
		"room_started", "participant_joined", "track_published", "track_unpublished", "participant_left", "room_finished",
	} {
		d := f.receiver.await(t, room, kind, 1)
		if d.GetRoom().GetSid() != sid {
			t.Errorf("%s is about the sid %q, want %q", kind, d.GetRoom().GetSid(), sid)
		}
		if d.GetId() == "" || seen[d.GetId()] {
			t.Errorf("%s has the id %q, which is empty or another one's", kind, d.GetId())
		}
		seen[d.GetId()] = true
		if age := d.time.Sub(time.Unix(d.GetCreatedAt(), 0)); age < -time.Second || age > time.Minute {
			t.Errorf("%s happened at %d, %v ago", kind, d.GetCreatedAt(), age)
		}
		if !hasFields(t, d.body, "event", "id", "createdAt", "room") {
			t.Errorf("%s lacks a field: %s", kind, d.body)
		}
	}
}

func webhookParticipant(t *testing.T, f *fixture) {
	call := f.dial(t, newNumber(), phone.Rule{})
	joined := f.receiver.await(t, call.room, "participant_joined", 1).GetParticipant()
	sid := f.person(t, call.room, call.Identity()).GetSid()
	if joined.GetIdentity() != call.Identity() || joined.GetSid() != sid || joined.GetKind() != livekit.ParticipantInfo_SIP ||
		joined.GetName() == "" || joined.GetAttributes()["sip.callID"] == "" {
		t.Errorf("participant_joined says %v", joined)
	}
	published := f.receiver.await(t, call.room, "track_published", 1)
	who, track := published.GetParticipant(), published.GetTrack()
	if want := f.track(t, call.room, call.Identity()).GetSid(); who.GetIdentity() != call.Identity() || who.GetSid() != sid ||
		track.GetSid() != want {
		t.Errorf("track_published says participant %v, track %v; want %s, %s and %s", who, track, call.Identity(), sid, want)
	}
}

func webhookAborted(t *testing.T, f *fixture) {
	room := newRoom()
	s := f.signal(t, token(t, room, "ada"))
	s.joined(t)
	s.transport.Close()
	left := func() []delivery { return f.receiver.about(room, "participant_connection_aborted", "participant_left") }
	eventually(t, "the end of the connection is told of", func() bool { return len(left()) > 0 })
	if got := left()[0].GetParticipant().GetIdentity(); got != "ada" {
		t.Errorf("%s is about %q, want ada", left()[0].GetEvent(), got)
	}
}

func webhookRepeated(t *testing.T, f *fixture) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		room := newRoom()
		f.receiver.answer(room, func(nth int) int {
			if nth < 2 {
				return status
			}
			return http.StatusOK
		})
		f.createRoom(t, room)
		last := f.receiver.await(t, room, "room_started", 3)
		for i, d := range f.receiver.about(room, "room_started") {
			if d.GetId() != last.GetId() || !bytes.Equal(d.body, last.body) || d.header.Get("Authorization") == "" {
				t.Errorf("%d: delivery %d is %s, and the last one %s", status, i, d.body, last.body)
			}
		}
	}
}

func webhookRefused(t *testing.T, f *fixture) {
	for _, status := range []int{http.StatusBadRequest, http.StatusUnauthorized} {
		room := newRoom()
		f.receiver.answer(room, func(nth int) int {
			if nth == 0 {
				return status
			}
			return http.StatusOK
		})
		f.createRoom(t, room)
		f.receiver.await(t, room, "room_started", 1)
		f.deleteRoom(t, room)
		// It comes after everything about the start of the room.
		f.receiver.await(t, room, "room_finished", 1)
		if n := len(f.receiver.about(room, "room_started")); n != 1 {
			t.Errorf("room_started came %d times after an answer of %d, want once", n, status)
		}
	}
}

func webhookQueue(t *testing.T, f *fixture) {
	room, other := newRoom(), newRoom()
	f.receiver.answer(room, func(nth int) int {
		if nth < 3 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	f.createRoom(t, room)
	f.receiver.await(t, room, "room_started", 1)
	f.deleteRoom(t, room)
	f.createRoom(t, other)
	meanwhile := f.receiver.await(t, other, "room_started", 1)
	finished := f.receiver.await(t, room, "room_finished", 1)
	delivered := f.receiver.about(room, "room_started")[3]
	if !meanwhile.time.Before(delivered.time) {
		t.Errorf("the other room's event came at %v, after that of this room at %v", meanwhile.time, delivered.time)
	}
	if finished.time.Before(delivered.time) {
		t.Errorf("room_finished came at %v, before room_started was delivered at %v", finished.time, delivered.time)
	}
}

func webhookDropped(t *testing.T, f *fixture) {
	room := newRoom()
	begin := time.Now()
	f.receiver.answer(room, func(int) int {
		if time.Since(begin) < 33*time.Second {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	for range 2 {
		f.createRoom(t, room)
		f.deleteRoom(t, room)
	}
	time.Sleep(time.Until(begin.Add(34 * time.Second))) // nothing tells that an event was dropped
	f.createRoom(t, room)
	within(t, time.Minute, "room_started of the third life is delivered", func() bool {
		about := f.receiver.about(room)
		return len(about) > 0 && about[len(about)-1].answer == http.StatusOK && about[len(about)-1].GetEvent() == "room_started"
	})
	delivered := 0
	for _, d := range f.receiver.about(room) {
		if d.answer == http.StatusOK {
			delivered++
		}
	}
	if delivered == 5 {
		t.Error("all events were delivered, late as they were")
	}
}

// createRoom makes a room without anybody in it.
func (f *fixture) createRoom(t *testing.T, room string) {
	t.Helper()
	if _, err := f.rooms.CreateRoom(t.Context(), &livekit.CreateRoomRequest{Name: room}); err != nil {
		t.Fatalf("create a room: %v", err)
	}
}

// deleteRoom ends a room, and waits until it is not listed any more.
func (f *fixture) deleteRoom(t *testing.T, room string) {
	t.Helper()
	if _, err := f.rooms.DeleteRoom(t.Context(), &livekit.DeleteRoomRequest{Room: room}); err != nil {
		t.Fatalf("delete a room: %v", err)
	}
	eventually(t, "the room is gone", func() bool { return f.listed(t, room) == nil })
}

// ended reports whether a room's end is among the types of events.
func ended(kinds []string) bool { return slices.Contains(kinds, "room_finished") }

// wsURL is the address at which clients connect.
func (f *fixture) wsURL() string { return strings.Replace(f.lk.URL, "http", "ws", 1) }
