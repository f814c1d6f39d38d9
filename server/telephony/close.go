package telephony

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/room"
	"github.com/usher-meet/usher/server/meeting"
)

// closeAll is [Service.close] for those who are told what is so: it looks for rules of the room that are not known here.
func (s *Service) closeAll(ctx context.Context, id uuid.UUID) (outcome, error) {
	row, err := s.row(ctx, id)
	if err != nil {
		return outcome{}, err
	}
	known := stateOf(row)
	found, err := s.rulesOf(ctx, id, known.trunkID)
	if err != nil {
		return outcome{}, livekitFault(err)
	}
	if slices.ContainsFunc(found, func(r meeting.DispatchRule) bool { return r.ID != known.ruleID }) {
		// So that close looks for itself, while nobody else changes them.
		if err := s.DB.Run(ctx, func(tx *ent.Client) error { return markStale(ctx, tx, id) }); err != nil {
			return outcome{}, err
		}
	}
	done, err := s.close(ctx, id)
	if err != nil || !done.acted {
		return done, err
	}
	exists, err := s.DB.Read.Room.Query().Where(room.ID(id)).Exist(ctx)
	switch {
	case err != nil:
		return done, fmt.Errorf("find room: %w", err)
	case !exists:
		return done, s.deleteRow(ctx, id)
	}
	return done, nil
}

// close deletes every rule of a room that is known here, or all if that is in doubt. One that fails does not keep the others
// from it, and all failures are reported. LiveKit lists its rules only in doubt: the last who leaves a meeting causes this.
func (s *Service) close(ctx context.Context, id uuid.UUID) (done outcome, err error) {
	row, err := s.row(ctx, id)
	if err != nil {
		return done, err
	}
	if row == nil || row.RuleID == "" && !row.Doubtful && row.Lease == nil {
		return done, nil
	}
	err = s.withLease(ctx, id, func(ctx context.Context, was ruleState) (ruleState, error) {
		done.acted = true
		rules, failures := []string{}, []error{}
		if was.ruleID != "" {
			rules = append(rules, was.ruleID)
		}
		if was.stale {
			found, err := s.rulesOf(ctx, id, was.trunkID)
			if err != nil {
				failures = append(failures, err)
			}
			for _, r := range found {
				if r.ID != was.ruleID {
					rules = append(rules, r.ID)
				}
			}
		}
		is := ruleState{}
		for _, r := range rules {
			if err := s.delete(ctx, r, &done); err != nil {
				failures = append(failures, err)
				if r == was.ruleID {
					is = was
				}
			}
		}
		if len(failures) > 0 {
			is.stale = true
			return is, livekitFault(errors.Join(failures...))
		}
		return is, nil
	})
	return done, err
}

// rulesOf are the rules of a room that LiveKit has on the trunks in use, and on one more.
func (s *Service) rulesOf(ctx context.Context, id uuid.UUID, trunk string) ([]meeting.DispatchRule, error) {
	trunks := ids(s.Trunks.inUse(ctx))
	if trunk != "" && !slices.Contains(trunks, trunk) {
		trunks = append(trunks, trunk)
	}
	if len(trunks) == 0 {
		return nil, nil // naming none would list those of all
	}
	rules, err := s.LiveKit.ListRules(ctx, trunks...)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(rules, func(r meeting.DispatchRule) bool {
		room, ok := ruleRoom(r.Name)
		return !ok || room != id || len(r.Trunks) == 0
	}), nil
}
