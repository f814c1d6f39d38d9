package invitations

import (
	"context"
	"fmt"
	"time"

	"entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	"github.com/usher-meet/usher/gen/ent/mailquota"
	"github.com/usher-meet/usher/gen/ent/room"
)

// sweepSize is how many invitations of deleted rooms one sweep withdraws.
const sweepSize = 500

// Sweep writes down which links have expired, and withdraws the invitations to rooms that were deleted. Running it twice
// at once is harmless.
func (s *Service) Sweep(ctx context.Context) error {
	err := s.DB.Run(ctx, func(tx *ent.Client) error {
		return tx.Invitation.Update().Where(invitation.OpenKeyNotNil(), invitation.ExpireTimeLTE(now())).
			SetStatus(expired).ClearOpenKey().ClearTokenSealed().Exec(ctx)
	})
	if err != nil {
		return fmt.Errorf("expire invitations: %w", err)
	}
	ids, err := s.DB.Read.Invitation.Query().Where(invitation.OpenKeyNotNil(), func(sel *sql.Selector) {
		t := sql.Table(room.Table)
		itsRoom := sql.ColumnsEQ(t.C(room.FieldID), sel.C(invitation.FieldRoomID))
		sel.Where(sql.Not(sql.Exists(sql.Select(t.C(room.FieldID)).From(t).Where(itsRoom))))
	}).Limit(sweepSize).IDs(ctx)
	if err != nil {
		return fmt.Errorf("find invitations to deleted rooms: %w", err)
	}
	for _, id := range ids {
		if err := s.roomGone(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// roomGone withdraws an invitation to a room that was deleted.
func (s *Service) roomGone(ctx context.Context, id uuid.UUID) error {
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		// The row is locked by changing it: of two sweeps, the second finds nothing.
		n, err := tx.Invitation.Update().Where(invitation.ID(id), invitation.OpenKeyNotNil()).ClearTokenSealed().Save(ctx)
		if err != nil || n == 0 {
			return err
		}
		i, err := tx.Invitation.Get(ctx, id)
		if err != nil {
			return err
		}
		return s.withdraw(ctx, tx, &i)
	})
}

// CleanUp deletes what has been kept long enough. It is for a job once a night; running it twice at once is harmless.
func (s *Service) CleanUp(ctx context.Context) error {
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		n, err := tx.Invitation.Delete().Where(invitation.ExpireTimeLT(now().Add(-s.Rules.Keep))).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete invitations: %w", err)
		}
		yesterday := now().Add(-24 * time.Hour).Format(dayFormat)
		if _, err := tx.MailQuota.Delete().Where(mailquota.DayLT(yesterday)).Exec(ctx); err != nil {
			return fmt.Errorf("delete quotas: %w", err)
		}
		s.Log.InfoContext(ctx, "cleaned up", "invitations", n)
		return nil
	})
}
