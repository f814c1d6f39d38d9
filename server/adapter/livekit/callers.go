package livekit

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/livekit/protocol/livekit"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
)

// HoldCaller has somebody on the phone hear nothing, and shows that they wait. They can still be heard: mute the tracks of
// the participant that is returned, and each that they publish afterwards. It fails with meeting.ErrNotFound when they are
// not there.
func (c *Client) HoldCaller(ctx context.Context, room uuid.UUID, identity string) (meeting.Participant, error) {
	return c.setCaller(ctx, room, identity, meeting.LobbyWaiting, &livekit.ParticipantPermission{
		// Never false: the phone bridge publishes once, and would be mute for the rest of the call.
		CanPublish: true,
		// Others would get the digits that they type.
		CanPublishData: false,
		CanSubscribe:   false,
		// The bridge writes the state of the call.
		CanUpdateMetadata: true,
	})
}

// AdmitCaller has somebody on the phone hear the meeting, and shows that they were let in. Their tracks stay as they are:
// see [Client.UnmuteCaller]. It fails with meeting.ErrNotFound when they are not there.
func (c *Client) AdmitCaller(ctx context.Context, room uuid.UUID, identity string) (meeting.Participant, error) {
	return c.setCaller(ctx, room, identity, meeting.LobbyAdmitted, &livekit.ParticipantPermission{
		CanPublish: true, CanPublishData: true, CanSubscribe: true, CanUpdateMetadata: true,
	})
}

const (
	// connectWait is how long somebody on the phone may take to connect before they are removed all the same, and
	// connectPoll how often LiveKit is asked whether they are.
	connectWait, connectPoll = 1500 * time.Millisecond, 50 * time.Millisecond
)

// awaitCaller waits for somebody on the phone who is to be removed while they are still connecting, and holds them
// meanwhile. LiveKit's phone bridge does not notice that it was removed until it has connected: the caller would hear
// silence until it gives up, for 5 to 10 s. Errors are left to the removal, which meets them again.
func (c *Client) awaitCaller(ctx context.Context, room uuid.UUID, identity string) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	tick := time.NewTicker(connectPoll)
	defer tick.Stop()
	held := false
	for {
		p, err := c.caller(ctx, room, identity)
		if err != nil || p.GetState() == livekit.ParticipantInfo_ACTIVE || p.GetState() == livekit.ParticipantInfo_DISCONNECTED {
			return
		}
		if !held {
			_, err := c.HoldCaller(ctx, room, identity)
			held = err == nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// caller is one participant as LiveKit has them now.
func (c *Client) caller(ctx context.Context, room uuid.UUID, identity string) (p *livekit.ParticipantInfo, err error) {
	err = c.call(ctx, "look at a caller", admin(room), func(ctx context.Context) error {
		p, err = c.rooms.GetParticipant(ctx, &livekit.RoomParticipantIdentity{Room: room.String(), Identity: identity})
		return err
	})
	return p, err
}

// setCaller replaces all permissions: LiveKit takes away what is left out.
func (c *Client) setCaller(
	ctx context.Context, room uuid.UUID, identity, lobby string, permission *livekit.ParticipantPermission,
) (meeting.Participant, error) {
	var res *livekit.ParticipantInfo
	err := c.call(ctx, "set caller "+lobby, admin(room), func(ctx context.Context) (err error) {
		res, err = c.rooms.UpdateParticipant(ctx, &livekit.UpdateParticipantRequest{
			Room: room.String(), Identity: identity, Permission: permission,
			Attributes: map[string]string{meeting.AttributeLobby: lobby},
		})
		return err
	})
	if err != nil {
		return meeting.Participant{}, err
	}
	return participant(res), nil
}

// UnmuteCaller unmutes a track of somebody on the phone, and of nobody else: only the phone bridge does not unmute itself.
// LiveKit refuses it, which is meeting.ErrUnavailable, unless room.enable_remote_unmute is on.
func (c *Client) UnmuteCaller(ctx context.Context, room uuid.UUID, p meeting.Participant, sid string) error {
	if p.Kind != usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE {
		return fmt.Errorf("unmute %s, who is not on the phone", p.Identity)
	}
	return c.call(ctx, "unmute caller", admin(room), func(ctx context.Context) error {
		_, err := c.rooms.MutePublishedTrack(ctx, &livekit.MuteRoomTrackRequest{
			Room: room.String(), Identity: p.Identity, TrackSid: sid, Muted: false,
		})
		return err
	})
}
