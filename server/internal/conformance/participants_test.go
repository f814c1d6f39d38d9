//go:build conformance

package conformance

import (
	"maps"
	"strings"
	"testing"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/internal/testenv/participant"
)

var participantFacts = []fact{
	{
		"Who is in a room is listed with name, attributes, permissions, kind, sid and tracks, and a room that is not there has nobody",
		"decides by that list who must leave, and what others may do", peopleListed,
	},
	{
		"New permissions replace all of before: what is left out is taken away",
		"names every permission with each change", permissionsReplaced,
	},
	{
		"Attributes are added to those that somebody has, an empty one is taken away, and name and permissions stay when left out",
		"changes roles, hands and names one by one", attributesMerged,
	},
	{
		"Without sources in a token or a permission everything may be published",
		"takes the right to publish away where no source is left", sourcesOfNobody,
	},
	{
		"Who may publish a microphone only cannot publish a camera, and who may publish nothing cannot publish",
		"what may be published is decided in the token and nowhere else", publishingRefused,
	},
	{
		"Tracks that are not allowed any more end, and do not come back when they are allowed again",
		"never takes the right to publish from somebody on the phone", tracksEnd,
	},
	{
		"Who may not subscribe hears nobody, and hears again when they may",
		"holds callers so, and people whom hosts restrict", subscriptionsStop,
	},
	{
		"A participant without canUpdateOwnMetadata changes neither their name nor their attributes",
		"shows roles as attributes, and names as hosts set them", ownMetadata,
	},
	{
		"A name of more than 256 bytes is taken in a token and refused in a change",
		"cuts new names, and changes who has such a name without naming it", longName,
	},
}

func peopleListed(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada", func(access *auth.AccessToken, grant *auth.VideoGrant) {
		access.SetAttributes(map[string]string{"room_role": "OWNER"})
		grant.SetCanPublishSources([]livekit.TrackSource{livekit.TrackSource_MICROPHONE})
	})
	ada.Speak()
	track := f.track(t, room, "ada")
	p := f.person(t, room, "ada")
	permission := p.GetPermission()
	if p.GetName() != "Ada" || !maps.Equal(p.GetAttributes(), map[string]string{"room_role": "OWNER"}) || p.GetSid() == "" ||
		p.GetKind() != livekit.ParticipantInfo_STANDARD || p.GetJoinedAtMs() == 0 || !permission.GetCanSubscribe() ||
		!permission.GetCanPublish() || len(permission.GetCanPublishSources()) != 1 || permission.GetCanUpdateMetadata() {
		t.Errorf("listed: %v", p)
	}
	if track.GetSource() != livekit.TrackSource_MICROPHONE || track.GetMuted() || track.GetSid() == "" {
		t.Errorf("track: %v", track)
	}
	if p := f.person(t, newRoom(), "ada"); p != nil {
		t.Errorf("in a room that is not there: %v", p)
	}
}

func permissionsReplaced(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada")
	f.permit(t, room, "ada", &livekit.ParticipantPermission{CanSubscribe: true})
	p := f.person(t, room, "ada").GetPermission()
	if !p.GetCanSubscribe() || p.GetCanPublish() || p.GetCanPublishData() {
		t.Errorf("listed: %v, want to subscribe only", p)
	}
	eventually(t, "Ada knows", func() bool {
		p := ada.Room.LocalParticipant.Permissions()
		return p.GetCanSubscribe() && !p.GetCanPublish() && !p.GetCanPublishData()
	})
}

func attributesMerged(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada", func(access *auth.AccessToken, _ *auth.VideoGrant) {
		access.SetAttributes(map[string]string{"room_role": "MEMBER", "color": "red", "hand": "up"})
	})
	before := f.person(t, room, "ada").GetPermission()
	_, err := f.rooms.UpdateParticipant(t.Context(), &livekit.UpdateParticipantRequest{
		Room: room, Identity: "ada", Attributes: map[string]string{"room_role": "OWNER", "hand": ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	is := func(got map[string]string) bool {
		return got["room_role"] == "OWNER" && got["color"] == "red" && got["hand"] == ""
	}
	p := f.person(t, room, "ada")
	if !is(p.GetAttributes()) || p.GetName() != "Ada" || p.GetPermission().String() != before.String() {
		t.Errorf("listed: %v, and before it had %v", p, before)
	}
	eventually(t, "Ada sees it", func() bool { return is(ada.Room.LocalParticipant.Attributes()) })
}

// publish has somebody publish a track of a source, which LiveKit may refuse.
func publish(p *participant.Participant, source livekit.TrackSource) error {
	kind := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	if source == livekit.TrackSource_CAMERA {
		kind = webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}
	}
	track, err := lksdk.NewLocalTrack(kind)
	if err != nil {
		return err
	}
	_, err = p.Room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: "test", Source: source})
	return err
}

