package rooms

import (
	"context"
	"fmt"
	"strconv"

	entsql "entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/room"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/text"
)

// maxQuery is how long a search text may be, in characters.
const maxQuery = 100

// roomCursor is where a page of rooms ended.
type roomCursor struct {
	NameKey string    `json:"n"`
	ID      uuid.UUID `json:"i"`
}

// list returns a page of the rooms in which u has a role, by lower-cased name and id, and the token of the next page. It is
// one statement, whatever the page.
func (s *Service) list(ctx context.Context, u *ent.User, req *usherv1.ListRoomsRequest) ([]*auth.Access, string, error) {
	size, err := page.Size(req.GetPageSize())
	if err != nil {
		return nil, "", err
	}
	caller, search := auth.FromContext(ctx), text.Key(text.Clean(req.GetQuery(), maxQuery))
	list := page.List{
		Keys: s.Keys, Caller: caller.Key(), Method: usherv1connect.RoomsServiceListRoomsProcedure,
		Filter: []string{search, strconv.Itoa(int(req.GetRole()))},
	}
	query := s.DB.Read.Room.Query().Where(room.HasMembersWith(auth.Mine(u))).
		Order(room.ByNameKey(), room.ByID()).Limit(size + 1)
	if search != "" {
		query.Where(room.NameKeyContains(search))
	}
	if role := req.GetRole(); role != usherv1.Role_ROLE_UNSPECIFIED {
		// The role of somebody with two memberships, one of them pending, is the higher one.
		query.Where(room.HasMembersWith(auth.Mine(u), member.RoleEQ(role)),
			room.Not(room.HasMembersWith(auth.Mine(u), member.RoleGT(role))))
	}
	if req.GetPageToken() != "" {
		var after roomCursor
		if err := list.Cursor(req.GetPageToken(), &after); err != nil {
			return nil, "", err
		}
		query.Where(room.Or(room.NameKeyGT(after.NameKey), room.And(room.NameKey(after.NameKey), room.IDGT(after.ID))))
	}
	query.Modify(func(sel *entsql.Selector) { auth.SelectRole(sel, u) })
	found, err := query.All(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list rooms: %w", err)
	}
	found, next, err := page.Cut(list, found, size, func(last *ent.Room) any {
		return roomCursor{NameKey: last.NameKey, ID: last.ID}
	})
	if err != nil {
		return nil, "", err
	}
	accesses := make([]*auth.Access, len(found))
	for i, r := range found {
		role, err := auth.SelectedRole(r)
		if err != nil {
			return nil, "", err
		}
		accesses[i] = &auth.Access{Room: r, Role: role, Caller: caller}
	}
	return accesses, next, nil
}
