package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
)

// DialIn keeps a room open for people on the phone exactly while somebody is in the meeting with a browser or an app.
type DialIn struct {
	LiveKit interface {
		// Participants may fail with meeting.ErrNotFound when there is no meeting.
		Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error)
	}
	Telephony telephony
}

// telephony is the part of usher.v1.TelephonyService that is used here, in this process or in another one.
type telephony interface {
	OpenDialIn(ctx context.Context, req *usherv1.OpenDialInRequest) (*usherv1.OpenDialInResponse, error)
	CloseDialIn(ctx context.Context, req *usherv1.CloseDialInRequest) (*usherv1.CloseDialInResponse, error)
}

// mostTurns bounds how often one event follows people who come and go.
const mostTurns = 5

// Follow opens or closes a room after an event about it. Whoever acts looks again afterwards: another replica may have acted on
// what it saw in between, and the last one must have seen what is so.
func (d *DialIn) Follow(ctx context.Context, e meeting.Event) error {
	ctx = auth.WithSystem(ctx, "events")
	was, err := d.attended(ctx, e.RoomID)
	for range mostTurns {
		if err != nil {
			return err
		}
		if err := d.set(ctx, e.RoomID, was); err != nil {
			return err
		}
		is, again := d.attended(ctx, e.RoomID)
		if again == nil && is == was {
			return nil
		}
		was, err = is, again
	}
	return fmt.Errorf("people come to %s and go faster than it opens and closes", e.RoomID)
}

// set opens or closes a room. That it cannot be reached by phone at all is no failure, and neither is that it is gone, or that
// everybody has left since, which the next look shows.
func (d *DialIn) set(ctx context.Context, room uuid.UUID, open bool) (err error) {
	if open {
		_, err = d.Telephony.OpenDialIn(ctx, &usherv1.OpenDialInRequest{RoomId: room.String()})
	} else {
		_, err = d.Telephony.CloseDialIn(ctx, &usherv1.CloseDialInRequest{RoomId: room.String()})
	}
	refusal, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	switch refusal.Reason {
	case usherv1.ErrorReason_ERROR_REASON_TELEPHONY_DISABLED, usherv1.ErrorReason_ERROR_REASON_ROOM_NOT_FOUND,
		usherv1.ErrorReason_ERROR_REASON_ROOM_NOT_LIVE:
		return nil
	default:
		return err
	}
}

// attended reports whether somebody is in the meeting who is neither on the phone nor a recorder.
func (d *DialIn) attended(ctx context.Context, room uuid.UUID) (bool, error) {
	people, err := d.LiveKit.Participants(ctx, room)
	return slices.ContainsFunc(people, func(p meeting.Participant) bool {
		return p.Kind == usherv1.ParticipantKind_PARTICIPANT_KIND_WEB
	}), ignoreGone(err)
}

func ignoreGone(err error) error {
	if errors.Is(err, meeting.ErrNotFound) {
		return nil
	}
	return err
}
