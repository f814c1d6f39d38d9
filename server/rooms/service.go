package rooms

import (
	"context"

	"google.golang.org/protobuf/proto"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/idempotency"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/ratelimit"
)

var _ usherv1connect.RoomsServiceHandler = (*Service)(nil)

// CreateRoom implements [usherv1connect.RoomsServiceHandler].
func (s *Service) CreateRoom(ctx context.Context, req *usherv1.CreateRoomRequest) (*usherv1.CreateRoomResponse, error) {
	caller := auth.FromContext(ctx)
	n, err := s.newRoom(caller, req)
	if err != nil {
		return nil, err
	}
	body := proto.CloneOf(req)
	body.RequestId = ""
	procedure := usherv1connect.RoomsServiceCreateRoomProcedure
	key, err := idempotency.New(caller.Key(), procedure, req.GetRequestId(), body, s.IdempotencyLife)
	if err != nil {
		return nil, err
	}
	res, repeated, err := s.create(ctx, n, key)
	if err != nil {
		return nil, err
	}
	if !repeated {
		s.Log.InfoContext(ctx, "room created", "room", res.GetRoom().GetId(), "caller", caller.Key())
	}
	return res, nil
}

// GetRoom implements [usherv1connect.RoomsServiceHandler].
func (s *Service) GetRoom(ctx context.Context, req *usherv1.GetRoomRequest) (*usherv1.GetRoomResponse, error) {
	a, err := auth.FindRoom(ctx, s.DB.Read, req.GetRoom())
	if err != nil {
		return nil, err
	}
	view, err := s.liveView(ctx, a)
	if err != nil {
		return nil, err
	}
	return &usherv1.GetRoomResponse{Room: view}, nil
}

// ListRooms implements [usherv1connect.RoomsServiceHandler].
func (s *Service) ListRooms(ctx context.Context, req *usherv1.ListRoomsRequest) (*usherv1.ListRoomsResponse, error) {
	u, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	found, next, err := s.list(ctx, u, req)
	if err != nil {
		return nil, err
	}
	views, err := s.liveViews(ctx, found...)
	if err != nil {
		return nil, err
	}
	return &usherv1.ListRoomsResponse{Rooms: views, NextPageToken: next}, nil
}

// UpdateRoom implements [usherv1connect.RoomsServiceHandler].
func (s *Service) UpdateRoom(ctx context.Context, req *usherv1.UpdateRoomRequest) (*usherv1.UpdateRoomResponse, error) {
	a, err := s.update(ctx, req)
	if err != nil {
		return nil, err
	}
	s.Tasks.Wake()
	s.Log.InfoContext(ctx, "room updated", "room", a.Room.ID, "caller", a.Caller.Key(), "version", a.Room.Version)
	view, err := s.liveView(ctx, a)
	if err != nil {
		return nil, err
	}
	return &usherv1.UpdateRoomResponse{Room: view}, nil
}

// DeleteRoom implements [usherv1connect.RoomsServiceHandler].
func (s *Service) DeleteRoom(ctx context.Context, req *usherv1.DeleteRoomRequest) (*usherv1.DeleteRoomResponse, error) {
	id, err := s.delete(ctx, req.GetRoom())
	if err != nil {
		return nil, err
	}
	s.Tasks.Wake()
	s.Log.InfoContext(ctx, "room deleted", "room", id, "caller", auth.FromContext(ctx).Key())
	return &usherv1.DeleteRoomResponse{}, nil
}

// JoinRoom implements [usherv1connect.RoomsServiceHandler].
func (s *Service) JoinRoom(ctx context.Context, req *usherv1.JoinRoomRequest) (*usherv1.JoinRoomResponse, error) {
	if err := s.limitJoins(ctx); err != nil {
		return nil, err
	}
	a, connection, err := s.joinRoom(ctx, req)
	if err != nil {
		return nil, err
	}
	phones, err := s.Telephony.DialIns(ctx, a.Room)
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "room joined", "room", a.Room.ID, "participant", connection.GetParticipantIdentity())
	return &usherv1.JoinRoomResponse{Connection: connection, DialIn: phones[a.Room.ID]}, nil
}

// RenewConnection implements [usherv1connect.RoomsServiceHandler].
func (s *Service) RenewConnection(
	ctx context.Context, _ *usherv1.RenewConnectionRequest,
) (*usherv1.RenewConnectionResponse, error) {
	session := auth.FromContext(ctx).Participant
	if session == nil {
		return nil, auth.ErrUnauthenticated
	}
	if err := s.limitJoins(ctx); err != nil {
		return nil, err
	}
	connection, err := s.renew(ctx, session)
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "connection renewed", "room", session.RoomID, "participant", session.Identity)
	return &usherv1.RenewConnectionResponse{Connection: connection}, nil
}

