package participants

import (
	"context"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/ratelimit"
)

var _ usherv1connect.ParticipantsServiceHandler = (*Service)(nil)

// ListParticipants implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) ListParticipants(
	ctx context.Context, req *usherv1.ListParticipantsRequest,
) (*usherv1.ListParticipantsResponse, error) {
	a, err := s.hosted(ctx, req.GetRoom())
	if err != nil {
		return nil, err
	}
	people, err := s.list(ctx, a.Room.ID)
	if err != nil {
		return nil, err
	}
	return &usherv1.ListParticipantsResponse{Participants: people}, nil
}

// MuteParticipant implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) MuteParticipant(
	ctx context.Context, req *usherv1.MuteParticipantRequest,
) (*usherv1.MuteParticipantResponse, error) {
	if err := s.mute(ctx, req); err != nil {
		return nil, err
	}
	return &usherv1.MuteParticipantResponse{}, nil
}

// UnmuteParticipant implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) UnmuteParticipant(
	ctx context.Context, req *usherv1.UnmuteParticipantRequest,
) (*usherv1.UnmuteParticipantResponse, error) {
	if err := s.unmute(ctx, req); err != nil {
		return nil, err
	}
	return &usherv1.UnmuteParticipantResponse{}, nil
}

// MuteAllParticipants implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) MuteAllParticipants(
	ctx context.Context, req *usherv1.MuteAllParticipantsRequest,
) (*usherv1.MuteAllParticipantsResponse, error) {
	a, err := s.hosted(ctx, req.GetRoom())
	if err != nil {
		return nil, err
	}
	muted, err := s.muteAll(ctx, a, req.GetExceptIdentities())
	if err != nil {
		return nil, err
	}
	return &usherv1.MuteAllParticipantsResponse{MutedCount: muted}, nil
}

// UpdateParticipant implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) UpdateParticipant(
	ctx context.Context, req *usherv1.UpdateParticipantRequest,
) (*usherv1.UpdateParticipantResponse, error) {
	if err := s.update(ctx, req); err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx).Key()
	s.Log.InfoContext(ctx, "participant updated", "participant", req.GetParticipantIdentity(), "caller", caller)
	return &usherv1.UpdateParticipantResponse{}, nil
}

// SetParticipantRole implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) SetParticipantRole(
	ctx context.Context, req *usherv1.SetParticipantRoleRequest,
) (*usherv1.SetParticipantRoleResponse, error) {
	synced, err := s.setRole(ctx, req)
	if err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx).Key()
	s.Log.InfoContext(ctx, "participant's role changed", "participant", req.GetParticipantIdentity(), "caller", caller)
	return &usherv1.SetParticipantRoleResponse{Role: req.GetRole(), LivekitSynced: synced}, nil
}

// RemoveParticipant implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) RemoveParticipant(
	ctx context.Context, req *usherv1.RemoveParticipantRequest,
) (*usherv1.RemoveParticipantResponse, error) {
	_, err := s.remove(ctx, req.GetRoom(), req.GetParticipantIdentity(), req.GetBlockDuration().AsDuration())
	if err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx).Key()
	s.Log.InfoContext(ctx, "participant removed", "participant", req.GetParticipantIdentity(), "caller", caller)
	return &usherv1.RemoveParticipantResponse{}, nil
}

// RaiseHand implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) RaiseHand(ctx context.Context, req *usherv1.RaiseHandRequest) (*usherv1.RaiseHandResponse, error) {
	if err := s.limit(ctx, s.RaiseHandLimit); err != nil {
		return nil, err
	}
	a, session, _, err := s.self(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.hand(ctx, a.Room.ID, session.Identity, req.GetRaised()); err != nil {
		return nil, err
	}
	return &usherv1.RaiseHandResponse{}, nil
}

// Rename implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) Rename(ctx context.Context, req *usherv1.RenameRequest) (*usherv1.RenameResponse, error) {
	if err := s.limit(ctx, s.RenameLimit); err != nil {
		return nil, err
	}
	if _, err := s.rename(ctx, req.GetDisplayName()); err != nil {
		return nil, err
	}
	return &usherv1.RenameResponse{}, nil
}

// limit counts what a person in a meeting does with themselves: each of it asks LiveKit and tells everybody.
func (s *Service) limit(ctx context.Context, of ratelimit.Limit) error {
	call := ratelimit.Call{Limit: of, Key: auth.FromContext(ctx).LimitKey()}
	return s.Limiter.Allow(ctx, call)
}

// LowerHand implements [usherv1connect.ParticipantsServiceHandler].
func (s *Service) LowerHand(ctx context.Context, req *usherv1.LowerHandRequest) (*usherv1.LowerHandResponse, error) {
	a, err := s.hosted(ctx, req.GetRoom())
	if err != nil {
		return nil, err
	}
	if err := s.hand(ctx, a.Room.ID, req.GetParticipantIdentity(), false); err != nil {
		return nil, err
	}
	return &usherv1.LowerHandResponse{}, nil
}
