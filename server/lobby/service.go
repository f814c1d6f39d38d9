package lobby

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
)

var _ usherv1connect.LobbyServiceHandler = (*Service)(nil)

// RequestEntry implements [usherv1connect.LobbyServiceHandler].
func (s *Service) RequestEntry(
	ctx context.Context, req *usherv1.RequestEntryRequest,
) (*usherv1.RequestEntryResponse, error) {
	e, err := s.request(ctx, req)
	if err != nil {
		return nil, err
	}
	return &usherv1.RequestEntryResponse{Entry: e}, nil
}

// WatchEntry implements [usherv1connect.LobbyServiceHandler].
func (s *Service) WatchEntry(
	ctx context.Context, req *usherv1.WatchEntryRequest, stream *connect.ServerStream[usherv1.WatchEntryResponse],
) error {
	unbuffered(stream.ResponseHeader())
	return s.watchEntry(ctx, req, stream.Send)
}

// CancelEntry implements [usherv1connect.LobbyServiceHandler].
func (s *Service) CancelEntry(ctx context.Context, req *usherv1.CancelEntryRequest) (*usherv1.CancelEntryResponse, error) {
	if err := s.cancel(ctx, req); err != nil {
		return nil, err
	}
	return &usherv1.CancelEntryResponse{}, nil
}

// ListWaiting implements [usherv1connect.LobbyServiceHandler].
func (s *Service) ListWaiting(ctx context.Context, req *usherv1.ListWaitingRequest) (*usherv1.ListWaitingResponse, error) {
	a, err := s.host(ctx, req.GetRoom())
	if err != nil {
		return nil, err
	}
	waiting, err := s.waiting(ctx, a)
	if err != nil {
		return nil, err
	}
	entries, err := s.hostViews(ctx, waiting)
	if err != nil {
		return nil, err
	}
	return &usherv1.ListWaitingResponse{
		Entries: entries, HostPresent: s.hostPresent(ctx, a.Room.ID), RetryAfter: durationpb.New(pollAfter),
	}, nil
}

// WatchWaiting implements [usherv1connect.LobbyServiceHandler].
func (s *Service) WatchWaiting(
	ctx context.Context, req *usherv1.WatchWaitingRequest, stream *connect.ServerStream[usherv1.WatchWaitingResponse],
) error {
	unbuffered(stream.ResponseHeader())
	return s.watchWaiting(ctx, req, stream.Send)
}

// DecideEntry implements [usherv1connect.LobbyServiceHandler].
func (s *Service) DecideEntry(ctx context.Context, req *usherv1.DecideEntryRequest) (*usherv1.DecideEntryResponse, error) {
	e, err := s.decide(ctx, req)
	if err != nil {
		return nil, err
	}
	return &usherv1.DecideEntryResponse{Entry: e}, nil
}

// DecideAllEntries implements [usherv1connect.LobbyServiceHandler].
func (s *Service) DecideAllEntries(
	ctx context.Context, req *usherv1.DecideAllEntriesRequest,
) (*usherv1.DecideAllEntriesResponse, error) {
	decided, skipped, err := s.decideAll(ctx, req)
	if err != nil {
		return nil, err
	}
	return &usherv1.DecideAllEntriesResponse{Decided: decided, Skipped: skipped}, nil
}
