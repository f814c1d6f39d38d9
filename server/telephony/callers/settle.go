package callers

import (
	"context"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/meeting"
)

// settle brings one caller to how their call stands, if they are not there yet. The identity must be locked.
func (s *Service) settle(ctx context.Context, room uuid.UUID, p meeting.Participant, standing meeting.Standing) error {
	switch standing {
	case meeting.CallRefused:
		return s.LiveKit.RemoveParticipant(ctx, room, p.Identity)
	case meeting.CallAdmitted:
		return s.lift(ctx, room, p.Call())
	case meeting.CallLifted:
		if p.Attributes[meeting.AttributeLobby] != meeting.LobbyAdmitted || p.NoSubscribe {
			return s.lift(ctx, room, p.Call())
		}
		s.cache.forget(p.SID)
		return nil
	case meeting.CallUnknown:
		if p.Attributes[meeting.AttributeLobby] == meeting.LobbyAdmitted && !p.NoSubscribe {
			return nil // let in when somebody could say so
		}
	case meeting.CallWaiting:
	}
	if isHeld(p) {
		s.cache.addHeld(room, p.SID)
		return nil
	}
	held, err := s.hold(ctx, room, p)
	if err != nil || standing == meeting.CallUnknown {
		return ignoreNotFound(err)
	}
	// Whoever let them in meanwhile found them as they were before.
	standing, err = s.standing(ctx, room, held.Call())
	if err != nil || standing == meeting.CallWaiting {
		return err
	}
	return s.settle(ctx, room, held, standing)
}
