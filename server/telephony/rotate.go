package telephony

import (
	"context"
	"fmt"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/trunk"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/ratelimit"
)

// rotate gives a room another PIN because an administrator wants it, and has a meeting that goes on follow.
func (s *Service) rotate(ctx context.Context, ref string, resend bool) (d *usherv1.DialIn, outstanding int, err error) {
	seen, err := auth.FindRoom(ctx, s.DB.Read, ref)
	if err != nil {
		return nil, 0, err
	}
	if err := seen.RequireAdministrator(); err != nil {
		return nil, 0, err
	}
	trunks := s.Trunks.inUse(ctx)
	if len(trunks) == 0 || !allowed(seen.Room) {
		return nil, 0, ErrDisabled
	}
	call := ratelimit.Call{Limit: s.RotateLimit, Key: seen.Room.ID.String()}
	if err := s.Limiter.Allow(ctx, call); err != nil {
		return nil, 0, err
	}
	p, err := s.draw(ctx, drawing{
		room: seen.Room.ID.String(), trunks: trunks,
		allow: (*auth.Access).RequireAdministrator,
		then: func(tx *ent.Client, a *auth.Access) error {
			if outstanding, err = s.Invitations.PINChanged(ctx, tx, a.Room.ID, resend); err != nil {
				return err
			}
			return audit.Record(ctx, tx, audit.Event{Room: a.Room.ID, Action: audit.PINRotated})
		},
	})
	if err != nil {
		return nil, 0, err
	}
	s.Log.InfoContext(ctx, "PIN rotated", "room", seen.Room.ID, "caller", auth.FromContext(ctx).Key())
	if err := s.followPIN(ctx, p); err != nil {
		return nil, 0, err
	}
	// A clash may have brought it yet another one.
	if p, err = currentPIN(ctx, s.DB.Read, seen.Room.ID); err != nil {
		return nil, 0, err
	}
	if p == nil {
		return nil, 0, auth.ErrRoomNotFound // deleted in between
	}
	return dialIn(p, trunks), outstanding, nil
}

// followPIN has the rule of a room that can be dialled say the PIN that it has got.
func (s *Service) followPIN(ctx context.Context, p *ent.Pin) error {
	row, err := s.row(ctx, *p.RoomID)
	if err != nil {
		return err
	}
	if row == nil || row.RuleID == "" && !row.Doubtful && row.Lease == nil {
		return nil
	}
	if _, err = s.settle(ctx, *p.RoomID); err != nil {
		return fault.ErrLiveKit.Saying("the PIN was changed, but LiveKit does not know yet, and the one before opens the meeting " +
			"until it does: GetDialIn has the new one").
			Because(err)
	}
	return nil
}

// listRules is a page of what a survey finds.
func (s *Service) listRules(
	ctx context.Context, req *usherv1.ListDispatchRulesRequest,
) (found []finding, next string, err error) {
	size, err := page.Size(req.GetPageSize())
	if err != nil {
		return nil, "", err
	}
	list := page.List{
		Keys: s.Keys, Caller: auth.FromContext(ctx).Key(), Method: usherv1connect.TelephonyServiceListDispatchRulesProcedure,
	}
	var after cursor
	if req.GetPageToken() != "" {
		if err := list.Cursor(req.GetPageToken(), &after); err != nil {
			return nil, "", err
		}
	}
	if len(s.Trunks.inUse(ctx)) == 0 {
		return nil, "", ErrDisabled
	}
	rooms, err := s.survey(ctx)
	if err != nil {
		return nil, "", livekitFault(err)
	}
	for _, x := range rooms {
		for _, f := range x.findings() {
			at := cursor{f.room.String(), f.ruleID}
			if !at.after(after) {
				continue
			}
			if len(found) == size {
				last := found[size-1]
				next, err = list.Token(cursor{last.room.String(), last.ruleID})
				return found, next, err
			}
			found = append(found, f)
		}
	}
	return found, "", nil
}

// cursor is where a page of rules ended.
type cursor struct{ Room, Rule string }

func (c cursor) after(other cursor) bool {
	return c.Room > other.Room || c.Room == other.Room && (c.Rule > other.Rule || other.Room == "")
}

// roomCounts are how many rooms have a PIN on trunks, by line.
func (s *Service) roomCounts(ctx context.Context, trunks []Trunk) (map[string]int64, error) {
	rows, err := s.DB.Read.Trunk.Query().Where(trunk.IDIn(lineIDs(trunks)...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("count rooms of trunks: %w", err)
	}
	counts := make(map[string]int64, len(rows))
	for _, t := range rows {
		counts[t.ID] = t.RoomCount
	}
	return counts, nil
}
