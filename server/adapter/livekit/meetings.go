package livekit

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/text"
)

// Meeting asks LiveKit about one room now. It fails with meeting.ErrNotFound when the room has no meeting. LiveKit brings
// the number of participants up to date every 5 s only.
func (c *Client) Meeting(ctx context.Context, room uuid.UUID) (*meeting.Meeting, error) {
	rooms, err := c.listRooms(ctx, room.String())
	if err != nil {
		return nil, err
	}
	if len(rooms) == 0 {
		return nil, meeting.ErrNotFound
	}
	m := meetingOf(room, rooms[0])
	return &m, nil
}

func meetingOf(id uuid.UUID, r *livekit.Room) meeting.Meeting {
	return meeting.Meeting{
		Room: id, SID: r.GetSid(), StartTime: startTime(r), ParticipantCount: int(r.GetNumParticipants()),
		Metadata: r.GetMetadata(),
	}
}

// LiveRooms are the rooms of this Usher, by their name, that have a meeting now. Others that use the same LiveKit are left
// out.
func (c *Client) LiveRooms(ctx context.Context) ([]uuid.UUID, error) {
	meetings, err := c.LiveMeetings(ctx)
	ids := make([]uuid.UUID, 0, len(meetings))
	for _, m := range meetings {
		ids = append(ids, m.Room)
	}
	return ids, err
}

// LiveMeetings are the meetings of this Usher's rooms that go on now.
func (c *Client) LiveMeetings(ctx context.Context) ([]meeting.Meeting, error) {
	rooms, err := c.listRooms(ctx)
	if err != nil {
		return nil, err
	}
	meetings := make([]meeting.Meeting, 0, len(rooms))
	for _, r := range rooms {
		if id, ok := roomID(r.GetName()); ok {
			meetings = append(meetings, meetingOf(id, r))
		}
	}
	return meetings, nil
}

// Participants are those who are in a room now, recorders and phone callers included: none when it has no meeting.
func (c *Client) Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error) {
	var res *livekit.ListParticipantsResponse
	err := c.call(ctx, "list participants", admin(room), func(ctx context.Context) (err error) {
		res, err = c.rooms.ListParticipants(ctx, &livekit.ListParticipantsRequest{Room: room.String()})
		return err
	})
	if err != nil {
		return nil, ignoreNotFound(err)
	}
	list := make([]meeting.Participant, 0, len(res.GetParticipants()))
	for _, p := range res.GetParticipants() {
		if p.GetState() == livekit.ParticipantInfo_DISCONNECTED {
			continue
		}
		list = append(list, participant(p))
	}
	return list, nil
}

// CloseRoom ends a meeting for everybody. That there is none is success. A token that was signed before can open the room
// again while it is good for connecting.
func (c *Client) CloseRoom(ctx context.Context, room uuid.UUID) error {
	err := c.deleteRoom(ctx, room)
	if !errors.Is(err, meeting.ErrUnavailable) {
		return ignoreNotFound(err)
	}
	// That is also what LiveKit says, for ever, of a room that it has had since it crashed, and that nobody came back to. Such
	// a room goes on when it is created again, and can be deleted then.
	if _, listErr := c.Meeting(ctx, room); listErr != nil {
		if errors.Is(listErr, meeting.ErrNotFound) {
			return nil // deleted, and only the answer was lost
		}
		return err
	}
	createErr := c.call(ctx, "create room again", &auth.VideoGrant{RoomCreate: true}, func(ctx context.Context) error {
		_, err := c.rooms.CreateRoom(ctx, &livekit.CreateRoomRequest{Name: room.String()})
		return err
	})
	if createErr != nil {
		return err
	}
	return ignoreNotFound(c.deleteRoom(ctx, room))
}

// deleteRoom fails with meeting.ErrNotFound when the room has no meeting.
func (c *Client) deleteRoom(ctx context.Context, room uuid.UUID) error {
	return c.call(ctx, "delete room", &auth.VideoGrant{RoomCreate: true}, func(ctx context.Context) error {
		_, err := c.rooms.DeleteRoom(ctx, &livekit.DeleteRoomRequest{Room: room.String()})
		return err
	})
}

// RemoveParticipant ends the connection of one participant. That they are not there is success. LiveKit lets them come
// back while their token is good for connecting. Somebody on the phone who is still connecting is held until they are
// connected, for a second and a half at most.
func (c *Client) RemoveParticipant(ctx context.Context, room uuid.UUID, identity string) error {
	if meeting.IsCallerIdentity(identity) {
		c.awaitCaller(ctx, room, identity)
	}
	return ignoreNotFound(c.call(ctx, "remove participant", admin(room), func(ctx context.Context) error {
		_, err := c.rooms.RemoveParticipant(ctx, &livekit.RoomParticipantIdentity{Room: room.String(), Identity: identity})
		return err
	}))
}

// UpdateParticipant makes a live participant's permissions those of g, adds its attributes to those they have, and renames
// them unless the name is empty. Tracks that they may no longer publish are ended by LiveKit. It fails with
// meeting.ErrNotFound when they are not there.
func (c *Client) UpdateParticipant(ctx context.Context, g meeting.Grant) error {
	allowed := sources(g.Sources)
	return c.call(ctx, "update participant", admin(g.Room), func(ctx context.Context) error {
		_, err := c.rooms.UpdateParticipant(ctx, &livekit.UpdateParticipantRequest{
			Room: g.Room.String(), Identity: g.Identity, Name: g.DisplayName, Attributes: g.Attributes,
			// LiveKit replaces the whole set: what is left out is taken away.
			Permission: &livekit.ParticipantPermission{
				CanSubscribe: !g.NoSubscribe, CanPublishData: true,
				CanPublish: len(allowed) > 0, CanPublishSources: allowed,
			},
		})
		return err
	})
}

