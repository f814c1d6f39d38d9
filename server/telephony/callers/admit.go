package callers

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
)

// Admit lifts the hold of a call that a host has let in. When that fails they are held again and wait as before;
// meeting.ErrNotFound is a call that is over.
func (s *Service) Admit(ctx context.Context, room uuid.UUID, call meeting.Call) error {
	defer s.cache.lock(room, call.Identity)()
	return s.lift(ctx, room, call)
}

// lift has an admitted caller hear and be heard. It must not be one who took over the identity.
func (s *Service) lift(ctx context.Context, room uuid.UUID, call meeting.Call) error {
	err := s.tryLift(ctx, room, call)
	switch {
	case err == nil:
		return s.Lobby.CallLifted(ctx, room, call)
	case errors.Is(err, meeting.ErrNotFound):
		return errors.Join(err, s.Lobby.CallEnded(ctx, room, call))
	}
	// Half of it may be done. The host who decided may have gone, which changes nothing for the caller.
	ctx = context.WithoutCancel(ctx)
	_, holdErr := s.tryHold(ctx, room, call.Identity)
	return errors.Join(err, ignoreNotFound(holdErr), s.Lobby.CallHeld(ctx, room, call))
}

func (s *Service) tryLift(ctx context.Context, room uuid.UUID, call meeting.Call) (err error) {
	for _, wait := range waits {
		if !sleep(ctx, wait) {
			return errors.Join(err, ctx.Err())
		}
		if err = s.liftOnce(ctx, room, call); err == nil || errors.Is(err, meeting.ErrNotFound) {
			return err
		}
	}
	return err
}

func (s *Service) liftOnce(ctx context.Context, room uuid.UUID, call meeting.Call) error {
	p, err := s.find(ctx, room, call.Identity)
	if err != nil {
		return err
	}
	if p.Call().ID != call.ID {
		return meeting.ErrNotFound
	}
	if p, err = s.LiveKit.AdmitCaller(ctx, room, call.Identity); err != nil {
		return err
	}
	s.cache.forget(p.SID)
	if p.Call().ID != call.ID {
		// Another call with that number, since a moment ago: nobody has let them in.
		_, err := s.hold(context.WithoutCancel(ctx), room, p)
		return errors.Join(meeting.ErrNotFound, ignoreNotFound(err))
	}
	for _, track := range p.Tracks {
		if !track.Muted {
			continue
		}
		if err := s.LiveKit.UnmuteCaller(ctx, room, p, track.SID); err != nil {
			return err
		}
	}
	return nil
}

// Refuse ends a call that a host has turned away. With block, that number stays out for so long, whichever meeting it is;
// without a number there is nobody to keep out.
func (s *Service) Refuse(ctx context.Context, room uuid.UUID, call meeting.Call, block time.Duration) error {
	var blocked error
	if block > 0 && !call.Withheld {
		blocked = s.DB.Run(ctx, func(tx *ent.Client) error {
			a, err := auth.LockRoom(ctx, tx, room.String())
			if err != nil {
				return err
			}
			until := time.Now().UTC().Add(block).Truncate(time.Microsecond)
			who := moderation.Who{Identity: s.Keys.Pseudonym(call.Identity), DeviceOnly: true}
			return moderation.Edit(ctx, tx, a.Room, who, func(row moderation.Row) { row.Block(until) })
		})
	}
	defer s.cache.lock(room, call.Identity)()
	p, err := s.find(ctx, room, call.Identity)
	switch {
	case err == nil && p.Call().ID == call.ID:
		err = s.LiveKit.RemoveParticipant(ctx, room, call.Identity)
	case err == nil: // another call, about which nobody has decided
	default:
		err = ignoreNotFound(err)
	}
	return errors.Join(blocked, err)
}