// EndMeeting implements [usherv1connect.RoomsServiceHandler].
func (s *Service) EndMeeting(ctx context.Context, req *usherv1.EndMeetingRequest) (*usherv1.EndMeetingResponse, error) {
	id, ended, err := s.endMeeting(ctx, req.GetRoom())
	if err != nil {
		return nil, err
	}
	s.Tasks.Wake()
	// A Redis that is gone is said: the call may be repeated, and then clears what is left.
	if err := s.Lobby.RoomFinished(ctx, id); err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "meeting ended", "room", id, "caller", auth.FromContext(ctx).Key(), "changed", ended)
	return &usherv1.EndMeetingResponse{}, nil
}

// limitJoins counts a call that makes a LiveKit token.
func (s *Service) limitJoins(ctx context.Context) error {
	return s.limitJoinsOf(ctx, auth.FromContext(ctx))
}

func (s *Service) limitJoinsOf(ctx context.Context, c *auth.Caller) error {
	call := ratelimit.Call{Limit: s.JoinLimit, Key: c.LimitKey()}
	return s.Limiter.Allow(ctx, call)
}

// ResolveCreationCallback implements [usherv1connect.RoomsServiceHandler].
func (s *Service) ResolveCreationCallback(
	ctx context.Context, req *usherv1.ResolveCreationCallbackRequest,
) (*usherv1.ResolveCreationCallbackResponse, error) {
	r, err := s.resolveCallback(ctx, req.GetCallbackId())
	if err != nil || r == nil {
		return &usherv1.ResolveCreationCallbackResponse{}, err
	}
	return &usherv1.ResolveCreationCallbackResponse{Room: &usherv1.CreatedRoom{Id: r.ID.String(), Slug: r.Slug}}, nil
}

// ListMembers implements [usherv1connect.RoomsServiceHandler].
func (s *Service) ListMembers(ctx context.Context, req *usherv1.ListMembersRequest) (*usherv1.ListMembersResponse, error) {
	found, next, err := s.listMembers(ctx, req)
	if err != nil {
		return nil, err
	}
	res := &usherv1.ListMembersResponse{NextPageToken: next}
	for _, m := range found {
		res.Members = append(res.Members, listedMember(m))
	}
	return res, nil
}

// AddMember implements [usherv1connect.RoomsServiceHandler].
func (s *Service) AddMember(ctx context.Context, req *usherv1.AddMemberRequest) (*usherv1.AddMemberResponse, error) {
	p, err := readPerson(req.GetUserId(), req.GetEmail())
	if err != nil {
		return nil, err
	}
	m, err := s.addMember(ctx, req.GetRoom(), p, req.GetRole())
	if err != nil {
		return nil, err
	}
	s.Tasks.Wake()
	caller := auth.FromContext(ctx).Key()
	s.Log.InfoContext(ctx, "member added", "room", m.RoomID, "member", m.ID, "role", m.Role, "caller", caller)
	return &usherv1.AddMemberResponse{Member: memberView(m)}, nil
}

// UpdateMember implements [usherv1connect.RoomsServiceHandler].
func (s *Service) UpdateMember(
	ctx context.Context, req *usherv1.UpdateMemberRequest,
) (*usherv1.UpdateMemberResponse, error) {
	p, err := readPerson(req.GetUserId(), req.GetEmail())
	if err != nil {
		return nil, err
	}
	m, err := s.updateMember(ctx, req.GetRoom(), p, req.GetRole())
	if err != nil {
		return nil, err
	}
	s.Tasks.Wake()
	caller := auth.FromContext(ctx).Key()
	s.Log.InfoContext(ctx, "member updated", "room", m.RoomID, "member", m.ID, "role", m.Role, "caller", caller)
	return &usherv1.UpdateMemberResponse{Member: memberView(m)}, nil
}

// RemoveMember implements [usherv1connect.RoomsServiceHandler].
func (s *Service) RemoveMember(
	ctx context.Context, req *usherv1.RemoveMemberRequest,
) (*usherv1.RemoveMemberResponse, error) {
	p, err := readPerson(req.GetUserId(), req.GetEmail())
	if err != nil {
		return nil, err
	}
	roomID, err := s.removeMember(ctx, req.GetRoom(), p)
	if err != nil {
		return nil, err
	}
	s.Tasks.Wake()
	s.Log.InfoContext(ctx, "member removed", "room", roomID, "user", p.userID, "caller", auth.FromContext(ctx).Key())
	return &usherv1.RemoveMemberResponse{}, nil
}

// ListAuditEvents implements [usherv1connect.RoomsServiceHandler].
func (s *Service) ListAuditEvents(
	ctx context.Context, req *usherv1.ListAuditEventsRequest,
) (*usherv1.ListAuditEventsResponse, error) {
	found, next, err := s.listAudit(ctx, req)
	if err != nil {
		return nil, err
	}
	res := &usherv1.ListAuditEventsResponse{NextPageToken: next}
	for _, e := range found {
		res.Events = append(res.Events, auditView(e))
	}
	return res, nil
}
