package rooms

import (
	"context"
	"fmt"

	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/room"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/text"
)

// operatorName is the operator in the record of who did what.
const operatorName = "operator"

// Operator changes rooms for the operator of the instance, who needs no role in them: the rules of `usher room`. It
// works on the database alone, and a running server makes LiveKit follow. Every field is required.
type Operator struct {
	DB *dbtx.DB
	// Tasks has the worker of a running server make LiveKit follow: none runs in this process.
	Tasks *livetasks.Queue
	// Recordings is needed to delete rooms only.
	Recordings interface {
		// RoomDeleted acts in the transaction that deletes the room.
		RoomDeleted(ctx context.Context, tx *ent.Client, room uuid.UUID) error
	}
}

// Filter says which rooms to list.
type Filter struct {
	// Query is part of a name or slug; empty: all.
	Query string
	// UserID is whose rooms, with any role; uuid.Nil: everybody's.
	UserID uuid.UUID
	// Limit is how many at most.
	Limit int
}

// List returns rooms with their members and those members' accounts, newest first.
func (o *Operator) List(ctx context.Context, f Filter) ([]*ent.Room, error) {
	query := o.DB.Read.Room.Query()
	if f.Query != "" {
		key := text.Key(f.Query)
		query.Where(room.Or(room.NameKeyContains(key), room.SlugContains(key)))
	}
	if f.UserID != uuid.Nil {
		u, err := o.DB.Read.User.Get(ctx, f.UserID)
		if ent.IsNotFound(err) {
			return nil, auth.ErrNoUser
		}
		if err != nil {
			return nil, fmt.Errorf("find user: %w", err)
		}
		query.Where(room.HasMembersWith(auth.Mine(u)))
	}
	found, err := query.WithMembers(withUsers).Order(room.ByCreateTime(sql.OrderDesc()), room.ByID()).Limit(f.Limit).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("list rooms: %w", err)
	}
	return found, nil
}

// Show returns the room that ref names, by id or slug, with its members and their accounts. It fails with
// [auth.ErrRoomNotFound].
func (o *Operator) Show(ctx context.Context, ref string) (*ent.Room, error) {
	a, err := auth.FindRoom(ctx, o.DB.Read, ref)
	if err != nil {
		return nil, err
	}
	r, err := o.DB.Read.Room.Query().Where(room.ID(a.Room.ID)).WithMembers(withUsers).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, auth.ErrRoomNotFound // deleted in between
	}
	if err != nil {
		return nil, fmt.Errorf("show room: %w", err)
	}
	return r, nil
}

// withUsers loads members as they are listed: the highest role first.
func withUsers(q *ent.MemberQuery) {
	q.WithUser().Order(member.ByRole(sql.OrderDesc()), member.ByCreateTime(), member.ByID())
}

// SetOwner makes a user an owner of a room, whatever they were in it. The owners it has stay: only they give up their role.
// It fails with [auth.ErrRoomNotFound], with [auth.ErrNoUser], or with [auth.ErrAccountInactive].
func (o *Operator) SetOwner(ctx context.Context, ref string, userID uuid.UUID) error {
	ctx = auth.WithSystem(ctx, operatorName)
	return o.DB.Run(ctx, func(tx *ent.Client) error {
		// The room first and the account not at all, like everybody who adds members: two orders could wait for each other.
		a, err := auth.LockRoom(ctx, tx, ref)
		if err != nil {
			return err
		}
		u, err := tx.User.Query().Where(user.ID(userID)).Only(ctx)
		switch {
		case ent.IsNotFound(err):
			return auth.ErrNoUser
		case err != nil:
			return fmt.Errorf("find user: %w", err)
		case !u.Active:
			return auth.ErrAccountInactive
		}
		m, err := claim(ctx, tx, a.Room.ID, u)
		var was usherv1.Role
		switch {
		case err != nil:
			return err
		case m == nil:
			m, err = tx.Member.Create().SetRoomID(a.Room.ID).SetUserID(u.ID).SetRole(owner).Save(ctx)
		default:
			was = m.Role
			m, err = tx.Member.UpdateOne(m).SetRole(owner).Save(ctx)
		}
		if sqlgraph.IsForeignKeyConstraintError(err) {
			return auth.ErrNoUser // deleted in between
		}
		if err != nil {
			return fmt.Errorf("set owner of %s: %w", a.Room.ID, err)
		}
		if err := recordRole(ctx, tx, m, was); err != nil {
			return err
		}
		return o.Tasks.SyncRoom(ctx, tx, a.Room.ID)
	})
}

// Delete removes a room for good and has its meeting ended. It fails with [auth.ErrRoomNotFound].
func (o *Operator) Delete(ctx context.Context, ref string) error {
	ctx = auth.WithSystem(ctx, operatorName)
	return o.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, ref)
		if err != nil {
			return err
		}
		if err := tx.Room.DeleteOne(a.Room).Exec(ctx); err != nil {
			return fmt.Errorf("delete room %s: %w", a.Room.ID, err)
		}
		if err := audit.Record(ctx, tx, audit.Event{Room: a.Room.ID, Action: audit.RoomDeleted}); err != nil {
			return err
		}
		if err := o.Recordings.RoomDeleted(ctx, tx, a.Room.ID); err != nil {
			return err
		}
		return o.Tasks.CloseRoom(ctx, tx, a.Room.ID)
	})
}
