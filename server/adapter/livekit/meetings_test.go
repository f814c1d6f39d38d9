package livekit

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// A room that LiveKit makes when somebody joins has what the token says, from its first moment.
func TestToken_roomIsBornConfigured(t *testing.T) {
	t.Parallel()
	c, server := newClient(t)
	g := newGrant()
	before := time.Now().Add(-time.Second)
	room := join(t, c, g, `{"name":"Analysis"}`, nil)
	if room.Name() != g.Room.String() || room.Metadata() != `{"name":"Analysis"}` {
		t.Errorf("the participant sees room %q with metadata %q", room.Name(), room.Metadata())
	}

	m, err := c.Meeting(t.Context(), g.Room)
	if err != nil {
		t.Fatal(err)
	}
	if m.Room != g.Room || m.Metadata != `{"name":"Analysis"}` || m.SID == "" || m.StartTime.Before(before) || m.StartTime.After(time.Now()) {
		t.Errorf("Meeting: got %+v", m)
	}
	admin := lksdk.NewRoomServiceClient(server.URL, testenv.LiveKitKey, testenv.LiveKitSecret)
	list, err := admin.ListRooms(t.Context(), &livekit.ListRoomsRequest{Names: []string{g.Room.String()}})
	if err != nil || len(list.GetRooms()) != 1 {
		t.Fatalf("ListRooms: %v, %v", list, err)
	}
	r := list.GetRooms()[0]
	got := []uint32{r.GetEmptyTimeout(), r.GetDepartureTimeout(), r.GetMaxParticipants()}
	if diff := cmp.Diff([]uint32{33, 44, 55}, got); diff != "" {
		t.Errorf("empty and departure time-out, max participants (-want +got):\n%s", diff)
	}
}

func TestParticipants(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	g := newGrant()
	join(t, c, g, "", nil)
	listener := newGrant()
	listener.Room, listener.Sources, listener.DisplayName = g.Room, nil, "Grace"
	join(t, c, listener, "", nil)

	list, err := c.Participants(t.Context(), g.Room)
	if err != nil || len(list) != 2 {
		t.Fatalf("Participants: %v, %v", list, err)
	}
	for _, p := range list {
		want := g
		if p.Identity == listener.Identity {
			want = listener
		}
		if p.Identity != want.Identity || p.DisplayName != want.DisplayName || p.SID == "" || time.Since(p.JoinTime).Abs() > time.Minute ||
			!slices.Equal(p.Sources, want.Sources) || !cmp.Equal(p.Attributes, want.Attributes) {
			t.Errorf("participant: got %+v, want it to be like %+v", p, want)
		}
	}
	eventually(t, "Meeting counts two participants", func() bool {
		m, err := c.Meeting(t.Context(), g.Room)
		return err == nil && m.ParticipantCount == 2
	})
	rooms, err := c.LiveRooms(t.Context())
	if err != nil || len(rooms) != 1 || rooms[0] != g.Room {
		t.Errorf("LiveRooms: got %v, %v", rooms, err)
	}
}

func TestCloseRoom_everybodyOut(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	g := newGrant()
	out := make(chan struct{}, 1)
	room := join(t, c, g, "", &lksdk.RoomCallback{OnDisconnected: func() { out <- struct{}{} }})
	if err := c.CloseRoom(t.Context(), g.Room); err != nil {
		t.Fatal(err)
	}
	receive(t, "the end of the connection", out)
	if reason := room.DisconnectReason(); reason != livekit.DisconnectReason_ROOM_DELETED {
		t.Errorf("ended with %v, want %v", reason, livekit.DisconnectReason_ROOM_DELETED)
	}
	eventually(t, "the room to be deleted", func() bool {
		rooms, err := c.LiveRooms(t.Context())
		return err == nil && len(rooms) == 0
	})
	if err := c.CloseRoom(t.Context(), g.Room); err != nil {
		t.Errorf("CloseRoom again: %v", err)
	}
}

