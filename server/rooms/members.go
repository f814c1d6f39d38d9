package rooms

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/mailbox"
)

// What can be refused about members.
var (
	ErrMemberNotFound = fault.New(connect.CodeNotFound, usherv1.ErrorReason_ERROR_REASON_MEMBER_NOT_FOUND,
		"nobody with that id or address is a member of the room")
	ErrMemberExists = fault.New(connect.CodeAlreadyExists, usherv1.ErrorReason_ERROR_REASON_MEMBER_EXISTS,
		"that person is a member already: change their role instead")
	ErrUserNotFound = fault.New(connect.CodeNotFound, usherv1.ErrorReason_ERROR_REASON_USER_NOT_FOUND,
		"there is no such user: add them by their e-mail address")
	ErrLastOwner = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_LAST_OWNER,
		"a room must keep an owner who has joined it: make somebody else owner first")
)

const owner = usherv1.Role_ROLE_OWNER

// person is who a request about members names: by id, or, while pending, by address.
type person struct {
	userID uuid.UUID
	email  mailbox.Address
}

// checkRole refuses a role that nobody can have.
func checkRole(role usherv1.Role) error {
	if role < usherv1.Role_ROLE_MEMBER || role > owner {
		return fault.Invalid("role", "must be a role")
	}
	return nil
}

// readPerson reads the two alternatives of a request.
func readPerson(userID, email string) (person, error) {
	if email != "" {
		address, err := mailbox.Parse(email)
		if err != nil {
			return person{}, fault.Invalid("email", "%v", err)
		}
		return person{email: address}, nil
	}
	id, err := uuid.Parse(userID)
	if err != nil {
		return person{}, fault.Invalid("user_id", "must be a UUID")
	}
	return person{userID: id}, nil
}

// is reports whether the person is u.
func (p person) is(u *ent.User) bool {
	if p.email != "" {
		return u.EmailVerified && u.Email == p.email
	}
	return u.ID == p.userID
}

// memberCursor is where a page of members ended.
type memberCursor struct {
	Role       usherv1.Role `json:"r"`
	CreateTime time.Time    `json:"t"`
	ID         uuid.UUID    `json:"i"`
}

// listMembers returns a page of a room's members, the highest role first, and the token of the next page.
func (s *Service) listMembers(ctx context.Context, req *usherv1.ListMembersRequest) ([]*ent.Member, string, error) {
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
		Keys: s.Keys, Caller: a.Caller.Key(), Method: usherv1connect.RoomsServiceListMembersProcedure,
		Filter: []string{a.Room.ID.String()},
	}
	query := s.DB.Read.Member.Query().Where(member.RoomID(a.Room.ID)).WithUser().
		Order(member.ByRole(sql.OrderDesc()), member.ByCreateTime(), member.ByID()).Limit(size + 1)
	if req.GetPageToken() != "" {
		var after memberCursor
		if err := list.Cursor(req.GetPageToken(), &after); err != nil {
			return nil, "", err
		}
		later := member.Or(
			member.CreateTimeGT(after.CreateTime), member.And(member.CreateTime(after.CreateTime), member.IDGT(after.ID)),
		)
		query.Where(member.Or(member.RoleLT(after.Role), member.And(member.RoleEQ(after.Role), later)))
	}
	found, err := query.All(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list members of %s: %w", a.Room.ID, err)
	}
	return page.Cut(list, found, size, func(last *ent.Member) any {
		return memberCursor{Role: last.Role, CreateTime: last.CreateTime.UTC(), ID: last.ID}
	})
}

// addMember gives somebody a role. An address is always pending, whoever has it: the answer must not tell whether there is
// an account, and the address of somebody who is a member under their account merges with that when they next join.
func (s *Service) addMember(ctx context.Context, ref string, p person, role usherv1.Role) (m *ent.Member, err error) {
	if err := checkRole(role); err != nil {
		return nil, err
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, ref)
		if err != nil {
			return err
		}
		if err := requireRoleGiver(a, role); err != nil {
			return err
		}
		insert := tx.Member.Create().SetRoomID(a.Room.ID).SetRole(role)
		var u *ent.User
		if p.email != "" {
			insert.SetEmail(p.email)
		} else {
			if u, err = tx.User.Query().Where(user.ID(p.userID), user.Active(true)).Only(ctx); ent.IsNotFound(err) {
				return ErrUserNotFound
			} else if err != nil {
				return fmt.Errorf("find user: %w", err)
			}
			insert.SetUserID(u.ID)
		}
		m, err = insert.Save(ctx)
		switch {
		case sqlgraph.IsUniqueConstraintError(err):
			return ErrMemberExists
		case sqlgraph.IsForeignKeyConstraintError(err):
			return ErrUserNotFound // deleted in between
		case err != nil:
			return fmt.Errorf("insert member of %s: %w", a.Room.ID, err)
		}
		m.Edges.User = u
		if err := recordMember(ctx, tx, audit.MemberAdded, m, "role="+auth.RoleName(role)); err != nil {
			return err
		}
		if u == nil {
			return nil // whose meeting it is takes effect when they join
		}
		return s.Tasks.SyncRoom(ctx, tx, a.Room.ID)
	})
	return m, err
}

