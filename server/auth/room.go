package auth

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	entsql "entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/room"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/text"
)

// Access is a room and what the caller is in it.
type Access struct {
	Room *ent.Room
	// Role of the caller; unspecified for none. A pending membership of the caller's verified address counts.
	Role usherv1.Role
	// Caller is who asked.
	Caller *Caller
}

// FindRoom looks up the room that ref names, by id or slug, together with the caller's role in it: one statement.
// Predicates are added to the query, such as a lock. It fails with [ErrRoomNotFound].
func FindRoom(ctx context.Context, db *ent.Client, ref string, more ...predicate.Room) (*Access, error) {
	caller := FromContext(ctx)
	query := namedRoom(db, ref).Where(more...)
	if caller.Kind == User {
		query.Modify(func(s *entsql.Selector) { SelectRole(s, caller.User) })
	}
	r, err := query.First(ctx)
	if ent.IsNotFound(err) {
		return nil, ErrRoomNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("find room: %w", err)
	}
	role, err := SelectedRole(r)
	if err != nil {
		return nil, err
	}
	return &Access{Room: r, Role: role, Caller: caller}, nil
}

// namedRoom is the query for the room that ref names. A name with letters that are no ASCII ones can stand for two slugs:
// the present one, and the one that rooms got before. The older room has it, so that links go on leading where they led.
func namedRoom(db *ent.Client, ref string) *ent.RoomQuery {
	if id, ok := text.ParseID(ref); ok {
		return db.Room.Query().Where(room.ID(id))
	}
	slug, former := text.Slug(ref), text.FormerSlug(ref)
	if former == slug || former == "" {
		return db.Room.Query().Where(room.Slug(slug))
	}
	return db.Room.Query().Where(room.SlugIn(slug, former)).Order(room.ByCreateTime(), room.ByID())
}

// LockRoom finds a room and keeps others from changing it or its members until the transaction ends.
//
// The role is read after the lock was got: a statement that waits for a lock sees the other tables as they were before it
// waited.
func LockRoom(ctx context.Context, tx *ent.Client, ref string) (*Access, error) {
	locked, err := FindRoom(ctx, tx, ref, dbtx.ForUpdate)
	if err != nil {
		return nil, err
	}
	return FindRoom(ctx, tx, locked.Room.ID.String())
}

// FindParticipantRoom looks up the room of a participant, with the role that the user behind them has in it. The session
// does not stand for the user: who they are is asked only to know that role. It fails with [ErrRoomNotFound],
// [ErrUnauthenticated] or [ErrAccountInactive].
func FindParticipantRoom(
	ctx context.Context, db *ent.Client, session *ParticipantSession, more ...predicate.Room,
) (*Access, error) {
	caller := &Caller{}
	if session.UserID != uuid.Nil {
		u, err := db.User.Get(ctx, session.UserID)
		switch {
		case ent.IsNotFound(err):
			return nil, ErrUnauthenticated.Saying("the account of this participant is gone")
		case err != nil:
			return nil, fmt.Errorf("find user: %w", err)
		case !u.Active:
			return nil, ErrAccountInactive
		case IssuedBeforeDeactivation(u, session.JoinTime):
			return nil, errDeactivatedSince
		}
		caller = &Caller{Kind: User, User: u}
	}
	return FindRoom(WithCaller(ctx, caller), db, session.RoomID.String(), more...)
}

// roleColumn is the name under which [SelectRole] selects.
const roleColumn = "caller_role"

// SelectRole adds the user's role to a query of rooms. [SelectedRole] reads it from each room.
func SelectRole(s *entsql.Selector, u *ent.User) {
	t := entsql.Table(member.Table).As("caller_members")
	// Never NULL: SQLite gives a column the type of its first value, and NULL has none that Ent could scan.
	highest := entsql.ExprFunc(func(b *entsql.Builder) {
		b.WriteString("COALESCE(MAX(").Ident(t.C(member.FieldRole)).WriteString("), 0)")
	})
	sub := entsql.Dialect(s.Dialect()).SelectExpr(highest).From(t).
		Where(entsql.And(entsql.ColumnsEQ(t.C(member.FieldRoomID), s.C(room.FieldID)), mine(t, u)))
	s.AppendSelectExprAs(sub, roleColumn)
}

// SelectedRole is the role that [SelectRole] added to a room.
func SelectedRole(r *ent.Room) (usherv1.Role, error) {
	v, err := r.Value(roleColumn)
	if err != nil {
		// Nobody asked for it: the caller has none.
		return usherv1.Role_ROLE_UNSPECIFIED, nil //nolint:nilerr // the only error is "not selected"
	}
	switch v := v.(type) {
	case nil:
		return usherv1.Role_ROLE_UNSPECIFIED, nil
	case int64:
		return usherv1.Role(v), nil //nolint:gosec // the database holds 1 to 3 only
	case []byte:
		n, err := strconv.ParseInt(string(v), 10, 32)
		return usherv1.Role(n), err
	}
	return 0, fmt.Errorf("role of type %T", v)
}

// mine matches the memberships of a user: those of the account, and pending ones of its verified address.
func mine(t *entsql.SelectTable, u *ent.User) *entsql.Predicate {
	account := entsql.EQ(t.C(member.FieldUserID), u.ID)
	if !u.EmailVerified || u.Email == "" {
		return account
	}
	return entsql.Or(account, entsql.EQ(t.C(member.FieldEmail), u.Email))
}

// Mine matches the memberships of a user: those of the account, and pending ones of its verified address.
func Mine(u *ent.User) predicate.Member {
	if !u.EmailVerified || u.Email == "" {
		return member.UserID(u.ID)
	}
	return member.Or(member.UserID(u.ID), member.Email(u.Email))
}

// JoinMode says whether the caller enters the room directly.
func (a *Access) JoinMode() usherv1.JoinMode {
	if EntersDirectly(a.Room.AccessLevel, a.Role, a.Caller.Kind == User) {
		return usherv1.JoinMode_JOIN_MODE_DIRECT
	}
	return usherv1.JoinMode_JOIN_MODE_LOBBY
}

// EntersDirectly reports whether somebody with a role in a room of that level, or without one, need not wait to enter it.
func EntersDirectly(level usherv1.AccessLevel, role usherv1.Role, signedIn bool) bool {
	return role != usherv1.Role_ROLE_UNSPECIFIED || level == usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC ||
		level == usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED && signedIn
}

// RequireMember refuses callers without a role in the room.
func (a *Access) RequireMember() error { return a.require(usherv1.Role_ROLE_MEMBER) }

// RequireAdministrator refuses callers who are neither administrator nor owner.
func (a *Access) RequireAdministrator() error { return a.require(usherv1.Role_ROLE_ADMINISTRATOR) }

// RequireOwner refuses callers who are not owner.
func (a *Access) RequireOwner() error { return a.require(usherv1.Role_ROLE_OWNER) }

func (a *Access) require(role usherv1.Role) error {
	if a.Role < role {
		return ErrInsufficientRole.With("required_role", RoleName(role))
	}
	return nil
}

// RoleName is a role without the prefix of the enum, in upper case; empty for none.
func RoleName(r usherv1.Role) string {
	if r == usherv1.Role_ROLE_UNSPECIFIED {
		return ""
	}
	return strings.TrimPrefix(r.String(), "ROLE_")
}

// AttributeRole is the participant attribute that tells clients the role.
const AttributeRole = "room_role"

// RoleAttribute is a role as participants see it: "owner", "administrator", "member" or empty.
func RoleAttribute(r usherv1.Role) string { return strings.ToLower(RoleName(r)) }