// A room that LiveKit lists since it crashed, and that nobody came back to, ends like any other.
func TestCloseRoom_leftByACrash(t *testing.T) {
	t.Parallel()
	server := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t)})
	c := mustNew(t, Config{URL: server.URL, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret})
	g := newGrant()
	room := join(t, c, g, "", nil)
	server.Kill()
	room.Disconnect()
	server.Restart()
	if _, err := c.Meeting(t.Context(), g.Room); err != nil {
		t.Fatalf("the room that was left: %v", err)
	}
	// For some seconds LiveKit believes that the server which had the room is alive.
	eventually(t, "the room can be closed", func() bool { return c.CloseRoom(t.Context(), g.Room) == nil })
	if _, err := c.Meeting(t.Context(), g.Room); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("afterwards: %v, want meeting.ErrNotFound", err)
	}
	if people, err := c.Participants(t.Context(), g.Room); err != nil || len(people) != 0 {
		t.Errorf("afterwards there are %v, %v", people, err)
	}
}

func TestRemoveParticipant_onlyThatOne(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	g, other := newGrant(), newGrant()
	other.Room = g.Room
	out := make(chan lksdk.DisconnectionReason, 1)
	join(t, c, g, "", &lksdk.RoomCallback{OnDisconnectedWithReason: func(r lksdk.DisconnectionReason) { out <- r }})
	join(t, c, other, "", nil)
	if err := c.RemoveParticipant(t.Context(), g.Room, g.Identity); err != nil {
		t.Fatal(err)
	}
	if reason := receive(t, "the end of the connection", out); reason != lksdk.ParticipantRemoved {
		t.Errorf("ended with %v, want %v", reason, lksdk.ParticipantRemoved)
	}
	eventually(t, "only the other is left", func() bool {
		list, err := c.Participants(t.Context(), g.Room)
		return err == nil && len(list) == 1 && list[0].Identity == other.Identity
	})
	if err := c.RemoveParticipant(t.Context(), g.Room, g.Identity); err != nil {
		t.Errorf("RemoveParticipant again: %v", err)
	}
}

// A demotion is felt by the participant: the track that is no longer allowed ends, and a new one is refused.
func TestUpdateParticipant_seenByTheParticipant(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	g := newGrant()
	unpublished := make(chan string, 1)
	changed := make(chan map[string]string, 8)
	room := join(t, c, g, "", &lksdk.RoomCallback{ParticipantCallback: lksdk.ParticipantCallback{
		OnLocalTrackUnpublished: func(p *lksdk.LocalTrackPublication, _ *lksdk.LocalParticipant) { unpublished <- p.Name() },
		OnAttributesChanged:     func(diff map[string]string, _ lksdk.Participant) { changed <- diff },
	}})
	if _, err := room.LocalParticipant.PublishTrack(audio(t), &lksdk.TrackPublicationOptions{
		Name: "voice", Source: livekit.TrackSource_MICROPHONE,
	}); err != nil {
		t.Fatal(err)
	}

	// Everything else must still be there afterwards.
	g.Sources, g.DisplayName, g.Attributes = nil, "", map[string]string{"room_role": "NONE"}
	if err := c.UpdateParticipant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if name := receive(t, "the end of the track", unpublished); name != "voice" {
		t.Errorf("track %q ended, want voice", name)
	}
	// The first news are the attributes that they came with.
	for receive(t, "the new role", changed)["room_role"] != "NONE" {
	}
	p := room.LocalParticipant.Permissions()
	if p.GetCanPublish() || !p.GetCanSubscribe() || !p.GetCanPublishData() || p.GetCanUpdateMetadata() || p.GetHidden() {
		t.Errorf("permissions: got %v, want to subscribe and publish data only", p)
	}
	list, err := c.Participants(t.Context(), g.Room)
	if err != nil || len(list) != 1 {
		t.Fatalf("Participants: %v, %v", list, err)
	}
	wantAttributes := map[string]string{"room_role": "NONE", "color": "hsl(1, 50%, 50%)"}
	if list[0].DisplayName != "Ada" || len(list[0].Sources) != 0 || !cmp.Equal(list[0].Attributes, wantAttributes) {
		t.Errorf("after the demotion: got %+v", list[0])
	}

	// And back, with a name and other sources.
	g.DisplayName = "Ada Lovelace"
	g.Sources = []usherv1.TrackSource{usherv1.TrackSource_TRACK_SOURCE_CAMERA, usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE}
	if err := c.UpdateParticipant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new name and sources are in place", func() bool {
		list, err := c.Participants(t.Context(), g.Room)
		return err == nil && len(list) == 1 && list[0].DisplayName == "Ada Lovelace" && slices.Equal(list[0].Sources, g.Sources)
	})
}

