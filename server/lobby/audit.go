package lobby

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/auditevent"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
)

// record writes decisions that hold into the audit log.
//
// Redis decides, and the record follows: nothing remote is asked while a room is locked. Should it fail, the host is told,
// and makes the same decision again, which succeeds and records what is not recorded yet. A decision is known by the moment
// at which Redis made it, so two hosts who say the same record it once.
func (s *Service) record(ctx context.Context, room uuid.UUID, block time.Duration, decided ...*record) error {
	if len(decided) == 0 {
		return nil
	}
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		if _, err := auth.LockRoom(ctx, tx, room.String()); err != nil {
			return err
		}
		known, err := recorded(ctx, tx, room, decided)
		if err != nil {
			return err
		}
		for _, r := range decided {
			if known[r.ID+r.Decided] {
				continue
			}
			known[r.ID+r.Decided] = true
			if err := audit.Record(ctx, tx, decision(room, block, r)); err != nil {
				return err
			}
		}
		return nil
	})
}

// recorded finds which of these decisions have a record, by entry and moment.
func recorded(ctx context.Context, tx *ent.Client, room uuid.UUID, decided []*record) (map[string]bool, error) {
	targets := make([]string, len(decided))
	for i, r := range decided {
		targets[i] = audit.Entry(r.ID)
	}
	events, err := tx.AuditEvent.Query().Where(auditevent.RoomID(room), auditevent.TargetIn(targets...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find decisions in %s: %w", room, err)
	}
	known := make(map[string]bool, len(events))
	for _, e := range events {
		_, moment, _ := strings.Cut(e.Detail, decidedKey)
		known[strings.TrimPrefix(e.Target, audit.Entry(""))+moment] = true
	}
	return known, nil
}

// decidedKey is last in the detail of a decision; its value is in microseconds since 1970.
const decidedKey = "decided="

func decision(room uuid.UUID, block time.Duration, r *record) audit.Event {
	e := audit.Event{Room: room, Action: audit.EntryAdmitted, Target: audit.Entry(r.ID), Detail: "identity=" + r.Identity}
	if r.Kind == kindPhone {
		e.Detail = "call=" + r.Call // the identity is made from the number
	}
	if r.User != "" {
		e.Detail += " user=" + r.User
	}
	if r.Status == statusDenied {
		e.Action = audit.EntryDenied
	}
	if r.Status == statusDenied && block > 0 {
		e.Detail += fmt.Sprintf(" block=%d", int64(block/time.Second))
	}
	e.Detail += " " + decidedKey + r.Decided
	return e
}
