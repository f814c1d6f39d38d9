package invitations

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/idempotency"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

var _ usherv1connect.InvitationsServiceHandler = (*Service)(nil)

// CreateInvitations implements [usherv1connect.InvitationsServiceHandler].
func (s *Service) CreateInvitations(
	ctx context.Context, req *usherv1.CreateInvitationsRequest,
) (*usherv1.CreateInvitationsResponse, error) {
	user, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	b, err := s.read(user, req)
	if err != nil {
		return nil, err
	}
	body := proto.CloneOf(req)
	body.RequestId = ""
	key, err := idempotency.New(auth.FromContext(ctx).Key(), usherv1connect.InvitationsServiceCreateInvitationsProcedure,
		req.GetRequestId(), body, s.Rules.IdempotencyLife)
	if err != nil {
		return nil, err
	}
	res, err := s.create(ctx, b, key)
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "people invited", "caller", auth.FromContext(ctx).Key(),
		"invitations", len(res.GetInvitations()), "refused", len(res.GetRefused()))
	return res, nil
}

// GetInvitation implements [usherv1connect.InvitationsServiceHandler].
func (s *Service) GetInvitation(
	ctx context.Context, req *usherv1.GetInvitationRequest,
) (*usherv1.GetInvitationResponse, error) {
	i, err := find(ctx, s.DB.Read, req.GetInvitationId(), false)
	if err != nil {
		return nil, err
	}
	return &usherv1.GetInvitationResponse{Invitation: view(i, now())}, nil
}

// ListInvitations implements [usherv1connect.InvitationsServiceHandler].
func (s *Service) ListInvitations(
	ctx context.Context, req *usherv1.ListInvitationsRequest,
) (*usherv1.ListInvitationsResponse, error) {
	found, next, err := s.list(ctx, req)
	if err != nil {
		return nil, err
	}
	res := &usherv1.ListInvitationsResponse{NextPageToken: next}
	for _, i := range found {
		res.Invitations = append(res.Invitations, view(i, now()))
	}
	return res, nil
}

// UpdateInvitation implements [usherv1connect.InvitationsServiceHandler].
func (s *Service) UpdateInvitation(
	ctx context.Context, req *usherv1.UpdateInvitationRequest,
) (*usherv1.UpdateInvitationResponse, error) {
	user, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	i, err := s.update(ctx, user, req)
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "invitation updated", "invitation", i.ID, "caller", auth.FromContext(ctx).Key())
	return &usherv1.UpdateInvitationResponse{Invitation: view(i, now())}, nil
}

// ResendInvitation implements [usherv1connect.InvitationsServiceHandler].
func (s *Service) ResendInvitation(
	ctx context.Context, req *usherv1.ResendInvitationRequest,
) (*usherv1.ResendInvitationResponse, error) {
	user, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	i, err := s.resend(ctx, user, req.GetInvitationId())
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "invitation sent again", "invitation", i.ID, "caller", auth.FromContext(ctx).Key())
	return &usherv1.ResendInvitationResponse{Invitation: view(i, now())}, nil
}

// RevokeInvitation implements [usherv1connect.InvitationsServiceHandler].
func (s *Service) RevokeInvitation(
	ctx context.Context, req *usherv1.RevokeInvitationRequest,
) (*usherv1.RevokeInvitationResponse, error) {
	i, room, err := s.revoke(ctx, req.GetInvitationId())
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "invitation revoked", "invitation", i.ID, "caller", auth.FromContext(ctx).Key())
	if req.GetRotatePin() {
		_, err := s.Telephony.RotatePin(ctx, &usherv1.RotatePinRequest{Room: room.String()})
		if err != nil && !isTelephonyOff(err) {
			return nil, err
		}
	}
	return &usherv1.RevokeInvitationResponse{Invitation: view(i, now())}, nil
}

// ResolveInvitation implements [usherv1connect.InvitationsServiceHandler].
func (s *Service) ResolveInvitation(
	ctx context.Context, req *usherv1.ResolveInvitationRequest,
) (*usherv1.ResolveInvitationResponse, error) {
	return s.resolve(ctx, req.GetToken())
}

// RespondInvitation implements [usherv1connect.InvitationsServiceHandler].
func (s *Service) RespondInvitation(
	ctx context.Context, req *usherv1.RespondInvitationRequest,
) (*usherv1.RespondInvitationResponse, error) {
	if err := s.respond(ctx, req.GetToken(), req.GetResponse()); err != nil {
		return nil, err
	}
	return &usherv1.RespondInvitationResponse{Response: req.GetResponse()}, nil
}

// isTelephonyOff reports whether a room cannot be dialled: then it has no PIN that anybody could know.
func isTelephonyOff(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && f.Reason == usherv1.ErrorReason_ERROR_REASON_TELEPHONY_DISABLED
}
