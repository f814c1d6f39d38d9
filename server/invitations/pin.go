package invitations

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	"github.com/usher-meet/usher/server/auth"
)

// PINChanged says that a room has another PIN than the one that stands in the letters about it. With resend, those are sent
// again, as far as the limits of the day allow. It returns how many people are left with the PIN from before. The room must
// be locked, and the caller be one who may change it.
func (s *Service) PINChanged(ctx context.Context, tx *ent.Client, room uuid.UUID, resend bool) (outstanding int, err error) {
	all, err := tx.Invitation.Query().Where(
		invitation.RoomID(room), invitation.OpenKeyNotNil(), invitation.ExpireTimeGT(now()),
	).Order(ent.Desc(invitation.FieldCreateTime, invitation.FieldID)).All(ctx)
	if err != nil {
		return 0, fmt.Errorf("find invitations to %s: %w", room, err)
	}
	user, ok := auth.FromContext(ctx).UserID()
	if !resend || !ok || !s.Rules.Enabled {
		return len(all), nil
	}
	n, err := s.take(ctx, tx, user, len(all), now())
	if err != nil {
		return 0, err
	}
	for _, i := range all[:n] {
		if err := s.again(ctx, tx, &i); err != nil {
			return 0, err
		}
	}
	return len(all) - n, nil
}
