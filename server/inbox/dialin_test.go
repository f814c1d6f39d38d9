package inbox_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/inbox"
	"github.com/usher-meet/usher/server/meeting"
)

// asked is a telephony that counts.
type asked struct {
	rooms []string
	err   error
}

func (a *asked) ReconcileDialIn(
	ctx context.Context, req *usherv1.ReconcileDialInRequest,
) (*usherv1.ReconcileDialInResponse, error) {
	if c := auth.FromContext(ctx); c.Kind != auth.System {
		return nil, errors.New("not called as a part of the server")
	}
	a.rooms = append(a.rooms, req.GetRoomId())
	return &usherv1.ReconcileDialInResponse{}, a.err
}

// Each event is one question to telephony, about its room. A failure has the event handled again.
func TestDialIn(t *testing.T) {
	t.Parallel()
	for _, want := range []error{nil, errors.New("failed on purpose")} {
		a, e := &asked{err: want}, newEvent(meeting.ParticipantJoined)
		err := (&inbox.DialIn{Telephony: a}).Follow(t.Context(), e)
		if !errors.Is(err, want) || !slices.Equal(a.rooms, []string{e.RoomID.String()}) {
			t.Errorf("%v; asked about %v, want %v and %s once", err, a.rooms, want, e.RoomID)
		}
	}
}
