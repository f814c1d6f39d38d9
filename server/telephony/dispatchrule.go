package telephony

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
)

// This file decides which dispatch rule a room has; adapter/livekit tells LiveKit (CreateRule, in phone.go).

// rulePrefix begins the names of our rules, before the id of the room.
const rulePrefix = "SIP_"

// ruleName is the name of a room's rule.
func ruleName(room uuid.UUID) string { return rulePrefix + room.String() }

// ruleRoom is the room whose rule has that name. Only the one spelling that we use counts: what is called otherwise is
// somebody else's.
func ruleRoom(name string) (uuid.UUID, bool) {
	text, ok := strings.CutPrefix(name, rulePrefix)
	id, err := uuid.Parse(text)
	return id, ok && err == nil && id.String() == text
}

// wanted is the rule that a room should have.
type wanted struct {
	room uuid.UUID
	pin  *ent.Pin
	held bool
	// trunks are those in use.
	trunks []Trunk
}

// trunkID is LiveKit's id of the trunk that the PIN is good on; "" while its line has none.
func (w wanted) trunkID() string {
	t, _ := find(w.trunks, w.pin.TrunkID)
	return t.ID
}

// rule is the wanted rule in LiveKit's form.
func (w wanted) rule(id string) meeting.DispatchRule {
	return meeting.DispatchRule{
		ID: id, Name: ruleName(w.room), Room: w.room.String(), PIN: w.pin.Pin, Trunks: []string{w.trunkID()},
		Held: w.held, HidesNumbers: true,
	}
}

// state is the state of the row once LiveKit has that rule.
func (w wanted) state(id string) ruleState {
	return ruleState{ruleID: id, trunkID: w.trunkID(), pinID: w.pin.ID, held: w.held}
}

// matches reports whether a rule that LiveKit has is the wanted one.
func (w wanted) matches(r meeting.DispatchRule) bool {
	return r.Name == ruleName(w.room) && r.Room == w.room.String() && r.PIN == w.pin.Pin &&
		slices.Equal(r.Trunks, []string{w.trunkID()}) &&
		r.Held == w.held &&
		r.HidesNumbers
}

// outcome counts the changes to the rule of a room.
type outcome struct {
	// ruleID is empty when there is none.
	ruleID           string
	created, changed bool
	deleted          int
	// acted is true when LiveKit may have been told something.
	acted bool
}

// add adds what was done next.
func (o *outcome) add(next outcome) {
	o.ruleID, o.deleted = next.ruleID, o.deleted+next.deleted
	o.created, o.changed, o.acted = o.created || next.created, o.changed || next.changed, o.acted || next.acted
}

// errNoTrunk is a room whose PIN belongs to a line that no trunk in use has. Then everything stays as it is.
var errNoTrunk = fault.ErrConflict.Saying(
	"the room's PIN was given out with numbers that no trunk in use has: the operator has to give a trunk these numbers",
)

// wants works out the rule that a room should have now. It fails with auth.ErrRoomNotFound or [ErrDisabled] when it should
// have none. Whether somebody is in the meeting it leaves open: see [Service.requireLive].
func (s *Service) wants(ctx context.Context, id uuid.UUID) (wanted, error) {
	trunks := s.Trunks.inUse(ctx)
	if len(trunks) == 0 {
		return wanted{}, ErrDisabled
	}
	r, err := s.DB.Read.Room.Get(ctx, id)
	switch {
	case ent.IsNotFound(err):
		return wanted{}, auth.ErrRoomNotFound
	case err != nil:
		return wanted{}, fmt.Errorf("find room: %w", err)
	case !allowed(r):
		return wanted{}, ErrDisabled
	}
	p, err := s.ensurePIN(ctx, id, trunks)
	if err != nil {
		return wanted{}, err
	}
	w := wanted{room: id, pin: p, held: held(r), trunks: trunks}
	if w.trunkID() == "" {
		return wanted{}, errNoTrunk
	}
	return w, nil
}

// requireLive refuses rooms in whose meeting nobody is who came by browser.
func (s *Service) requireLive(ctx context.Context, id uuid.UUID) error {
	ok, err := s.isLive(ctx, id)
	switch {
	case err != nil:
		return fault.ErrLiveKit.Because(err)
	case !ok:
		return fault.ErrNotLive
	}
	return nil
}

