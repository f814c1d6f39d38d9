package telephony

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/dispatchrule"
	"github.com/usher-meet/usher/gen/ent/room"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
)

const (
	inSync    = usherv1.DispatchRuleState_DISPATCH_RULE_STATE_IN_SYNC
	missing   = usherv1.DispatchRuleState_DISPATCH_RULE_STATE_MISSING
	orphaned  = usherv1.DispatchRuleState_DISPATCH_RULE_STATE_ORPHANED
	duplicate = usherv1.DispatchRuleState_DISPATCH_RULE_STATE_DUPLICATE
)

// stateName is a state as metrics and logs have it.
func stateName(s usherv1.DispatchRuleState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "DISPATCH_RULE_STATE_"))
}

// finding is one rule that LiveKit has, or should have.
type finding struct {
	room            uuid.UUID
	trunkID, ruleID string
	state           usherv1.DispatchRuleState
}

// situation is all about one room at one moment.
type situation struct {
	room uuid.UUID
	row  *ent.DispatchRule
	// rules are those that LiveKit has.
	rules []meeting.DispatchRule
	// wanted is the rule that it should have; nil for none.
	wanted *wanted
	// noTrunk is true when no trunk has the line of the room's PIN: then everything stays.
	noTrunk bool
}

// survey compares rooms, rules and meetings. It draws no PIN and changes no rule.
func (s *Survey) survey(ctx context.Context) ([]*situation, error) {
	all := map[uuid.UUID]*situation{}
	of := func(id uuid.UUID) *situation {
		if all[id] == nil {
			all[id] = &situation{room: id}
		}
		return all[id]
	}
	// Rows come first: one that is the same when it is repaired was the same while LiveKit was asked.
	rows, err := s.DB.Read.DispatchRule.Query().
		Where(dispatchrule.Or(dispatchrule.RuleIDNEQ(""), dispatchrule.Doubtful(true))).
		All(ctx)
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	for _, row := range rows {
		of(row.ID).row = row
	}
	trunks := s.Trunks.inUse(ctx)
	if len(trunks) > 0 { // naming none would list those of all
		rules, err := s.LiveKit.ListRules(ctx, ids(trunks)...)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if id, ours := ruleRoom(r.Name); ours && len(r.Trunks) > 0 {
				of(id).rules = append(of(id).rules, r)
			}
		}
	}
	if err := s.addWanted(ctx, trunks, of); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(all), func(a, b *situation) int { return slices.Compare(a.room[:], b.room[:]) }), nil
}

// addWanted adds what rooms should have.
func (s *Survey) addWanted(ctx context.Context, trunks []Trunk, of func(uuid.UUID) *situation) error {
	if len(trunks) == 0 {
		return nil
	}
	meetings, err := s.LiveKit.LiveRooms(ctx)
	if err != nil {
		return err
	}
	const batch = 500 // databases bound the number of parameters
	for part := range slices.Chunk(meetings, batch) {
		rooms, err := s.DB.Read.Room.Query().Where(room.IDIn(part...)).WithPin().All(ctx)
		if err != nil {
			return fmt.Errorf("find rooms: %w", err)
		}
		for _, r := range rooms {
			if !allowed(r) {
				continue
			}
			ok, err := s.isLive(ctx, r.ID)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			w := &wanted{room: r.ID, pin: r.Edges.Pin, held: held(r), trunks: trunks}
			if w.pin == nil {
				w.pin = &ent.Pin{} // no rule has that
			} else if w.trunkID() == "" {
				of(r.ID).noTrunk = true
				continue
			}
			of(r.ID).wanted = w
		}
	}
	return nil
}

