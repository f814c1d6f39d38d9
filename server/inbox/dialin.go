package inbox

import (
	"context"
	"fmt"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/meeting"
)

// DialIn has telephony look at a room when people come to its meeting or leave.
type DialIn struct{ Telephony telephony }

// telephony is the part of usher.v1.TelephonyService that is used here, in this process or in another one.
type telephony interface {
	ReconcileDialIn(ctx context.Context, req *usherv1.ReconcileDialInRequest) (*usherv1.ReconcileDialInResponse, error)
}

// Follow brings the dial-in of a room up to date after an event about it. The event only says when to look.
func (d *DialIn) Follow(ctx context.Context, e meeting.Event) error {
	ctx = auth.WithSystem(ctx, "inbox")
	if _, err := d.Telephony.ReconcileDialIn(ctx, &usherv1.ReconcileDialInRequest{RoomId: e.RoomID.String()}); err != nil {
		return fmt.Errorf("reconcile dial-in: %w", err)
	}
	return nil
}
