package callers

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
)

// Events are the types of LiveKit events that this package handles: a caller joined, published a track, or left.
var Events = []meeting.EventType{
	meeting.ParticipantJoined,
	meeting.TrackPublished,
	meeting.ParticipantLeft,
	meeting.ParticipantAborted,
}

// Immediately is the first try to hold a caller, beside the answer to LiveKit's event: each millisecond is heard.
func (s *Service) Immediately(ctx context.Context, e meeting.Event) {
	if e.Participant == nil {
		return
	}
	var err error
	switch {
	case e.Type == meeting.ParticipantJoined && isCaller(*e.Participant):
		err = errors.Join(s.callerJoined(ctx, e.RoomID, *e.Participant), s.awaitTrack(ctx, e.RoomID, *e.Participant))
	case e.Type == meeting.TrackPublished && e.Track != nil:
		err = s.trackPublished(ctx, e.RoomID, e.Participant.Identity, e.Participant.SID, e.Track.SID)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "a caller is not settled yet", "room", e.RoomID, "event", e.Type, "err", err)
	}
}

// Handle is the second try, some time after the event: it goes by what LiveKit says now.
func (s *Service) Handle(ctx context.Context, e meeting.Event) error {
	if e.Participant == nil {
		return nil
	}
	switch {
	case e.Type == meeting.TrackPublished && meeting.IsCallerIdentity(e.Participant.Identity),
		e.Type == meeting.ParticipantJoined && isCaller(*e.Participant):
		return s.sweepRoom(ctx, e.RoomID)
	case (e.Type == meeting.ParticipantLeft || e.Type == meeting.ParticipantAborted) && isCaller(*e.Participant):
		return s.callerLeft(ctx, e.RoomID, *e.Participant)
	}
	return nil
}

func isCaller(p meeting.Participant) bool {
	return p.Kind == usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE
}

// callerJoined holds somebody on the phone who has just come, or lets them be heard. Where the dispatch rule says that
// callers wait, LiveKit is told before anybody is asked.
func (s *Service) callerJoined(ctx context.Context, room uuid.UUID, p meeting.Participant) error {
	s.cache.addRoom(room)
	defer s.cache.lock(room, p.Identity)()
	if p.Attributes[meeting.AttributeLobby] == meeting.LobbyWaiting {
		held, err := s.hold(ctx, room, p)
		if err != nil {
			return ignoreNotFound(err)
		}
		p = held
	}
	return s.look(ctx, room, p)
}

// looks is how often [Service.awaitTrack] looks, and lookPause how long it waits in between: callers publish within a tenth
// of a second.
const looks, lookPause = 10, 15 * time.Millisecond

// awaitTrack mutes the track that a held caller is about to publish, as soon as it is there: the event that tells of it
// comes later, and is stored first.
func (s *Service) awaitTrack(ctx context.Context, room uuid.UUID, caller meeting.Participant) error {
	for range looks {
		if !s.cache.isHeld(caller.SID) {
			return nil // not at all, or not any more
		}
		p, err := s.find(ctx, room, caller.Identity)
		if err != nil || len(p.Tracks) > 0 {
			return errors.Join(ignoreNotFound(err), s.muteHeld(ctx, room, p))
		}
		if !sleep(ctx, lookPause) {
			return ctx.Err()
		}
	}
	return nil
}

// muteHeld mutes the tracks of somebody if they are held.
func (s *Service) muteHeld(ctx context.Context, room uuid.UUID, p meeting.Participant) error {
	defer s.cache.lock(room, p.Identity)()
	if !s.cache.isHeld(p.SID) || isHeld(p) {
		return nil
	}
	for _, track := range p.Tracks {
		if err := s.LiveKit.MuteTrack(ctx, room, p.Identity, track.SID); err != nil {
			return ignoreNotFound(err)
		}
	}
	// As after every hold: a host may have decided meanwhile, on another replica.
	standing, err := s.standing(ctx, room, p.Call())
	if standing == meeting.CallLifted {
		standing = meeting.CallAdmitted
	}
	if standing == meeting.CallAdmitted {
		err = errors.Join(err, s.settle(ctx, room, p, standing))
	}
	return err
}

// trackPublished mutes what a caller publishes who was not let in. LiveKit's event says of nobody that they are on the
// phone, but callers are known by their identity. LiveKit forgets who was muted when it is started again.
func (s *Service) trackPublished(ctx context.Context, room uuid.UUID, identity, participantSID, trackSID string) error {
	if !meeting.IsCallerIdentity(identity) {
		return nil
	}
	defer s.cache.lock(room, identity)()
	if s.cache.isHeld(participantSID) {
		if err := s.LiveKit.MuteTrack(ctx, room, identity, trackSID); err != nil {
			s.Log.WarnContext(ctx, "a held caller's track is not muted yet", "room", room, "track", trackSID, "err", err)
		}
	}
	p, err := s.find(ctx, room, identity)
	if err != nil {
		return ignoreNotFound(err)
	}
	standing, err := s.standing(ctx, room, p.Call())
	if standing == meeting.CallLifted && s.cache.isHeld(p.SID) {
		standing = meeting.CallAdmitted // by another replica, before the track was muted here
	}
	// LiveKit's list may not have the track yet, and may have it as it was before.
	p.Tracks = []meeting.Track{{SID: trackSID}}
	return errors.Join(err, s.settle(ctx, room, p, standing))
}

// callerLeft ends the entry of a call that is over.
func (s *Service) callerLeft(ctx context.Context, room uuid.UUID, p meeting.Participant) error {
	s.cache.forget(p.SID)
	now, err := s.find(ctx, room, p.Identity)
	if err == nil && now.Call().ID == p.Call().ID {
		return nil // connected again since
	}
	if err != nil && !errors.Is(err, meeting.ErrNotFound) {
		return err
	}
	return s.Lobby.CallEnded(ctx, room, p.Call())
}
