package recordings

import (
	"context"
	"fmt"
	"time"

	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/recordingaccess"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/mailbox"
)

const (
	owner         = usherv1.Role_ROLE_OWNER
	administrator = usherv1.Role_ROLE_ADMINISTRATOR
)

// person is whom a request about accesses names: by id, or, while pending, by address.
type person struct {
	userID uuid.UUID
	email  mailbox.Address
}

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

// rows matches what gives the person access. u is the account, nil without one: what waits for its verified address is
// theirs.
func (p person) rows(u *ent.User) predicate.RecordingAccess {
	switch {
	case p.email != "":
		return recordingaccess.Email(p.email)
	case u != nil:
		return auth.MyRecordings(u)
	}
	return recordingaccess.UserID(p.userID)
}

// is reports whether the person is u.
func (p person) is(u *ent.User) bool {
	if p.email != "" {
		return u.EmailVerified && u.Email == p.email
	}
	return u.ID == p.userID
}

// accessCursor is where a page of accesses ended.
type accessCursor struct {
	Role       usherv1.Role `json:"r"`
	CreateTime time.Time    `json:"t"`
	ID         uuid.UUID    `json:"i"`
}

// listAccesses returns a page of who has access to a recording, the highest role first, and the token of the next page.
func (s *Service) listAccesses(
	ctx context.Context, req *usherv1.ListRecordingAccessesRequest,
) ([]*ent.RecordingAccess, string, error) {
	size, err := page.Size(req.GetPageSize())
	if err != nil {
		return nil, "", err
	}
	a, err := find(ctx, s.DB.Read, req.GetRecordingId())
	if err != nil {
		return nil, "", err
	}
	if err := a.require(administrator); err != nil {
		return nil, "", err
	}
	list := page.List{
		Keys: s.Keys, Caller: auth.FromContext(ctx).Key(), Method: usherv1connect.RecordingsServiceListRecordingAccessesProcedure,
		Filter: []string{a.ID.String()},
	}
	query := s.DB.Read.RecordingAccess.Query().Where(recordingaccess.RecordingID(a.ID)).WithUser().
		Order(recordingaccess.ByRole(sql.OrderDesc()), recordingaccess.ByCreateTime(), recordingaccess.ByID()).
		Limit(size + 1)
	if req.GetPageToken() != "" {
		var after accessCursor
		if err := list.Cursor(req.GetPageToken(), &after); err != nil {
			return nil, "", err
		}
		query.Where(recordingaccess.Or(recordingaccess.RoleLT(after.Role), recordingaccess.And(
			recordingaccess.RoleEQ(after.Role), recordingaccess.Or(recordingaccess.CreateTimeGT(after.CreateTime),
				recordingaccess.And(recordingaccess.CreateTime(after.CreateTime), recordingaccess.IDGT(after.ID))))))
	}
	found, err := query.All(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list accesses of %s: %w", a.ID, err)
	}
	return page.Cut(list, found, size, func(last *ent.RecordingAccess) any {
		return accessCursor{Role: last.Role, CreateTime: last.CreateTime.UTC(), ID: last.ID}
	})
}

// grant gives somebody a role in a recording, instead of the one they have.
func (s *Service) grant(
	ctx context.Context, id string, p person, role usherv1.Role,
) (given *ent.RecordingAccess, err error) {
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := a.require(administrator); err != nil {
			return err
		}
		u, err := account(ctx, tx, p)
		if err != nil {
			return err
		}
		if err := a.mayChange(ctx, tx, p, u, role); err != nil {
			return err
		}
		given, err = set(ctx, tx, a, p, u, role)
		if err != nil {
			return err
		}
		return recordAccess(ctx, tx, a, audit.RecordingShared, given, "role="+auth.RoleName(role))
	})
	return given, err
}

// account is the account of a person who is named by id; nil for an address.
func account(ctx context.Context, tx *ent.Client, p person) (*ent.User, error) {
	if p.email != "" {
		return nil, nil //nolint:nilnil // documented above
	}
	u, err := tx.User.Query().Where(user.ID(p.userID), user.Active(true)).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, ErrUserNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("find user: %w", err)
	}
	return u, nil
}

