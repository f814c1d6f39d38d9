package accounts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/apitoken"
	"github.com/usher-meet/usher/gen/ent/idempotencykey"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/room"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/livetasks"
)

// What keeps an operator from merging or deleting accounts.
var (
	errMergeSelf = errors.New("an account cannot be merged into itself")
	// ErrTwoSubs means that both accounts of a merge can sign in, and one of them would no longer.
	ErrTwoSubs = errors.New("both accounts have a sub: say which one is dropped")
)

// LastOwnerError means that a user cannot be deleted because rooms would be left without an owner.
type LastOwnerError struct {
	// Rooms are the ids of those rooms.
	Rooms []uuid.UUID
}

// Error implements error.
func (e *LastOwnerError) Error() string {
	ids := make([]string, len(e.Rooms))
	for i, id := range e.Rooms {
		ids[i] = id.String()
	}
	return "the user is the last owner of rooms: give these to somebody else, or delete them first: " + strings.Join(ids, ", ")
}

// Lifecycle deactivates, merges, deletes and exports accounts for the operator. Every field is required.
//
// Each change is one transaction, with a task in it that removes the person from meetings; sessions end after it. Should
// Redis fail in between, the change stands and the error says that the call is to be repeated: until then the database
// refuses the person all the same.
type Lifecycle struct {
	DB       *dbtx.DB
	Sessions *auth.Sessions
	// Tasks has people removed from meetings.
	Tasks *livetasks.Queue
}

// Deactivate keeps a user out of everything from now on, and ends what was issued to them, API tokens too. It fails with
// [auth.ErrNoUser].
func (l *Lifecycle) Deactivate(ctx context.Context, id uuid.UUID) error {
	err := l.DB.Run(ctx, func(tx *ent.Client) error {
		if err := setActive(ctx, tx, id, false); err != nil {
			return err
		}
		if err := endCredentials(ctx, tx, id); err != nil {
			return err
		}
		return l.Tasks.RemoveUser(ctx, tx, id)
	})
	if err != nil {
		return err
	}
	return l.endSessions(ctx, id)
}

// Reactivate lets a user in again, who has to sign in anew: what was issued before stays refused. It fails with
// [auth.ErrNoUser].
func (l *Lifecycle) Reactivate(ctx context.Context, id uuid.UUID) error {
	// Before: a sign-in that was under way during the deactivation may have left a session.
	if err := l.endSessions(ctx, id); err != nil {
		return err
	}
	return l.DB.Run(ctx, func(tx *ent.Client) error {
		// Again: an earlier version of Usher may have deactivated the user, which marked the account and revoked nothing.
		if err := endCredentials(ctx, tx, id); err != nil {
			return err
		}
		return setActive(ctx, tx, id, true)
	})
}

// Delete erases a user and everything that is stored about them. It fails with [auth.ErrNoUser], or with a [LastOwnerError].
func (l *Lifecycle) Delete(ctx context.Context, id uuid.UUID) error {
	err := l.DB.Run(ctx, func(tx *ent.Client) error {
		locked, err := lockAccounts(ctx, tx, id)
		if err != nil {
			return err
		}
		u := locked[id]
		if err := refuseLastOwner(ctx, tx, u); err != nil {
			return err
		}
		// Pending memberships have no user to cascade from.
		if _, err := tx.Member.Delete().Where(auth.Mine(u)).Exec(ctx); err != nil {
			return fmt.Errorf("delete members: %w", err)
		}
		if _, err := tx.RecordingAccess.Delete().Where(auth.MyRecordings(u)).Exec(ctx); err != nil {
			return fmt.Errorf("delete accesses to recordings: %w", err)
		}
		if err := deleteInvitations(ctx, tx, u); err != nil {
			return err
		}
		if err := forget(ctx, tx, u); err != nil {
			return err
		}
		return l.Tasks.RemoveUser(ctx, tx, id)
	})
	if err != nil {
		return err
	}
	return l.endSessions(ctx, id)
}

// forget deletes a user, what cascades from that, the answers kept for repeated calls, and counts of letters.
func forget(ctx context.Context, tx *ent.Client, u *ent.User) error {
	caller := auth.Caller{Kind: auth.User, User: u}
	if _, err := tx.IdempotencyKey.Delete().Where(idempotencykey.Caller(caller.Key())).Exec(ctx); err != nil {
		return fmt.Errorf("delete idempotency keys: %w", err)
	}
	if _, err := tx.MailQuota.Delete().Where(ownQuota(u)).Exec(ctx); err != nil {
		return fmt.Errorf("delete quotas: %w", err)
	}
	if err := tx.User.DeleteOne(u).Exec(ctx); err != nil {
		return fmt.Errorf("delete user: %w", err)
	}
	return nil
}