// LiveKit takes a longer name in a token than in a change: who has one is changed without naming it.
func TestUpdateParticipant_longName(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	g := newGrant()
	g.DisplayName = strings.Repeat("漢", 100)
	join(t, c, g, "", nil)
	if err := c.UpdateParticipant(t.Context(), g); !errors.Is(err, meeting.ErrUnavailable) {
		t.Errorf("UpdateParticipant with a name of %d bytes: got %v", len(g.DisplayName), err)
	}
	name := g.DisplayName
	g.DisplayName, g.Sources = "", nil
	if err := c.UpdateParticipant(t.Context(), g); err != nil {
		t.Errorf("UpdateParticipant without a name: %v", err)
	}
	list, err := c.Participants(t.Context(), g.Room)
	if err != nil || len(list) != 1 || list[0].DisplayName != name || len(list[0].Sources) != 0 {
		t.Errorf("afterwards: %+v, %v", list, err)
	}
}

func TestSetRoomMetadata_seenByTheParticipant(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	g := newGrant()
	changed := make(chan string, 1)
	join(t, c, g, "before", &lksdk.RoomCallback{OnRoomMetadataChanged: func(m string) { changed <- m }})
	if err := c.SetRoomMetadata(t.Context(), g.Room, "after"); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, "the new metadata", changed); got != "after" {
		t.Errorf("metadata: got %q, want %q", got, "after")
	}
	if m, err := c.Meeting(t.Context(), g.Room); err != nil || m.Metadata != "after" {
		t.Errorf("Meeting: got %+v, %v", m, err)
	}
}

func TestSendData_noMeeting(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	if err := c.SendData(t.Context(), newGrant().Room, []string{"p_test-nobody"}, "usher", nil); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("got %v, want meeting.ErrNotFound", err)
	}
}

func audio(t *testing.T) *lksdk.LocalTrack {
	t.Helper()
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	return track
}

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("not within 20 s: %s", what)
	}
	panic("unreachable")
}

// Muting, hands and subscriptions, as LiveKit itself shows them.
func TestParticipants_moderated(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	g := newGrant()
	g.NoSubscribe = true
	room := join(t, c, g, "", nil)
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Source: livekit.TrackSource_MICROPHONE}); err != nil {
		t.Fatal(err)
	}
	only := func() meeting.Participant {
		t.Helper()
		list, err := c.Participants(t.Context(), g.Room)
		if err != nil || len(list) != 1 {
			t.Fatalf("Participants: %v, %v", list, err)
		}
		return list[0]
	}
	eventually(t, "the track is there", func() bool { return len(only().Tracks) == 1 })
	p := only()
	want := meeting.Track{SID: p.Tracks[0].SID, Source: usherv1.TrackSource_TRACK_SOURCE_MICROPHONE}
	if p.Tracks[0] != want || !p.NoSubscribe || p.Kind != usherv1.ParticipantKind_PARTICIPANT_KIND_WEB {
		t.Errorf("before: %+v", p)
	}
	if err := c.MuteTrack(t.Context(), g.Room, g.Identity, want.SID); err != nil {
		t.Fatal(err)
	}
	if err := c.EditParticipant(t.Context(), g.Room, g.Identity, map[string]string{"hand": "up"}); err != nil {
		t.Fatal(err)
	}
	p = only()
	if !p.Tracks[0].Muted || p.Attributes["hand"] != "up" || p.Attributes["color"] == "" || p.DisplayName != g.DisplayName ||
		!p.NoSubscribe || !slices.Equal(p.Sources, g.Sources) {
		t.Errorf("after: %+v", p)
	}
	if err := c.EditParticipant(t.Context(), g.Room, g.Identity, map[string]string{"hand": ""}); err != nil {
		t.Fatal(err)
	}
	if p := only(); p.Attributes["hand"] != "" {
		t.Errorf("attribute that was taken away: %v", p.Attributes)
	}
	g.NoSubscribe = false
	if err := c.UpdateParticipant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if only().NoSubscribe {
		t.Error("still without subscription")
	}
	if err := c.MuteTrack(t.Context(), g.Room, "p_test-nobody", want.SID); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("MuteTrack of nobody: %v, want meeting.ErrNotFound", err)
	}
	if err := c.EditParticipant(t.Context(), g.Room, "p_test-nobody", nil); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("EditParticipant of nobody: %v, want meeting.ErrNotFound", err)
	}
}
