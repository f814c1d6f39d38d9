//go:build conformance

package conformance

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/internal/recorder"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

// patience is how long a fact waits for what LiveKit does in milliseconds, or in a few seconds.
const patience = 30 * time.Second

// parts are those that a fixture lacks.
type parts struct {
	noRedis, noRecorder, noRemoteUnmute bool
}

// fixture is a livekit-server with its Redis, a recorder, and a receiver of its webhooks. Facts share one, each with rooms and
// trunks of its own; those that break something have one for themselves.
type fixture struct {
	program  string
	lk       *testenv.LiveKitServer
	receiver *receiver
	recorder *recorder.Recorder
	// folder is where the recorder stores files.
	folder string
	rooms  *lksdk.RoomServiceClient
	egress *lksdk.EgressClient
	sip    *lksdk.SIPClient

	mu      sync.Mutex
	scripts map[string]recorder.Script
}

func newFixture(t *testing.T, program string, p parts) *fixture {
	t.Helper()
	f := &fixture{
		program: program, receiver: &receiver{answers: map[string]func(int) int{}}, folder: t.TempDir(),
		scripts: map[string]recorder.Script{},
	}
	webhooks := httptest.NewServer(f.receiver)
	t.Cleanup(webhooks.Close)
	options := testenv.LiveKitOptions{
		Program: program, Webhooks: []string{webhooks.URL}, NoRemoteUnmute: p.noRemoteUnmute,
	}
	if !p.noRedis {
		options.Redis = testenv.Redis(t)
	}
	f.lk = testenv.NewLiveKit(t, options)
	f.rooms = lksdk.NewRoomServiceClient(f.lk.URL, testenv.LiveKitKey, testenv.LiveKitSecret)
	f.egress = lksdk.NewEgressClient(f.lk.URL, testenv.LiveKitKey, testenv.LiveKitSecret)
	f.sip = lksdk.NewSIPClient(f.lk.URL, testenv.LiveKitKey, testenv.LiveKitSecret)
	if p.noRedis {
		return f
	}
	if !p.noRecorder {
		f.startRecorder(t)
	}
	f.bridge(t)
	return f
}

// bridge stands for LiveKit's phone bridge. It has been answered once: the first questions over a new connection may be lost.
func (f *fixture) bridge(t *testing.T) *phone.Bridge {
	t.Helper()
	bridge := phone.New(t, f.lk)
	eventually(t, "LiveKit answers the phone bridge", func() bool {
		_, _, err := bridge.Ask(newNumber(), newNumber(), pin)
		return errors.Is(err, phone.ErrNoAnswer)
	})
	return bridge
}

// another is a fixture for one fact only.
func (f *fixture) another(t *testing.T, p parts) *fixture {
	t.Helper()
	return newFixture(t, f.program, p)
}