// refuseLastOwner refuses if a room that a user owns has no other owner with an account. [lockAccounts] must have locked
// the user.
func refuseLastOwner(ctx context.Context, tx *ent.Client, u *ent.User) error {
	owner := member.RoleEQ(usherv1.Role_ROLE_OWNER)
	owned, err := tx.Room.Query().Where(room.HasMembersWith(auth.Mine(u), owner)).Order(ent.Asc(room.FieldID)).All(ctx)
	if err != nil {
		return fmt.Errorf("find rooms: %w", err)
	}
	var last []uuid.UUID
	for _, r := range owned {
		others, err := r.QueryMembers().Where(owner, member.UserIDNotNil(), member.UserIDNEQ(u.ID)).Exist(ctx)
		if err != nil {
			return fmt.Errorf("count owners: %w", err)
		}
		if !others {
			last = append(last, r.ID)
		}
	}
	if len(last) > 0 {
		return &LastOwnerError{Rooms: last}
	}
	return nil
}

// lockAccounts locks users, and the rooms that they belong to with any role: until the transaction ends they become owner
// of none, and no other one does in their rooms. It fails with [auth.ErrNoUser], or with fault.ErrConflict if they got into
// another room in between.
//
// The rooms come first, and each kind in the order of ids, as with everybody who changes members: who adds one holds the
// room while the database waits for the user that the row refers to.
func lockAccounts(ctx context.Context, tx *ent.Client, ids ...uuid.UUID) (map[uuid.UUID]*ent.User, error) {
	known, err := findUsers(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	before, err := roomsOf(ctx, tx, known, dbtx.ForUpdate)
	if err != nil {
		return nil, err
	}
	known, err = findUsers(ctx, tx, ids, dbtx.ForUpdate)
	if err != nil {
		return nil, err
	}
	after, err := roomsOf(ctx, tx, known)
	if err != nil {
		return nil, err
	}
	for id := range after {
		if !before[id] {
			return nil, fault.ErrConflict
		}
	}
	return known, nil
}

// findUsers returns all of the users, or [auth.ErrNoUser].
func findUsers(
	ctx context.Context, tx *ent.Client, ids []uuid.UUID, more ...predicate.User,
) (map[uuid.UUID]*ent.User, error) {
	found, err := tx.User.Query().Where(user.IDIn(ids...)).Where(more...).Order(ent.Asc(user.FieldID)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find users: %w", err)
	}
	if len(found) != len(ids) {
		return nil, auth.ErrNoUser
	}
	byID := make(map[uuid.UUID]*ent.User, len(found))
	for _, u := range found {
		byID[u.ID] = u
	}
	return byID, nil
}

// roomsOf are the ids of the rooms in which users have a role.
func roomsOf(
	ctx context.Context, tx *ent.Client, users map[uuid.UUID]*ent.User, more ...predicate.Room,
) (map[uuid.UUID]bool, error) {
	var theirs []predicate.Member
	for _, u := range users {
		theirs = append(theirs, auth.Mine(u))
	}
	found, err := tx.Room.Query().Where(room.HasMembersWith(member.Or(theirs...))).Where(more...).
		Order(ent.Asc(room.FieldID)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find rooms: %w", err)
	}
	ids := make(map[uuid.UUID]bool, len(found))
	for _, r := range found {
		ids[r.ID] = true
	}
	return ids, nil
}

func setActive(ctx context.Context, tx *ent.Client, id uuid.UUID, active bool) error {
	n, err := tx.User.Update().Where(user.ID(id)).SetActive(active).Save(ctx)
	if err != nil {
		return fmt.Errorf("update user: %w", err)
	}
	if n == 0 {
		return auth.ErrNoUser
	}
	return nil
}

// endCredentials ends for good what was issued to a user who is inactive: API tokens, and what is signed and not stored,
// such as the session tokens of participants. Nothing happens to a user who is active.
func endCredentials(ctx context.Context, tx *ent.Client, id uuid.UUID) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	n, err := tx.User.Update().Where(user.ID(id), user.Active(false)).SetDeactivateTime(now).Save(ctx)
	if err != nil {
		return fmt.Errorf("update user: %w", err)
	}
	if n == 0 {
		return nil
	}
	_, err = tx.APIToken.Update().Where(apitoken.UserID(id), apitoken.RevokeTimeIsNil()).SetRevokeTime(now).Save(ctx)
	if err != nil {
		return fmt.Errorf("revoke API tokens: %w", err)
	}
	return nil
}

func (l *Lifecycle) endSessions(ctx context.Context, id uuid.UUID) error {
	if err := l.Sessions.EndAll(ctx, id); err != nil {
		return fmt.Errorf("the sessions could not be ended, repeat the call: %w", err)
	}
	return nil
}
