package telephony

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/dispatchrule"
	"github.com/usher-meet/usher/gen/ent/trunk"
	"github.com/usher-meet/usher/server/auth"
)

// alarmPause is how long after an alarm another one changes nothing: the PINs that were tried are void, and people need some
// time to hand out the new ones.
const alarmPause = 10 * time.Minute

// RotateLive gives another PIN to every room that can be dialled now, because too many wrong ones were tried. Of several
// servers that see it one does it, and none does it again for a while. A room that fails does not keep the others from it.
func (s *Service) RotateLive(ctx context.Context) error {
	ctx = auth.WithSystem(ctx, "wrong-pin-watch")
	trunks := s.Trunks.inUse(ctx)
	var failures []error
	for _, t := range trunks {
		first, err := s.claimAlarm(ctx, t.Line)
		if err != nil || !first {
			failures = append(failures, err)
			continue
		}
		rooms, err := s.DB.Read.DispatchRule.Query().Where(dispatchrule.RuleIDNEQ(""), dispatchrule.TrunkID(t.ID)).IDs(ctx)
		if err != nil {
			failures = append(failures, fmt.Errorf("list rules: %w", err))
			continue
		}
		for _, room := range rooms {
			if err := s.rotateOne(ctx, room, trunks); err != nil {
				failures = append(failures, fmt.Errorf("room %s: %w", room, err))
			}
		}
		s.Log.WarnContext(ctx, "PINs were changed because too many wrong ones were tried", "trunk", t.ID, "rooms", len(rooms))
	}
	return errors.Join(failures...)
}

// claimAlarm reports whether nobody has raised the alarm about a trunk lately, and raises it.
func (s *Service) claimAlarm(ctx context.Context, id string) (first bool, err error) {
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		if _, err := lockTrunks(ctx, tx, []string{id}, nil); err != nil {
			return err
		}
		n, err := tx.Trunk.Update().SetAlarmTime(now()).Where(trunk.ID(id),
			trunk.Or(trunk.AlarmTimeIsNil(), trunk.AlarmTimeLT(now().Add(-alarmPause)))).Save(ctx)
		first = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("raise the alarm about trunk %s: %w", id, err)
	}
	return first, nil
}

// rotateOne gives one room another PIN, and has LiveKit follow.
func (s *Service) rotateOne(ctx context.Context, room uuid.UUID, trunks []Trunk) error {
	p, err := s.draw(ctx, drawing{
		room: room.String(), trunks: trunks,
		then: func(tx *ent.Client, a *auth.Access) error { return s.rotated(ctx, tx, a.Room.ID, "reason=wrong-pins") },
	})
	if errors.Is(err, auth.ErrRoomNotFound) {
		return nil // its rule goes with the next sweep
	}
	if err != nil {
		return err
	}
	return s.followPIN(ctx, p)
}