// findings says of each rule of a room what is wrong with it, and of a rule that is not there that it should be.
func (x *situation) findings() []finding {
	if x.noTrunk {
		return nil
	}
	var list []finding
	keep := ""
	if x.wanted != nil {
		state := missing
		for _, r := range x.rules {
			if x.wanted.matches(r) && (keep == "" || x.row != nil && r.ID == x.row.RuleID) {
				keep, state = r.ID, inSync
			}
		}
		if keep == "" && len(x.rules) > 0 {
			keep = x.rules[0].ID
		}
		trunk := x.wanted.trunkID()
		list = append(list, finding{x.room, cmp.Or(trunk, x.wanted.trunks[0].ID), keep, state})
	}
	for _, r := range x.rules {
		state := orphaned
		if x.wanted != nil {
			state = duplicate
		}
		if r.ID != keep {
			list = append(list, finding{x.room, r.Trunks[0], r.ID, state})
		}
	}
	slices.SortFunc(list, func(a, b finding) int { return cmp.Compare(a.ruleID, b.ruleID) })
	return list
}

// fits reports whether all is as it should be, in LiveKit and in our row.
func (x *situation) fits() bool {
	if x.noTrunk {
		return true
	}
	is := stateOf(x.row)
	if x.wanted == nil {
		return len(x.rules) == 0 && is == ruleState{}
	}
	return len(x.rules) == 1 && x.wanted.matches(x.rules[0]) && is == x.wanted.state(x.rules[0].ID)
}

// totals count the repairs of a sweep.
type totals struct{ created, deleted, repaired int }

// add counts what was done about one room.
func (t *totals) add(did outcome) {
	t.deleted += did.deleted
	switch {
	case did.created:
		t.created++
	case did.changed:
		t.repaired++
	}
}

func (t *totals) response() *usherv1.ReconcileDialInResponse {
	//nolint:gosec // far below the limit
	return &usherv1.ReconcileDialInResponse{
		CreatedCount: int32(t.created), DeletedCount: int32(t.deleted), RepairedCount: int32(t.repaired),
	}
}

// Sweep compares meetings, rules and rooms, and repairs what does not fit. It is for a job every 30 s; running it twice at
// once is harmless.
func (s *Service) Sweep(ctx context.Context) error {
	_, err := s.reconcile(ctx)
	return err
}

// reconcile is [Service.Sweep], and says what it did. A room that fails does not keep the others from it.
func (s *Service) reconcile(ctx context.Context) (done totals, err error) {
	defer func() {
		outcome := "ok"
		if err != nil {
			outcome = "failed"
		}
		s.Metrics.sweeps.WithLabelValues(outcome).Inc()
	}()
	failures := []error{s.restLeftBehind(ctx)}
	rooms, err := s.survey(ctx)
	if err != nil {
		return done, errors.Join(append(failures, livekitFault(err))...)
	}
	for _, x := range rooms {
		if x.fits() {
			continue
		}
		if err := s.repair(ctx, x, &done); err != nil {
			failures = append(failures, fmt.Errorf("room %s: %w", x.room, err))
		}
	}
	if err := errors.Join(failures...); err != nil {
		return done, fault.ErrLiveKit.Because(err)
	}
	return done, nil
}

// repair brings one room in order.
func (s *Service) repair(ctx context.Context, x *situation, done *totals) error {
	row, err := s.row(ctx, x.room)
	if err != nil {
		return err
	}
	leased, err := s.isLeased(ctx, row)
	if err != nil {
		return err
	}
	if leased || stateOf(row) != stateOf(x.row) {
		return nil // somebody was changing it while we looked; the next sweep sees how it ended
	}
	for _, f := range x.findings() {
		if f.state == inSync {
			continue
		}
		s.Metrics.findings.WithLabelValues(stateName(f.state)).Inc()
		s.Log.WarnContext(ctx, "dial-in is not as it should be", "room", f.room, "rule", f.ruleID, "trunk", f.trunkID,
			"state", stateName(f.state))
	}
	if err := s.DB.Run(ctx, func(tx *ent.Client) error { return markStale(ctx, tx, x.room) }); err != nil {
		return err
	}
	did, err := s.settle(ctx, x.room)
	done.add(did)
	return err
}
