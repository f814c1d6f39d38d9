package livekit

import (
	"fmt"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
)

// Token signs a LiveKit token that lets somebody into one room with the least that g needs. Should LiveKit make the room
// because of it, the room is born with the given metadata and the configured time-outs and limit.
//
// Whoever holds the token may use it as often as they like until expire, and LiveKit renews it while they stay.
func (c *Client) Token(g meeting.Grant, metadata string) (token string, expire time.Time, err error) {
	// Read before signing, so that it is never later than what the token says.
	expire = time.Now().Add(c.config.TokenLife).Truncate(time.Second)
	video := &auth.VideoGrant{RoomJoin: true, Room: g.Room.String()}
	video.SetCanSubscribe(!g.NoSubscribe)
	video.SetCanPublishData(true)
	// Off by default, said all the same: participants must not rewrite the attributes that show their role.
	video.SetCanUpdateOwnMetadata(false)
	// An empty list of sources would allow all of them.
	allowed := sources(g.Sources)
	video.SetCanPublish(len(allowed) > 0)
	video.SetCanPublishSources(allowed)
	token, err = auth.NewAccessToken(c.config.Key, c.config.Secret).
		SetIdentity(g.Identity).SetName(g.DisplayName).SetAttributes(g.Attributes).SetVideoGrant(video).
		SetRoomConfig(c.roomConfiguration(g, metadata)).SetValidFor(c.config.TokenLife).ToJWT()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign LiveKit token: %w", err)
	}
	return token, expire, nil
}

func (c *Client) roomConfiguration(g meeting.Grant, metadata string) *livekit.RoomConfiguration {
	return &livekit.RoomConfiguration{
		Name:             g.Room.String(),
		Metadata:         metadata,
		EmptyTimeout:     wholeSeconds(c.config.EmptyTimeout),
		DepartureTimeout: wholeSeconds(c.config.DepartureTimeout),
		MaxParticipants:  uint32(max(0, c.config.MaxParticipants)), //nolint:gosec // a setting, far below the limit
	}
}

func wholeSeconds(d time.Duration) uint32 {
	return uint32(max(0, d/time.Second)) //nolint:gosec // a setting, far below the limit
}

// trackSources pairs the sources of the contract with LiveKit's.
var trackSources = map[usherv1.TrackSource]livekit.TrackSource{
	usherv1.TrackSource_TRACK_SOURCE_CAMERA:             livekit.TrackSource_CAMERA,
	usherv1.TrackSource_TRACK_SOURCE_MICROPHONE:         livekit.TrackSource_MICROPHONE,
	usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE:       livekit.TrackSource_SCREEN_SHARE,
	usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE_AUDIO: livekit.TrackSource_SCREEN_SHARE_AUDIO,
}

// sources translates to LiveKit. What it does not know is left out, so look at the outcome to see whether anything is left.
func sources(list []usherv1.TrackSource) []livekit.TrackSource {
	out := make([]livekit.TrackSource, 0, len(list))
	for _, s := range list {
		if t, ok := trackSources[s]; ok {
			out = append(out, t)
		}
	}
	return out
}

// granted reads a live permission back.
func granted(p *livekit.ParticipantPermission) []usherv1.TrackSource {
	if !p.GetCanPublish() {
		return nil
	}
	allowed := make(map[livekit.TrackSource]bool, len(p.GetCanPublishSources()))
	for _, s := range p.GetCanPublishSources() {
		allowed[s] = true
	}
	var out []usherv1.TrackSource
	for s := usherv1.TrackSource_TRACK_SOURCE_CAMERA; s <= usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE_AUDIO; s++ {
		// No sources means all of them to LiveKit.
		if len(allowed) == 0 || allowed[trackSources[s]] {
			out = append(out, s)
		}
	}
	return out
}