func sourcesOfNobody(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada", func(_ *auth.AccessToken, grant *auth.VideoGrant) { grant.SetCanPublishSources(nil) })
	grace := f.join(t, room, "grace", func(_ *auth.AccessToken, grant *auth.VideoGrant) {
		grant.SetCanPublishSources([]livekit.TrackSource{livekit.TrackSource_MICROPHONE})
	})
	f.permit(t, room, "grace", &livekit.ParticipantPermission{CanPublish: true, CanSubscribe: true})
	eventually(t, "Grace knows", func() bool { return len(grace.Room.LocalParticipant.Permissions().GetCanPublishSources()) == 0 })
	for _, p := range []*participant.Participant{ada, grace} {
		if err := publish(p, livekit.TrackSource_CAMERA); err != nil {
			t.Errorf("%s publishes a camera: %v", p.Identity(), err)
		}
	}
}

func publishingRefused(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada", func(_ *auth.AccessToken, grant *auth.VideoGrant) {
		grant.SetCanPublishSources([]livekit.TrackSource{livekit.TrackSource_MICROPHONE})
	})
	grace := f.join(t, room, "grace", func(_ *auth.AccessToken, grant *auth.VideoGrant) { grant.SetCanPublish(false) })
	refused := make(chan error)
	go func() { refused <- publish(ada, livekit.TrackSource_CAMERA) }()
	go func() { refused <- publish(grace, livekit.TrackSource_MICROPHONE) }()
	for range 2 {
		if err := <-refused; err == nil {
			t.Error("one of the two publishes")
		}
	}
	if a, g := f.person(t, room, "ada").GetTracks(), f.person(t, room, "grace").GetTracks(); len(a)+len(g) != 0 {
		t.Errorf("published by Ada: %v, by Grace: %v", a, g)
	}
	if err := publish(ada, livekit.TrackSource_MICROPHONE); err != nil {
		t.Errorf("Ada publishes a microphone: %v", err)
	}
}

func tracksEnd(t *testing.T, f *fixture) {
	room := newRoom()
	ada, grace := f.join(t, room, "ada"), f.join(t, room, "grace")
	ada.Speak()
	grace.Hears("ada")
	f.permit(t, room, "ada", &livekit.ParticipantPermission{CanSubscribe: true, CanPublishData: true})
	eventually(t, "the track ends", func() bool { return len(f.person(t, room, "ada").GetTracks()) == 0 })
	f.permit(t, room, "ada", &livekit.ParticipantPermission{CanSubscribe: true, CanPublishData: true, CanPublish: true})
	hearsNothing(t, grace, "ada")
	if got := f.person(t, room, "ada").GetTracks(); len(got) != 0 {
		t.Errorf("tracks: %v", got)
	}
}

func subscriptionsStop(t *testing.T, f *fixture) {
	room := newRoom()
	ada, grace := f.join(t, room, "ada"), f.join(t, room, "grace")
	ada.Speak()
	grace.Hears("ada")
	f.permit(t, room, "grace", &livekit.ParticipantPermission{CanPublish: true})
	hearsNothing(t, grace, "ada")
	f.permit(t, room, "grace", &livekit.ParticipantPermission{CanPublish: true, CanSubscribe: true})
	grace.Hears("ada")
}

func ownMetadata(t *testing.T, f *fixture) {
	room := newRoom()
	ada, grace := f.join(t, room, "ada"), f.join(t, room, "grace")
	ada.Room.LocalParticipant.SetName("Owner")
	ada.Room.LocalParticipant.SetAttributes(map[string]string{"room_role": "OWNER"})
	ada.Speak() // LiveKit has read what came before by the time that she is heard
	grace.Hears("ada")
	p := f.person(t, room, "ada")
	if seen := grace.Room.GetParticipantByIdentity("ada"); p.GetName() != "Ada" || len(p.GetAttributes()) != 0 ||
		seen.Name() != "Ada" || len(seen.Attributes()) != 0 {
		t.Errorf("listed: %v; seen by others: %s, %v", p, seen.Name(), seen.Attributes())
	}
}

func longName(t *testing.T, f *fixture) {
	room, long := newRoom(), strings.Repeat("漢", 100)
	f.join(t, room, "ada", func(access *auth.AccessToken, _ *auth.VideoGrant) { access.SetName(long) })
	if got := f.person(t, room, "ada").GetName(); got != long {
		t.Errorf("the name is %q", got)
	}
	rename := func(name string) error {
		_, err := f.rooms.UpdateParticipant(t.Context(), &livekit.UpdateParticipantRequest{Room: room, Identity: "ada", Name: name})
		return err
	}
	wantCode(t, "a name of 257 bytes", rename(strings.Repeat("a", 257)), twirp.InvalidArgument)
	if err := rename(strings.Repeat("a", 256)); err != nil {
		t.Errorf("a name of 256 bytes: %v", err)
	}
}
