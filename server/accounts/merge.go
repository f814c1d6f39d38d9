package accounts

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
)

// MergeParams are two accounts of one person.
type MergeParams struct {
	// From is deleted, after Into got what it has.
	From, Into uuid.UUID
	// DropSub lets go of From's sub when both have one: whoever signs in with it gets a new account.
	DropSub bool
}

// Merge makes one account of two: memberships and accesses to recordings move, and where both have one the higher role wins;
// API tokens move, and so do the invitations that From wrote; the sub and the address move if Into has none. It fails with
// [auth.ErrNoUser], or with [ErrTwoSubs].
func (l *Lifecycle) Merge(ctx context.Context, p MergeParams) error {
	if p.From == p.Into {
		return errMergeSelf
	}
	err := l.DB.Run(ctx, func(tx *ent.Client) error { return merge(ctx, tx, p) })
	if err != nil {
		return err
	}
	return l.endSessions(ctx, p.From)
}

func merge(ctx context.Context, tx *ent.Client, p MergeParams) error {
	locked, err := lockAccounts(ctx, tx, p.From, p.Into)
	if err != nil {
		return err
	}
	from, into := locked[p.From], locked[p.Into]
	if from.Sub != nil && into.Sub != nil && !p.DropSub {
		return ErrTwoSubs
	}
	if err := moveMembers(ctx, tx, from, into); err != nil {
		return err
	}
	if err := moveRecordings(ctx, tx, from, into); err != nil {
		return err
	}
	if err := moveAPITokens(ctx, tx, from, into); err != nil {
		return err
	}
	if err := moveInvitations(ctx, tx, from, into); err != nil {
		return err
	}
	if err := forget(ctx, tx, from); err != nil {
		return err
	}
	update := into.Update()
	if into.Sub == nil {
		update.SetNillableSub(from.Sub)
	}
	if into.Email == "" {
		update.SetEmail(from.Email).SetEmailVerified(from.EmailVerified)
	}
	if err := update.Exec(ctx); err != nil {
		return fmt.Errorf("update user: %w", err)
	}
	return nil
}

func moveMembers(ctx context.Context, tx *ent.Client, from, into *ent.User) error {
	theirs, err := tx.Member.Query().Where(auth.Mine(from), dbtx.ForUpdate).All(ctx)
	if err != nil {
		return fmt.Errorf("find members: %w", err)
	}
	for _, m := range theirs {
		if m.UserID != nil && *m.UserID == into.ID {
			continue // into's own
		}
		if err := moveMember(ctx, tx, m, into); err != nil {
			return fmt.Errorf("move member: %w", err)
		}
	}
	return nil
}

func moveMember(ctx context.Context, tx *ent.Client, m *ent.Member, into *ent.User) error {
	existing, err := tx.Member.Query().Where(member.RoomID(m.RoomID), member.UserID(into.ID), dbtx.ForUpdate).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return m.Update().SetUserID(into.ID).ClearEmail().Exec(ctx)
	case err != nil:
		return err
	}
	if err := tx.Member.DeleteOne(m).Exec(ctx); err != nil {
		return err
	}
	if m.Role <= existing.Role {
		return nil
	}
	return existing.Update().SetRole(m.Role).Exec(ctx)
}

func moveAPITokens(ctx context.Context, tx *ent.Client, from, into *ent.User) error {
	tokens, err := from.QueryAPITokens().All(ctx)
	if err != nil {
		return fmt.Errorf("find API tokens: %w", err)
	}
	for _, t := range tokens {
		if err := tx.APIToken.UpdateOne(t).SetUserID(into.ID).Exec(ctx); err != nil {
			return fmt.Errorf("move API token: %w", err)
		}
	}
	return nil
}
