package participants

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
)

// mute mutes one track of somebody, or every microphone.
func (s *Service) mute(ctx context.Context, req *usherv1.MuteParticipantRequest) error {
	asParticipant := auth.FromContext(ctx).Kind == auth.Participant
	find := s.hosted
	if asParticipant {
		find = s.mutedByAll
	}
	a, err := find(ctx, req.GetRoom())
	if err != nil {
		return err
	}
	p, err := s.find(ctx, a.Room.ID, req.GetParticipantIdentity())
	if err != nil {
		return err
	}
	if asParticipant {
		if _, err := s.find(ctx, a.Room.ID, auth.FromContext(ctx).Participant.Identity); err != nil {
			return err
		}
		if err := mayBeMutedByAll(p, req.GetTrackSid()); err != nil {
			return err
		}
	}
	_, err = s.muteTracks(ctx, a.Room.ID, p, req.GetTrackSid())
	return err
}

// mayBeMutedByAll refuses what only hosts may mute: whoever cannot unmute themselves, hosts, and what is no microphone.
func mayBeMutedByAll(p meeting.Participant, sid string) error {
	other := func(t meeting.Track) bool {
		return t.SID == sid && t.Source != usherv1.TrackSource_TRACK_SOURCE_MICROPHONE
	}
	switch {
	case roleOf(p) >= usherv1.Role_ROLE_ADMINISTRATOR:
		return auth.ErrNotPermitted.Saying("hosts are muted by hosts only")
	case p.Kind == usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE:
		return auth.ErrNotPermitted.Saying("people on the phone are muted by hosts only: they cannot unmute themselves")
	case slices.ContainsFunc(p.Tracks, other):
		return auth.ErrNotPermitted.Saying("cameras and screens are muted by hosts only")
	}
	return nil
}

// unmute unmutes the microphone of somebody on the phone.
func (s *Service) unmute(ctx context.Context, req *usherv1.UnmuteParticipantRequest) error {
	a, err := s.hosted(ctx, req.GetRoom())
	if err != nil {
		return err
	}
	p, err := s.find(ctx, a.Room.ID, req.GetParticipantIdentity())
	switch {
	case err != nil:
		return err
	case p.Kind != usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE:
		return auth.ErrNotPermitted.Saying("only people on the phone are unmuted by others")
	case p.NoSubscribe || p.Attributes[meeting.AttributeLobby] == meeting.LobbyWaiting:
		return auth.ErrNotPermitted.Saying("they wait to be let in")
	}
	for _, track := range p.Tracks {
		if track.Source != usherv1.TrackSource_TRACK_SOURCE_MICROPHONE || !track.Muted {
			continue
		}
		err := s.LiveKit.UnmuteCaller(ctx, a.Room.ID, p, track.SID)
		switch {
		case errors.Is(err, meeting.ErrNotFound):
			return ErrNotFound
		case err != nil:
			return errNotUnmuted.Because(err)
		}
	}
	return nil
}

// errNotUnmuted tells a host what is wrong when LiveKit unmutes nobody.
var errNotUnmuted = fault.ErrLiveKit.Saying(
	"the caller cannot be unmuted now: try again. Should it never work, LiveKit runs without " +
		"room.enable_remote_unmute: ask the operator",
)

// mutedByAll finds the room of the participant who calls, if everybody may mute there. The room that the request names must
// be theirs.
func (s *Service) mutedByAll(ctx context.Context, ref string) (*auth.Access, error) {
	a, _, _, err := s.self(ctx)
	if err != nil {
		return nil, err
	}
	named, err := auth.FindRoom(ctx, s.DB.Read, ref)
	if err != nil {
		return nil, err
	}
	if named.Room.ID != a.Room.ID {
		return nil, auth.ErrRoomNotFound
	}
	if c := a.Room.Configuration; c != nil && c.EveryoneCanMute != nil && !c.GetEveryoneCanMute() {
		return nil, auth.ErrNotPermitted.Saying("only hosts mute others in this room")
	}
	return a, nil
}

// muteAll mutes every microphone but those of some, and returns how many people were muted.
func (s *Service) muteAll(ctx context.Context, a *auth.Access, except []string) (muted int32, err error) {
	people, err := s.meeting(ctx, a.Room.ID)
	if err != nil {
		return 0, err
	}
	var failures []error
	for _, p := range people {
		if slices.Contains(except, p.Identity) {
			continue
		}
		n, err := s.muteTracks(ctx, a.Room.ID, p, "")
		if n > 0 {
			muted++
		}
		failures = append(failures, err)
	}
	return muted, errors.Join(failures...)
}

// muteTracks mutes one track of a participant, or every microphone, and returns how many were not muted before.
func (s *Service) muteTracks(ctx context.Context, room uuid.UUID, p meeting.Participant, sid string) (n int, err error) {
	for _, track := range p.Tracks {
		wanted := track.SID == sid || sid == "" && track.Source == usherv1.TrackSource_TRACK_SOURCE_MICROPHONE
		if !wanted || track.Muted {
			continue
		}
		err := s.LiveKit.MuteTrack(ctx, room, p.Identity, track.SID)
		switch {
		case errors.Is(err, meeting.ErrNotFound): // they left
		case err != nil:
			return n, fault.ErrLiveKit.Because(err)
		default:
			n++
		}
	}
	return n, nil
}
