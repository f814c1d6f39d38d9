package participants

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
)

// attributeHand is the participant attribute that tells clients since when a hand is up. Empty, and absent: it is not.
const attributeHand = "hand_raise_time"

// hand raises or lowers the hand of a participant.
func (s *Service) hand(ctx context.Context, room uuid.UUID, identity string, raised bool) error {
	p, err := s.find(ctx, room, identity)
	if err != nil {
		return err
	}
	if up := p.Attributes[attributeHand] != ""; up == raised {
		return nil
	}
	value := ""
	if raised {
		value = time.Now().UTC().Format(time.RFC3339Nano)
	}
	err = s.LiveKit.EditParticipant(ctx, room, identity, map[string]string{attributeHand: value})
	switch {
	case errors.Is(err, meeting.ErrNotFound):
		return ErrNotFound
	case err != nil:
		return fault.ErrLiveKit.Because(err)
	}
	return nil
}

// rename gives the participant who calls the name that they ask for.
func (s *Service) rename(ctx context.Context, asked string) (room uuid.UUID, err error) {
	name := cleanName(asked)
	if name == "" {
		return room, fault.Invalid("display_name", "nobody can be without a name")
	}
	a, session, state, err := s.self(ctx)
	if err != nil {
		return room, err
	}
	if err := s.mayRename(a, session, state); err != nil {
		return room, err
	}
	room = a.Room.ID
	p, err := s.find(ctx, room, session.Identity)
	if err != nil || cmp.Or(state.Name, p.DisplayName) == name {
		return room, err
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, room.String())
		if err != nil {
			return err
		}
		// A host may have named or removed them in between.
		states, err := moderation.Load(ctx, tx, a.Room)
		if err != nil {
			return err
		}
		switch state := states.Of(session.Identity, session.UserID); {
		case state.Blocked:
			return moderation.ErrBlocked
		case state.NameByHost:
			return errNamedByHost
		}
		who := moderation.Who{User: session.UserID, Identity: session.Identity, DeviceOnly: true}
		if err := moderation.Edit(ctx, tx, a.Room, who, func(row moderation.Row) { row.SetName(name, false) }); err != nil {
			return err
		}
		if err := recordName(ctx, tx, room, session.Identity); err != nil {
			return err
		}
		return s.Tasks.SyncRoom(ctx, tx, room)
	})
	if err != nil {
		return room, err
	}
	s.follow(ctx, room)
	return room, nil
}

var errNamedByHost = auth.ErrNotPermitted.Saying("a host gave you this name: ask a host for another one")

// mayRename refuses participants whose names are for others to say.
func (s *Service) mayRename(a *auth.Access, session *auth.ParticipantSession, state moderation.State) error {
	switch {
	case state.NameByHost:
		return errNamedByHost
	case s.AccountNames && session.UserID != uuid.Nil:
		return auth.ErrNotPermitted.Saying("people are called here as their accounts are")
	case a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT:
		return auth.ErrNotPermitted.Saying("who had to be let in keeps the name that was let in: ask a host for another one")
	}
	return nil
}