// EditParticipant adds attributes to those of a live participant, and leaves name and permissions as they are. An attribute
// that is set to "" is taken away. It fails with meeting.ErrNotFound when they are not there.
func (c *Client) EditParticipant(ctx context.Context, room uuid.UUID, identity string, attributes map[string]string) error {
	return c.call(ctx, "edit participant", admin(room), func(ctx context.Context) error {
		_, err := c.rooms.UpdateParticipant(ctx, &livekit.UpdateParticipantRequest{
			Room: room.String(), Identity: identity, Attributes: attributes,
		})
		return err
	})
}

// MuteTrack mutes a track of a live participant, who may unmute it again. It fails with meeting.ErrNotFound when they are
// not there; that they have no such track LiveKit takes as success.
func (c *Client) MuteTrack(ctx context.Context, room uuid.UUID, identity, sid string) error {
	err := c.call(ctx, "mute track", admin(room), func(ctx context.Context) error {
		_, err := c.rooms.MutePublishedTrack(ctx, &livekit.MuteRoomTrackRequest{
			Room: room.String(), Identity: identity, TrackSid: sid, Muted: true,
		})
		return err
	})
	if !errors.Is(err, meeting.ErrUnavailable) {
		return err
	}
	// That is also what LiveKit says, after some seconds, of somebody who is not there.
	people, listErr := c.Participants(ctx, room)
	if listErr == nil && !slices.ContainsFunc(people, func(p meeting.Participant) bool { return p.Identity == identity }) {
		return meeting.ErrNotFound
	}
	return err
}

// SetRoomMetadata replaces the metadata of a live room. It fails with meeting.ErrNotFound when the room has no meeting.
func (c *Client) SetRoomMetadata(ctx context.Context, room uuid.UUID, metadata string) error {
	return c.call(ctx, "update room metadata", admin(room), func(ctx context.Context) error {
		_, err := c.rooms.UpdateRoomMetadata(ctx, &livekit.UpdateRoomMetadataRequest{Room: room.String(), Metadata: metadata})
		return err
	})
}

// Ping reports whether LiveKit answers and takes our key.
func (c *Client) Ping(ctx context.Context) error {
	// A name that no room has: the answer is empty however many rooms there are.
	_, err := c.listRooms(ctx, uuid.Nil.String())
	return err
}

// listRooms lists the named rooms that are live, or all without names.
func (c *Client) listRooms(ctx context.Context, names ...string) ([]*livekit.Room, error) {
	var res *livekit.ListRoomsResponse
	err := c.call(ctx, "list rooms", &auth.VideoGrant{RoomList: true}, func(ctx context.Context) (err error) {
		res, err = c.rooms.ListRooms(ctx, &livekit.ListRoomsRequest{Names: names})
		return err
	})
	return res.GetRooms(), err
}

// admin is the grant that calls about the inside of a room need. No participant ever gets it.
func admin(room uuid.UUID) *auth.VideoGrant {
	return &auth.VideoGrant{RoomAdmin: true, Room: room.String()}
}

// participant puts LiveKit's description of somebody in the terms of server/meeting.
func participant(p *livekit.ParticipantInfo) meeting.Participant {
	return meeting.Participant{
		Identity: p.GetIdentity(), SID: p.GetSid(), DisplayName: text.MakeStorable(p.GetName()), Attributes: p.GetAttributes(),
		Sources: granted(p.GetPermission()), NoSubscribe: !p.GetPermission().GetCanSubscribe(),
		JoinTime: milliseconds(p.GetJoinedAtMs(), p.GetJoinedAt()), Kind: kind(p.GetKind()), Tracks: tracks(p.GetTracks()),
	}
}

// roomID is the id of the room that LiveKit knows by that name. Only the one spelling that we use counts: another program's
// room must not be taken for ours.
func roomID(name string) (uuid.UUID, bool) {
	id, err := uuid.Parse(name)
	return id, err == nil && id.String() == name
}

// kind says how somebody takes part.
func kind(k livekit.ParticipantInfo_Kind) usherv1.ParticipantKind {
	switch k {
	case livekit.ParticipantInfo_SIP:
		return usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE
	case livekit.ParticipantInfo_EGRESS:
		return usherv1.ParticipantKind_PARTICIPANT_KIND_RECORDER
	case livekit.ParticipantInfo_AGENT:
		return usherv1.ParticipantKind_PARTICIPANT_KIND_AGENT
	default:
		return usherv1.ParticipantKind_PARTICIPANT_KIND_WEB
	}
}

func tracks(list []*livekit.TrackInfo) []meeting.Track {
	out := make([]meeting.Track, 0, len(list))
	for _, t := range list {
		track := meeting.Track{SID: t.GetSid(), Muted: t.GetMuted()}
		for ours, theirs := range trackSources {
			if theirs == t.GetSource() {
				track.Source = ours
			}
		}
		out = append(out, track)
	}
	return out
}

func startTime(r *livekit.Room) time.Time {
	return milliseconds(r.GetCreationTimeMs(), r.GetCreationTime())
}

// milliseconds reads a time that older versions of LiveKit give in whole seconds only.
func milliseconds(ms, seconds int64) time.Time {
	if ms == 0 {
		ms = seconds * 1000
	}
	return time.UnixMilli(ms).UTC()
}
