package telephony

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/dispatchrule"
	"github.com/usher-meet/usher/gen/ent/pin"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/jobs"
)

// RotateJob has one room given another PIN, because the operator wants it.
type RotateJob struct {
	RoomID uuid.UUID `json:"room_id"`
	// PINID is the row of the PIN that is to go. A room that has another one by now keeps that: the job may be done twice.
	PINID uuid.UUID `json:"pin_id"`
}

// Kind implements jobs.Args.
func (RotateJob) Kind() string { return "telephony.rotate" }

// RotateLive has every room that can be dialled now given another PIN by a running server, and returns how many rooms those
// are. It is the operator's to decide and nobody else's: wrong PINs are counted, but people who call before their meeting
// has begun type wrong ones too (see [Watch]), and everybody who was sent a PIN needs the new one.
func RotateLive(ctx context.Context, db *dbtx.DB, queue *jobs.Client) (rooms int, err error) {
	err = db.Run(ctx, func(tx *ent.Client) error {
		rooms = 0 // the transaction may be run again
		// Of a rule in doubt LiveKit may know as well.
		open, err := tx.DispatchRule.Query().
			Where(dispatchrule.Or(dispatchrule.RuleIDNEQ(""), dispatchrule.Doubtful(true))).IDs(ctx)
		if err != nil {
			return fmt.Errorf("list rooms that can be dialled: %w", err)
		}
		const batch = 500 // databases bound the number of parameters
		for part := range slices.Chunk(open, batch) {
			pins, err := tx.Pin.Query().Where(pin.RoomIDIn(part...)).All(ctx)
			if err != nil {
				return fmt.Errorf("find PINs: %w", err)
			}
			for _, p := range pins {
				if err := queue.Enqueue(ctx, tx, RotateJob{RoomID: *p.RoomID, PINID: p.ID}); err != nil {
					return err
				}
			}
			rooms += len(pins)
		}
		return nil
	})
	return rooms, err
}

// Rotate does a [RotateJob], and has LiveKit follow.
func (s *Service) Rotate(ctx context.Context, j RotateJob) error {
	ctx = auth.WithSystem(ctx, "operator")
	trunks := s.Trunks.inUse(ctx)
	if len(trunks) == 0 {
		return ErrDisabled // LiveKit may not have answered yet: the job is tried again
	}
	p, err := s.draw(ctx, drawing{
		room: j.RoomID.String(), trunks: trunks,
		keep: func(p *ent.Pin) bool { return p.ID != j.PINID },
		then: func(tx *ent.Client, a *auth.Access) error { return s.rotated(ctx, tx, a.Room.ID, "reason=operator") },
	})
	if errors.Is(err, auth.ErrRoomNotFound) {
		return nil // its rule goes with the next sweep
	}
	if err != nil {
		return err
	}
	return s.followPIN(ctx, p)
}
