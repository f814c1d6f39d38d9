package telephony

import (
	"context"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

var _ usherv1connect.TelephonyServiceHandler = (*Service)(nil)

// GetDialIn implements [usherv1connect.TelephonyServiceHandler].
func (s *Service) GetDialIn(ctx context.Context, req *usherv1.GetDialInRequest) (*usherv1.GetDialInResponse, error) {
	a, err := auth.FindRoom(ctx, s.DB.Read, req.GetRoom())
	if err != nil {
		return nil, err
	}
	if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT {
		return nil, auth.ErrLobbyRequired
	}
	d, err := s.DialIn(ctx, a.Room.ID)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, ErrDisabled
	}
	return &usherv1.GetDialInResponse{DialIn: d}, nil
}

// RotatePin implements [usherv1connect.TelephonyServiceHandler].
func (s *Service) RotatePin(ctx context.Context, req *usherv1.RotatePinRequest) (*usherv1.RotatePinResponse, error) {
	d, outstanding, err := s.rotate(ctx, req.GetRoom(), req.GetResendInvitations())
	if err != nil {
		return nil, err
	}
	count := int32(outstanding) //nolint:gosec // far below the limit
	return &usherv1.RotatePinResponse{DialIn: d, OutstandingInvitationCount: count}, nil
}

// OpenDialIn implements [usherv1connect.TelephonyServiceHandler].
func (s *Service) OpenDialIn(ctx context.Context, req *usherv1.OpenDialInRequest) (*usherv1.OpenDialInResponse, error) {
	id, err := parseRoomID(req.GetRoomId())
	if err != nil {
		return nil, err
	}
	// A service is told what is so, which others may have changed in LiveKit.
	done, err := s.open(ctx, id, ask, s.requireLive)
	if err != nil {
		return nil, err
	}
	s.logOutcome(ctx, id, done)
	return &usherv1.OpenDialInResponse{DispatchRuleId: done.ruleID, Created: done.created}, nil
}

// CloseDialIn implements [usherv1connect.TelephonyServiceHandler].
func (s *Service) CloseDialIn(ctx context.Context, req *usherv1.CloseDialInRequest) (*usherv1.CloseDialInResponse, error) {
	id, err := parseRoomID(req.GetRoomId())
	if err != nil {
		return nil, err
	}
	done, err := s.closeAll(ctx, id)
	if err != nil {
		return nil, err
	}
	s.logOutcome(ctx, id, done)
	return &usherv1.CloseDialInResponse{DeletedCount: int32(done.deleted)}, nil //nolint:gosec // far below the limit
}

// ListDispatchRules implements [usherv1connect.TelephonyServiceHandler].
func (s *Service) ListDispatchRules(
	ctx context.Context, req *usherv1.ListDispatchRulesRequest,
) (*usherv1.ListDispatchRulesResponse, error) {
	found, next, err := s.listRules(ctx, req)
	if err != nil {
		return nil, err
	}
	res := &usherv1.ListDispatchRulesResponse{NextPageToken: next}
	for _, f := range found {
		res.Rules = append(res.Rules, &usherv1.DispatchRule{
			RoomId: f.room.String(), TrunkId: f.trunkID, DispatchRuleId: f.ruleID, State: f.state,
		})
	}
	return res, nil
}

// ReconcileDialIn implements [usherv1connect.TelephonyServiceHandler].
func (s *Service) ReconcileDialIn(
	ctx context.Context, req *usherv1.ReconcileDialInRequest,
) (*usherv1.ReconcileDialInResponse, error) {
	if req.GetRoomId() != "" {
		return s.reconcileRoom(ctx, req.GetRoomId())
	}
	done, err := s.reconcile(ctx)
	if err != nil {
		return nil, err
	}
	return done.response(), nil
}

// reconcileRoom is [Service.ReconcileDialIn] of one room.
func (s *Service) reconcileRoom(ctx context.Context, room string) (*usherv1.ReconcileDialInResponse, error) {
	id, err := parseRoomID(room)
	if err != nil {
		return nil, err
	}
	did, err := s.settle(ctx, id)
	s.logOutcome(ctx, id, did)
	if err != nil {
		return nil, err
	}
	var done totals
	done.add(did)
	return done.response(), nil
}

// logOutcome logs how a room is dialled now, if that changed.
func (s *Service) logOutcome(ctx context.Context, id uuid.UUID, done outcome) {
	switch {
	case done.ruleID != "" && (done.created || done.changed):
		s.Log.InfoContext(ctx, "dial-in opened", "room", id, "rule", done.ruleID, "created", done.created)
	case done.ruleID == "" && done.deleted > 0:
		s.Log.InfoContext(ctx, "dial-in closed", "room", id, "deleted", done.deleted)
	}
}

// ListTrunks implements [usherv1connect.TelephonyServiceHandler].
func (s *Service) ListTrunks(ctx context.Context, _ *usherv1.ListTrunksRequest) (*usherv1.ListTrunksResponse, error) {
	trunks := s.Trunks.inUse(ctx)
	counts, err := s.roomCounts(ctx, trunks)
	if err != nil {
		return nil, err
	}
	res := &usherv1.ListTrunksResponse{}
	for _, t := range trunks {
		view := &usherv1.Trunk{Id: t.ID, RoomCount: counts[t.Line]}
		for _, n := range t.Numbers {
			view.Numbers = append(view.Numbers, n.GetE164())
		}
		if len(t.Numbers) > 0 {
			view.Country = t.Numbers[0].GetCountry()
		}
		res.Trunks = append(res.Trunks, view)
	}
	return res, nil
}

// parseRoomID reads the id of a room. Calls from within this server are not validated beforehand.
func parseRoomID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil, fault.Invalid("room_id", "must be the id of a room")
	}
	return id, nil
}
