package rooms

import (
	"context"
	"fmt"

	"entgo.io/ent/dialect/sql"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/auditevent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
)

// recordMember records what was done to a member, by account, or by row while there is none: an address is no id.
func recordMember(ctx context.Context, tx *ent.Client, action audit.Action, m *ent.Member, detail string) error {
	target := audit.Member(m.ID)
	if m.UserID != nil {
		target = audit.User(*m.UserID)
	}
	return audit.Record(ctx, tx, audit.Event{Room: m.RoomID, Action: action, Target: target, Detail: detail})
}

// recordRole records that m has another role than it was, if it has. Unspecified: m was no member.
func recordRole(ctx context.Context, tx *ent.Client, m *ent.Member, was usherv1.Role) error {
	role := "role=" + auth.RoleName(m.Role)
	if was == m.Role {
		return nil
	}
	if was == usherv1.Role_ROLE_UNSPECIFIED {
		return recordMember(ctx, tx, audit.MemberAdded, m, role)
	}
	return recordMember(ctx, tx, audit.MemberRoleChanged, m, role+" was="+auth.RoleName(was))
}

// auditCursor is where a page of events ended.
type auditCursor struct {
	ID int64 `json:"i"`
}

// listAudit returns a page of what was done in a room, newest first, and the token of the next page.
func (s *Service) listAudit(ctx context.Context, req *usherv1.ListAuditEventsRequest) ([]*ent.AuditEvent, string, error) {
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
		Keys: s.Keys, Caller: a.Caller.Key(), Method: usherv1connect.RoomsServiceListAuditEventsProcedure,
		Filter: []string{a.Room.ID.String()},
	}
	query := s.DB.Read.AuditEvent.Query().Where(auditevent.RoomID(a.Room.ID)).
		Order(auditevent.ByID(sql.OrderDesc())).Limit(size + 1)
	if req.GetPageToken() != "" {
		var after auditCursor
		if err := list.Cursor(req.GetPageToken(), &after); err != nil {
			return nil, "", err
		}
		query.Where(auditevent.IDLT(after.ID))
	}
	found, err := query.All(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list audit events of %s: %w", a.Room.ID, err)
	}
	return page.Cut(list, found, size, func(last *ent.AuditEvent) any { return auditCursor{ID: last.ID} })
}