// set makes one access of what a person has, with the given role.
func set(
	ctx context.Context, tx *ent.Client, a *access, p person, u *ent.User, role usherv1.Role,
) (*ent.RecordingAccess, error) {
	theirs, err := tx.RecordingAccess.Query().Where(recordingaccess.RecordingID(a.ID), p.rows(u)).
		Order(recordingaccess.ByUserID(), recordingaccess.ByID()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find accesses of %s: %w", a.ID, err)
	}
	for _, extra := range theirs {
		// What waits for their address is one with what they have.
		if u != nil && extra.UserID == nil {
			if err := tx.RecordingAccess.DeleteOne(extra).Exec(ctx); err != nil {
				return nil, fmt.Errorf("delete pending access to %s: %w", a.ID, err)
			}
			continue
		}
		kept, err := tx.RecordingAccess.UpdateOne(extra).SetRole(role).Save(ctx)
		if err != nil {
			return nil, fmt.Errorf("update access to %s: %w", a.ID, err)
		}
		kept.Edges.User = u
		return kept, nil
	}
	create := tx.RecordingAccess.Create().SetRecordingID(a.ID).SetRole(role)
	if u != nil {
		create.SetUserID(u.ID)
	} else {
		create.SetEmail(p.email)
	}
	made, err := create.Save(ctx)
	if sqlgraph.IsForeignKeyConstraintError(err) {
		return nil, ErrUserNotFound // deleted in between
	}
	if err != nil {
		return nil, fmt.Errorf("insert access to %s: %w", a.ID, err)
	}
	made.Edges.User = u
	return made, nil
}

// mayChange refuses to give somebody a role, or none: that of an owner is given by owners only, and taken by owners and by
// themselves, and never from the last one. The recording must be locked, or two owners could each count on the other.
func (a *access) mayChange(ctx context.Context, tx *ent.Client, p person, u *ent.User, role usherv1.Role) error {
	theirs, err := tx.RecordingAccess.Query().Where(recordingaccess.RecordingID(a.ID), p.rows(u)).All(ctx)
	if err != nil {
		return fmt.Errorf("find accesses of %s: %w", a.ID, err)
	}
	was := highest(theirs)
	if role == owner || was == owner {
		if err := a.require(owner); err != nil {
			return err
		}
	}
	if was != owner || role == owner || p.email != "" {
		return nil // somebody who never came does not count as an owner
	}
	others, err := tx.RecordingAccess.Query().Where(recordingaccess.RecordingID(a.ID), recordingaccess.RoleEQ(owner),
		recordingaccess.UserIDNotNil(), recordingaccess.UserIDNEQ(p.userID)).Exist(ctx)
	if err != nil {
		return fmt.Errorf("look for other owners of %s: %w", a.ID, err)
	}
	if !others {
		return ErrLastOwner
	}
	return nil
}

// revoke takes somebody's access away. Everybody may give up their own.
func (s *Service) revoke(ctx context.Context, id string, p person) error {
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := lock(ctx, tx, id)
		if err != nil {
			return err
		}
		self, err := auth.RequireUser(ctx)
		if err != nil {
			return err
		}
		if !p.is(self) {
			if err := a.require(administrator); err != nil {
				return err
			}
		}
		u, err := tx.User.Query().Where(user.ID(p.userID)).Only(ctx)
		if err != nil && !ent.IsNotFound(err) {
			return fmt.Errorf("find user: %w", err)
		}
		if err := a.mayChange(ctx, tx, p, u, usherv1.Role_ROLE_UNSPECIFIED); err != nil {
			return err
		}
		theirs, err := tx.RecordingAccess.Query().Where(recordingaccess.RecordingID(a.ID), p.rows(u)).All(ctx)
		if err != nil {
			return fmt.Errorf("find accesses of %s: %w", a.ID, err)
		}
		for _, t := range theirs {
			if err := tx.RecordingAccess.DeleteOne(t).Exec(ctx); err != nil {
				return fmt.Errorf("delete access to %s: %w", a.ID, err)
			}
			if err := recordAccess(ctx, tx, a, audit.RecordingUnshared, t, "was="+auth.RoleName(t.Role)); err != nil {
				return err
			}
		}
		return nil
	})
}

// claim makes a pending access of the caller's verified address one of their account.
func (s *Service) claim(ctx context.Context, id uuid.UUID) error {
	u, err := auth.RequireUser(ctx)
	if err != nil || !u.EmailVerified || u.Email == "" {
		return err
	}
	pending, err := s.DB.Read.RecordingAccess.Query().
		Where(recordingaccess.RecordingID(id), recordingaccess.Email(u.Email)).Exist(ctx)
	if err != nil || !pending {
		return err
	}
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := lock(ctx, tx, id.String())
		if err != nil {
			return err
		}
		_, err = set(ctx, tx, a, person{userID: u.ID}, u, a.role)
		return err
	})
}

// recordAccess writes down who got or lost access, by id.
func recordAccess(
	ctx context.Context, tx *ent.Client, a *access, action audit.Action, who *ent.RecordingAccess, detail string,
) error {
	whom := "access=" + who.ID.String()
	if who.UserID != nil {
		whom = "user=" + who.UserID.String()
	}
	return record(ctx, tx, a.Recording, action, whom+" "+detail)
}
