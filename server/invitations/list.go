package invitations

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	"github.com/usher-meet/usher/gen/ent/predicate"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/auth"
)

// cursor is where a page of invitations ended.
type cursor struct {
	CreateTime time.Time `json:"t"`
	ID         uuid.UUID `json:"i"`
}

// list returns a page of the invitations to a room, newest first, and the token of the next page.
func (s *Service) list(ctx context.Context, req *usherv1.ListInvitationsRequest) ([]*ent.Invitation, string, error) {
	size, err := page.Size(req.GetPageSize())
	if err != nil {
		return nil, "", err
	}
	a, err := auth.FindRoom(ctx, s.DB.Read, req.GetRoom())
	if err != nil {
		return nil, "", err
	}
	if err := a.RequireAdministrator(); err != nil {
		return nil, "", err
	}
	list := page.List{
		Keys: s.Keys, Caller: a.Caller.Key(), Method: usherv1connect.InvitationsServiceListInvitationsProcedure,
		Filter: []string{a.Room.ID.String(), strconv.Itoa(int(req.GetStatus()))},
	}
	query := s.DB.Read.Invitation.Query().Where(invitation.RoomID(a.Room.ID)).Where(withStatus(req.GetStatus(), now())...).
		Order(ent.Desc(invitation.FieldCreateTime, invitation.FieldID)).Limit(size + 1)
	if req.GetPageToken() != "" {
		var c cursor
		if err := list.Cursor(req.GetPageToken(), &c); err != nil {
			return nil, "", err
		}
		query.Where(invitation.Or(invitation.CreateTimeLT(c.CreateTime),
			invitation.And(invitation.CreateTime(c.CreateTime), invitation.IDLT(c.ID))))
	}
	found, err := query.All(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list invitations to %s: %w", a.Room.ID, err)
	}
	if len(found) <= size {
		return found, "", nil
	}
	end := found[size-1]
	next, err := list.Token(cursor{CreateTime: end.CreateTime.UTC(), ID: end.ID})
	return found[:size], next, err
}

// withStatus matches invitations by where they stand at a time, as statusOf says it.
func withStatus(status usherv1.InvitationStatus, at time.Time) []predicate.Invitation {
	switch status {
	case usherv1.InvitationStatus_INVITATION_STATUS_UNSPECIFIED:
		return nil
	case revoked:
		return []predicate.Invitation{invitation.StatusEQ(revoked)}
	case expired:
		return []predicate.Invitation{invitation.StatusNEQ(revoked), invitation.ExpireTimeLTE(at)}
	case pending, sent, bounced:
	}
	return []predicate.Invitation{invitation.StatusEQ(status), invitation.ExpireTimeGT(at)}
}

// view is an invitation as hosts see it.
func view(i *ent.Invitation, at time.Time) *usherv1.Invitation {
	v := &usherv1.Invitation{
		Id: i.ID.String(), RoomId: i.RoomID.String(), Email: string(i.Address), Language: i.Language, Status: statusOf(i, at),
		Response: i.Response, SkipLobby: i.SkipLobby, Timezone: i.Timezone, Recurrence: i.Recurrence, Message: i.Message,
		ExpireTime: timestamppb.New(i.ExpireTime), CreateTime: timestamppb.New(i.CreateTime), AdmissionCount: i.Admissions,
	}
	if v.GetLanguage() == "" {
		v.Language = i.InviterLanguage
	}
	if i.StartTime != nil && i.EndTime != nil {
		v.StartTime, v.EndTime = timestamppb.New(*i.StartTime), timestamppb.New(*i.EndTime)
	}
	if i.SendTime != nil {
		v.SendTime = timestamppb.New(*i.SendTime)
	}
	if i.InviterID != nil {
		v.InviterUserId = i.InviterID.String()
	}
	return v
}
