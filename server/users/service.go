package users

import (
	"context"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/text"
)

var _ usherv1connect.UsersServiceHandler = (*Service)(nil)

// GetMe implements [usherv1connect.UsersServiceHandler].
func (s *Service) GetMe(ctx context.Context, _ *usherv1.GetMeRequest) (*usherv1.GetMeResponse, error) {
	u, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	return &usherv1.GetMeResponse{User: view(u)}, nil
}

// UpdateMe implements [usherv1connect.UsersServiceHandler].
func (s *Service) UpdateMe(ctx context.Context, req *usherv1.UpdateMeRequest) (*usherv1.UpdateMeResponse, error) {
	caller, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.update(ctx, caller.ID, req)
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "user updated", "user", u.ID)
	return &usherv1.UpdateMeResponse{User: view(u)}, nil
}

// SearchUsers implements [usherv1connect.UsersServiceHandler].
func (s *Service) SearchUsers(ctx context.Context, req *usherv1.SearchUsersRequest) (*usherv1.SearchUsersResponse, error) {
	if _, err := auth.RequireUser(ctx); err != nil {
		return nil, err
	}
	if err := s.Limiter.Take(ctx, ratelimit.Call{Limit: s.LookupLimit, Key: auth.FromContext(ctx).Key()}); err != nil {
		return nil, err
	}
	found, err := s.search(ctx, req.GetQuery())
	if err != nil {
		return nil, err
	}
	res := &usherv1.SearchUsersResponse{}
	for _, u := range found {
		res.Users = append(res.Users, &usherv1.UserSummary{
			Id: u.ID.String(), DisplayName: text.PersonName(u.FullName, u.ShortName, u.Email),
		})
	}
	return res, nil
}
