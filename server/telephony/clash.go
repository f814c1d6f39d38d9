package telephony

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
)

// Whose rule a clash was with.
const (
	clashOwn     = "own"     // the same room's: an answer was lost
	clashOrphan  = "orphan"  // that of a room that should have none
	clashLive    = "live"    // that of another room, which is dialled
	clashForeign = "foreign" // one of another program
	clashPair    = "pair"    // none with that PIN: two others clash, and LiveKit holds that against all
)

// errPair is a clash that nothing of ours causes.
var errPair = fault.ErrConflict.Saying(
	"dispatch rules that are not Usher's clash in LiveKit, and keep rooms from being dialled: the operator has to delete one",
)

// resolveRules finds out what LiveKit really has of a room, after an answer was lost or somebody changed it: one rule stays,
// the others are deleted. The lease must be held.
func (s *Service) resolveRules(ctx context.Context, was ruleState, w wanted, done *outcome) (ruleState, error) {
	found, err := s.rulesOf(ctx, w.room, was.trunkID)
	if err != nil {
		return was, err
	}
	return s.keepOne(ctx, found, was.ruleID, w, done)
}

// keepOne chooses which of a room's rules stays and deletes the others. What it says need not be what is wanted.
func (s *Service) keepOne(
	ctx context.Context, own []meeting.DispatchRule, known string, w wanted, done *outcome,
) (ruleState, error) {
	if len(own) == 0 {
		return ruleState{}, nil
	}
	// Best is one that needs no change, then one on the right trunk, then the one that we know of.
	rank := func(r meeting.DispatchRule) int {
		switch {
		case w.matches(r) && r.ID == known:
			return 0
		case w.matches(r):
			return 1
		case slices.Equal(r.Trunks, []string{w.trunkID()}) && r.ID == known:
			return 2
		case slices.Equal(r.Trunks, []string{w.trunkID()}):
			return 3
		}
		return 4
	}
	own = slices.SortedStableFunc(
		slices.Values(own), func(a, b meeting.DispatchRule) int { return cmp.Compare(rank(a), rank(b)) },
	)
	keep, surplus := own[0], own[1:]
	is := ruleState{ruleID: keep.ID, trunkID: keep.Trunks[0], held: keep.Held}
	switch {
	case w.matches(keep):
		is = w.state(keep.ID)
		done.changed = done.changed || keep.ID != known
	case len(keep.Trunks) > 1:
		// Rules cannot be moved: another one is made.
		is, surplus = ruleState{}, own
	}
	var failures []error
	for _, r := range surplus {
		failures = append(failures, s.delete(ctx, r.ID, done))
	}
	if err := errors.Join(failures...); err != nil {
		is.stale = true
		return is, err
	}
	return is, nil
}

// resolveClash does away with what LiveKit holds against the wanted rule. It returns what LiveKit was told, and what is
// wanted now: with another PIN, if the one that the room had is in use elsewhere.
func (s *Service) resolveClash(ctx context.Context, was ruleState, w wanted, done *outcome) (ruleState, wanted, error) {
	rules, err := s.LiveKit.ListRules(ctx, w.trunkID())
	if err != nil {
		return was, w, err
	}
	var own, others []meeting.DispatchRule
	for _, r := range rules {
		switch room, ours := ruleRoom(r.Name); {
		case ours && room == w.room && len(r.Trunks) > 0:
			own = append(own, r)
		case r.PIN == w.pin.Pin && slices.Contains(r.Trunks, w.trunkID()): // those for all trunks do not clash
			others = append(others, r)
		}
	}
	switch {
	case slices.ContainsFunc(own, func(r meeting.DispatchRule) bool { return r.ID != was.ruleID }):
		s.Metrics.clashes.WithLabelValues(clashOwn).Inc()
		is, err := s.keepOne(ctx, own, was.ruleID, w, done)
		return is, w, err
	case len(others) > 0:
		w, err := s.yieldPIN(ctx, others, w, done)
		return was, w, err
	}
	s.Metrics.clashes.WithLabelValues(clashPair).Inc()
	return was, w, s.splitPairs(ctx, rules, done)
}

// yieldPIN deletes the rules with the wanted PIN that should not be there. Where one should be, the room gets another PIN.
func (s *Service) yieldPIN(ctx context.Context, others []meeting.DispatchRule, w wanted, done *outcome) (wanted, error) {
	for _, r := range others {
		room, ours := ruleRoom(r.Name)
		if !ours {
			s.Metrics.clashes.WithLabelValues(clashForeign).Inc()
			return s.redrawPIN(ctx, w, clashForeign)
		}
		theirs, err := s.expect(ctx, room)
		if err != nil {
			return w, err
		}
		if theirs.open {
			s.Metrics.clashes.WithLabelValues(clashLive).Inc()
			return s.redrawPIN(ctx, w, clashLive)
		}
		s.Metrics.clashes.WithLabelValues(clashOrphan).Inc()
		if err := s.deleteOf(ctx, room, r.ID, done); err != nil {
			return w, err
		}
	}
	return w, nil
}

// deleteOf deletes a rule of another room, without that room's lease: two that wait for each other's would wait in vain. So
// what is known about that room is in doubt.
func (s *Service) deleteOf(ctx context.Context, room uuid.UUID, rule string, done *outcome) error {
	err := s.DB.Run(ctx, func(tx *ent.Client) error { return markStale(ctx, tx, room) })
	if err != nil {
		return err
	}
	return s.delete(ctx, rule, done)
}

// redrawPIN gives a room another PIN, unless somebody else did since.
func (s *Service) redrawPIN(ctx context.Context, w wanted, why string) (wanted, error) {
	clashing := w.pin.ID
	p, err := s.draw(ctx, drawing{
		room: w.room.String(), trunks: w.trunks,
		keep: func(p *ent.Pin) bool { return p.ID != clashing },
		then: func(tx *ent.Client, a *auth.Access) error {
			return s.rotated(ctx, tx, a.Room.ID, "reason=clash-"+why)
		},
	})
	if err != nil {
		return w, err
	}
	w.pin = p
	s.Log.WarnContext(
		ctx, "a room got another PIN, because a dispatch rule has the one that it had", "room", w.room, "whose", why,
	)
	return w, nil
}

// rotated records that a room got another PIN by no person's will.
func (s *Service) rotated(ctx context.Context, tx *ent.Client, room uuid.UUID, detail string) error {
	if _, err := s.Invitations.PINChanged(ctx, tx, room, false); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Event{Room: room, Action: audit.PINRotated, Detail: detail})
}

// splitPairs deletes one of each two rules that clash, if it is ours: as long as LiveKit has both, it takes no other rule
// for the trunk, and no call.
func (s *Service) splitPairs(ctx context.Context, rules []meeting.DispatchRule, done *outcome) error {
	seen, split := map[string]meeting.DispatchRule{}, false
	for _, r := range rules {
		for _, trunk := range r.Trunks {
			key := trunk + " " + r.PIN
			first, clash := seen[key]
			if !clash {
				seen[key] = r
				continue
			}
			for _, one := range []meeting.DispatchRule{r, first} {
				room, ours := ruleRoom(one.Name)
				if !ours {
					continue
				}
				if err := s.deleteOf(ctx, room, one.ID, done); err != nil {
					return err
				}
				split = true
				if one.ID == first.ID {
					seen[key] = r
				}
				break
			}
		}
	}
	if !split {
		return errPair
	}
	return nil
}