// isLive reports whether somebody is in the meeting of a room who came by browser.
func (s *Survey) isLive(ctx context.Context, id uuid.UUID) (bool, error) {
	people, err := s.LiveKit.Participants(ctx, id)
	if err != nil && !errors.Is(err, meeting.ErrNotFound) {
		return false, err
	}
	return slices.ContainsFunc(people, func(p meeting.Participant) bool {
		return p.Kind == usherv1.ParticipantKind_PARTICIPANT_KIND_WEB
	}), nil
}

// trust says what a room's row is worth that says which rule LiveKit has.
type trust bool

const (
	// believe takes the row's word, as the sweep looks at all rules anyway.
	believe trust = true
	// ask has LiveKit say whether it has the rule.
	ask trust = false
)

// open makes sure that LiveKit has the one rule of a room, unless check fails, which is called once. What it costs does
// not depend on how many rules there are, unless something went wrong before: LiveKit is not asked for its rules.
func (s *Service) open(
	ctx context.Context, id uuid.UUID, row trust, check func(ctx context.Context, id uuid.UUID) error,
) (done outcome, err error) {
	w, err := s.wants(ctx, id)
	if err != nil {
		return done, err
	}
	known, err := s.row(ctx, id)
	if err != nil {
		return done, err
	}
	if is := stateOf(known); row == believe && is.ruleID != "" && is == w.state(is.ruleID) {
		return outcome{ruleID: is.ruleID}, check(ctx, id)
	}
	err = s.withLease(ctx, id, func(ctx context.Context, was ruleState) (ruleState, error) {
		done.acted = true
		// Things may have changed while others had the lease.
		w, err := s.wants(ctx, id)
		if err == nil {
			err = check(ctx, id)
		}
		if err != nil {
			return was, err
		}
		is, err := s.ensure(ctx, was, row, w, &done)
		if err != nil {
			return is, livekitFault(err)
		}
		done.ruleID = is.ruleID
		return is, nil
	})
	return done, err
}

// livekitFault is the refusal for an error of LiveKit's; faults stay what they are.
func livekitFault(err error) error {
	for _, theirs := range []error{meeting.ErrUnavailable, meeting.ErrNoTelephony, meeting.ErrClash, context.DeadlineExceeded} {
		if errors.Is(err, theirs) {
			return fault.ErrLiveKit.Because(err)
		}
	}
	return err
}

// ensure makes what LiveKit has the wanted rule. It returns what LiveKit has been told, also when it fails. The lease must
// be held.
func (s *Service) ensure(
	ctx context.Context, was ruleState, row trust, w wanted, done *outcome,
) (is ruleState, err error) {
	is = was
	if is.stale {
		if is, err = s.resolveRules(ctx, is, w, done); err != nil {
			return is, err
		}
	}
	for n := range maxDraws {
		if is == w.state(is.ruleID) && is.ruleID != "" && (row == believe || n > 0) {
			return is, nil
		}
		next, err := s.apply(ctx, is, w, done)
		if !errors.Is(err, meeting.ErrClash) {
			return next, err
		}
		if is, w, err = s.resolveClash(ctx, next, w, done); err != nil {
			return is, err
		}
	}
	return is, errPair
}

// apply tells LiveKit the wanted rule: in place if the room has one on that trunk, or else as another one.
func (s *Service) apply(ctx context.Context, was ruleState, w wanted, done *outcome) (ruleState, error) {
	if was.ruleID != "" && was.trunkID == w.trunkID() {
		switch err := s.LiveKit.UpdateRule(ctx, w.rule(was.ruleID)); {
		case errors.Is(err, meeting.ErrNotFound):
			was = ruleState{} // somebody deleted it
		case errors.Is(err, meeting.ErrClash):
			return was, err
		case err != nil:
			was.stale = true
			return was, err
		default:
			is := w.state(was.ruleID)
			done.changed = done.changed || is != was // else LiveKit was only asked whether it has the rule
			return is, nil
		}
	}
	id, err := s.LiveKit.CreateRule(ctx, w.rule(""))
	if err != nil {
		// Without an answer it may have been made.
		was.stale = was.stale || !errors.Is(err, meeting.ErrClash)
		return was, err
	}
	done.created = true
	is := w.state(id)
	if was.ruleID == "" {
		return is, nil
	}
	// The room moved to another trunk.
	if err := s.delete(ctx, was.ruleID, done); err != nil {
		is.stale = true
		return is, err
	}
	return is, nil
}

// delete deletes a rule. That there is none is success.
func (s *Service) delete(ctx context.Context, id string, done *outcome) error {
	err := s.LiveKit.DeleteRule(ctx, id)
	if errors.Is(err, meeting.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("rule %s: %w", id, err)
	}
	done.deleted++
	return nil
}