func (f *fixture) startRecorder(t *testing.T) {
	t.Helper()
	r, err := recorder.Start(
		recorder.Config{RedisAddress: f.lk.Redis.Address, Folder: f.folder, Log: slog.New(slog.DiscardHandler)},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	r.BehaveIn(func(room string) recorder.Script {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.scripts[room]
	})
	f.recorder = r
}

// newRoom is the name of a room that nobody has.
func newRoom() string { return uuid.NewString() }

// claims change what a token says.
type claims func(*auth.AccessToken, *auth.VideoGrant)

// token signs a token as Usher does: for one room, with every right of a participant who hosts a meeting.
func token(t *testing.T, room, identity string, changes ...claims) string {
	t.Helper()
	grant := &auth.VideoGrant{RoomJoin: true, Room: room}
	grant.SetCanSubscribe(true)
	grant.SetCanPublish(true)
	grant.SetCanPublishData(true)
	grant.SetCanUpdateOwnMetadata(false)
	access := auth.NewAccessToken(testenv.LiveKitKey, testenv.LiveKitSecret).
		SetIdentity(identity).SetName("Ada").SetVideoGrant(grant).SetValidFor(10 * time.Minute)
	for _, change := range changes {
		change(access, grant)
	}
	signed, err := access.ToJWT()
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// join brings somebody into a room.
func (f *fixture) join(t *testing.T, room, identity string, changes ...claims) *participant.Participant {
	t.Helper()
	return participant.Join(t, f.lk.URL, token(t, room, identity, changes...))
}

// ofRoom are the claims with which a room is made.
func ofRoom(c *livekit.RoomConfiguration) claims {
	return func(access *auth.AccessToken, grant *auth.VideoGrant) {
		c.Name = grant.Room
		access.SetRoomConfig(c)
	}
}

// listed is what LiveKit lists of a room; nil for none.
func (f *fixture) listed(t *testing.T, room string) *livekit.Room {
	t.Helper()
	res, err := f.rooms.ListRooms(t.Context(), &livekit.ListRoomsRequest{Names: []string{room}})
	if err != nil {
		t.Fatalf("list rooms: %v", err)
	}
	for _, r := range res.GetRooms() {
		if r.GetName() == room {
			return r
		}
	}
	return nil
}

// person is what LiveKit lists of somebody in a room; nil when they are not there.
func (f *fixture) person(t *testing.T, room, identity string) *livekit.ParticipantInfo {
	t.Helper()
	res, err := f.rooms.ListParticipants(t.Context(), &livekit.ListParticipantsRequest{Room: room})
	if code(err) == twirp.NotFound {
		return nil
	}
	if err != nil {
		t.Fatalf("list participants: %v", err)
	}
	for _, p := range res.GetParticipants() {
		if p.GetIdentity() == identity && p.GetState() != livekit.ParticipantInfo_DISCONNECTED {
			return p
		}
	}
	return nil
}

// track waits until somebody publishes, and returns that track.
func (f *fixture) track(t *testing.T, room, identity string) *livekit.TrackInfo {
	t.Helper()
	eventually(t, identity+" publishes", func() bool { return len(f.person(t, room, identity).GetTracks()) > 0 })
	return f.person(t, room, identity).GetTracks()[0]
}

// mute mutes or unmutes a track.
func (f *fixture) mute(t *testing.T, room, identity, track string, muted bool) error {
	t.Helper()
	_, err := f.rooms.MutePublishedTrack(t.Context(), &livekit.MuteRoomTrackRequest{
		Room: room, Identity: identity, TrackSid: track, Muted: muted,
	})
	return err
}

// permit replaces what somebody may do.
func (f *fixture) permit(t *testing.T, room, identity string, permission *livekit.ParticipantPermission) {
	t.Helper()
	_, err := f.rooms.UpdateParticipant(t.Context(), &livekit.UpdateParticipantRequest{
		Room: room, Identity: identity, Permission: permission,
	})
	if err != nil {
		t.Fatalf("change permissions: %v", err)
	}
}

// hearsNothing waits until nothing comes from identity any more.
func hearsNothing(t *testing.T, p *participant.Participant, identity string) {
	t.Helper()
	eventually(t, p.Identity()+" hears nothing of "+identity, func() bool {
		before := p.Heard(identity)
		time.Sleep(500 * time.Millisecond) // a tenth of a second of sound may still be on its way
		return p.Heard(identity) == before
	})
}

// eventually waits for something that LiveKit does in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, patience, what, ok)
}

func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// code is the code with which LiveKit refused a call; empty for none.
func code(err error) twirp.ErrorCode {
	if te, ok := errors.AsType[twirp.Error](err); ok {
		return te.Code()
	}
	return ""
}

// wantCode fails the test unless LiveKit refused with one of the codes.
func wantCode(t *testing.T, what string, err error, codes ...twirp.ErrorCode) {
	t.Helper()
	for _, c := range codes {
		if code(err) == c {
			return
		}
	}
	t.Errorf("%s: %v, want %v", what, err, codes)
}

// numbers counts the telephone numbers that were given out.
var numbers struct {
	sync.Mutex
	last int
}

// newNumber is a telephone number that nobody has.
func newNumber() string {
	numbers.Lock()
	defer numbers.Unlock()
	numbers.last++
	return "+3312345" + strings.Repeat("0", 4-len(strconv.Itoa(numbers.last))) + strconv.Itoa(numbers.last)
}