// updateMember changes somebody's role.
func (s *Service) updateMember(ctx context.Context, ref string, p person, role usherv1.Role) (m *ent.Member, err error) {
	if err := checkRole(role); err != nil {
		return nil, err
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, ref)
		if err != nil {
			return err
		}
		if err := requireRoleGiver(a, role); err != nil {
			return err
		}
		if m, err = findMember(ctx, tx, a, p); err != nil {
			return err
		}
		if err := mayChange(ctx, tx, a, p, m, role); err != nil {
			return err
		}
		u, was := m.Edges.User, m.Role
		if m, err = tx.Member.UpdateOne(m).SetRole(role).Save(ctx); err != nil {
			return fmt.Errorf("update member of %s: %w", a.Room.ID, err)
		}
		m.Edges.User = u
		if err := recordRole(ctx, tx, m, was); err != nil {
			return err
		}
		return s.Tasks.SyncRoom(ctx, tx, a.Room.ID)
	})
	return m, err
}

// removeMember takes somebody's role away.
func (s *Service) removeMember(ctx context.Context, ref string, p person) (roomID uuid.UUID, err error) {
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, ref)
		if err != nil {
			return err
		}
		roomID = a.Room.ID
		if a.Caller.User == nil || !p.is(a.Caller.User) {
			if err := a.RequireAdministrator(); err != nil {
				return err
			}
		}
		m, err := findMember(ctx, tx, a, p)
		if err != nil {
			return err
		}
		if err := mayChange(ctx, tx, a, p, m, usherv1.Role_ROLE_UNSPECIFIED); err != nil {
			return err
		}
		if err := tx.Member.DeleteOne(m).Exec(ctx); err != nil {
			return fmt.Errorf("delete member of %s: %w", a.Room.ID, err)
		}
		if err := recordMember(ctx, tx, audit.MemberRemoved, m, "was="+auth.RoleName(m.Role)); err != nil {
			return err
		}
		return s.Tasks.SyncRoom(ctx, tx, a.Room.ID)
	})
	return roomID, err
}

// requireRoleGiver refuses callers who may not give a role.
func requireRoleGiver(a *auth.Access, role usherv1.Role) error {
	if err := a.RequireAdministrator(); err != nil || role != owner {
		return err
	}
	return a.RequireOwner()
}

// findMember finds the membership of a person, with the account if they have joined. What waits for the verified address
// of somebody who is a member, or who asks for themselves, is made one with it first: else a role that was taken away
// would live on in the other row.
func findMember(ctx context.Context, tx *ent.Client, a *auth.Access, p person) (*ent.Member, error) {
	query := tx.Member.Query().Where(member.RoomID(a.Room.ID))
	if p.email != "" {
		query.Where(member.Email(p.email))
	} else {
		query.Where(member.UserID(p.userID)).WithUser()
	}
	m, err := query.Only(ctx)
	u := a.Caller.User
	switch {
	case ent.IsNotFound(err) && p.email == "" && u != nil && p.is(u):
	case ent.IsNotFound(err):
		return nil, ErrMemberNotFound
	case err != nil:
		return nil, fmt.Errorf("find member of %s: %w", a.Room.ID, err)
	case p.email != "":
		return m, nil
	default:
		u = m.Edges.User
	}
	if m, err = claim(ctx, tx, a.Room.ID, u); err != nil {
		return nil, err
	}
	if m == nil {
		return nil, ErrMemberNotFound
	}
	m.Edges.User = u
	return m, nil
}

// mayChange refuses to give m another role, or none: an owner's is changed by that owner only, that of an owner who never
// came by any owner, and never that of the last owner. The room must be locked, or two owners could each count on the
// other.
func mayChange(ctx context.Context, tx *ent.Client, a *auth.Access, p person, m *ent.Member, role usherv1.Role) error {
	if m.Role != owner || role == owner {
		return nil
	}
	self := a.Caller.User != nil && p.is(a.Caller.User)
	if err := a.RequireOwner(); err != nil {
		return err
	}
	if m.UserID != nil && !self {
		return auth.ErrInsufficientRole.Saying("the role of an owner is changed by nobody but that owner").
			With("required_role", auth.RoleName(owner))
	}
	others := tx.Member.Query().Where(member.RoomID(a.Room.ID), member.RoleEQ(owner), member.IDNEQ(m.ID))
	if m.UserID != nil {
		// Somebody who was named by an address and never came would leave the room to nobody.
		others.Where(member.UserIDNotNil())
	}
	found, err := others.Exist(ctx)
	if err != nil {
		return fmt.Errorf("look for other owners of %s: %w", a.Room.ID, err)
	}
	if !found {
		return ErrLastOwner
	}
	return nil
}

// SetRole makes u a plain member or an administrator, whatever they were, unless they are an owner: that role is changed by
// nobody but that owner. The room must be locked, and a be the access of an administrator. It tells LiveKit nothing.
func (s *Service) SetRole(ctx context.Context, tx *ent.Client, a *auth.Access, u *ent.User, role usherv1.Role) error {
	m, err := claim(ctx, tx, a.Room.ID, u)
	if err != nil {
		return err
	}
	var was usherv1.Role
	switch {
	case m == nil:
		m, err = tx.Member.Create().SetRoomID(a.Room.ID).SetUserID(u.ID).SetRole(role).Save(ctx)
	case m.Role == owner:
		return auth.ErrInsufficientRole.Saying("the role of an owner is changed by nobody but that owner, with UpdateMember").
			With("required_role", auth.RoleName(owner))
	default:
		was = m.Role
		m, err = tx.Member.UpdateOne(m).SetRole(role).Save(ctx)
	}
	if err != nil {
		return fmt.Errorf("set role in %s: %w", a.Room.ID, err)
	}
	return recordRole(ctx, tx, m, was)
}
