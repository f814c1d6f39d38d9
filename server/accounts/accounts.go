// Package accounts keeps the accounts of people: it finds or makes the account of a sign-in, and deactivates, merges,
// deletes and exports accounts, with all that follows from it in rooms, recordings and invitations.
//
// It does not authenticate requests (server/auth does) and does not speak to the OpenID provider (server/adapter/oidc does).
package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/user"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
)

// What keeps somebody whom the provider vouches for from an account.
var (
	ErrNoAccount     = errors.New("nobody has this sub, and sign-in does not make accounts")
	ErrManyAccounts  = errors.New("several accounts have this address, so none is matched")
	ErrSignInRefused = errors.New("the provider's answer lacks a usable sub")
)

// Accounts finds the account of who signs in. Every field is required unless it says otherwise.
type Accounts struct {
	DB *dbtx.DB
	// MatchByEmail lets a verified address find an account that has no sub.
	MatchByEmail bool
	// TrustEmail takes every address for verified, whatever the provider says of it.
	TrustEmail bool
	// CreateUsers makes an account at the first sign-in.
	CreateUsers bool
	// Created is told of a new account in the transaction that makes it. It may be nil.
	Created func(ctx context.Context, tx *ent.Client, u *ent.User) error
	Log     *slog.Logger
}

// SignIn returns the account that claims belong to, brought up to date with them.
//
// It is the one with that sub; else, if switched on, the only one with that verified address, provided that it has no sub
// yet (an account with another sub is somebody else's); else, if switched on, a new one. It fails with
// [auth.ErrAccountInactive], or with an error for the page.
func (a *Accounts) SignIn(ctx context.Context, claims Claims) (*ent.User, error) {
	if claims.Sub == "" {
		return nil, ErrSignInRefused
	}
	claims.EmailVerified = claims.Email != "" && (claims.EmailVerified || a.TrustEmail)
	u, err := a.signIn(ctx, claims)
	if ent.IsConstraintError(err) {
		// Two first sign-ins of one person at the same time: the unique index let the other one make the account.
		u, err = a.signIn(ctx, claims)
	}
	return u, err
}

func (a *Accounts) signIn(ctx context.Context, claims Claims) (*ent.User, error) {
	var u *ent.User
	created := false
	err := a.DB.Run(ctx, func(tx *ent.Client) error {
		found, err := a.match(ctx, tx, claims)
		switch {
		case err != nil:
			return err
		case found == nil && !a.CreateUsers:
			return ErrNoAccount
		case found == nil:
			created = true
			if u, err = createUser(ctx, tx, claims); err != nil || a.Created == nil {
				return err
			}
			return a.Created(ctx, tx, u)
		case !found.Active:
			return auth.ErrAccountInactive
		}
		u, err = updateUser(ctx, found, claims)
		return err
	})
	if err != nil {
		return nil, err
	}
	if created {
		a.Log.InfoContext(ctx, "account created", "user", u.ID)
	}
	return u, nil
}

// match returns the account of claims, locked, or nil.
func (a *Accounts) match(ctx context.Context, tx *ent.Client, claims Claims) (*ent.User, error) {
	found, err := tx.User.Query().Where(user.Sub(claims.Sub), dbtx.ForUpdate).Only(ctx)
	if err == nil {
		return found, nil
	}
	if !ent.IsNotFound(err) {
		return nil, fmt.Errorf("find user by sub: %w", err)
	}
	if !a.MatchByEmail || !claims.EmailVerified || claims.Email == "" {
		return nil, nil
	}
	same, err := tx.User.Query().Where(user.Email(claims.Email), dbtx.ForUpdate).Limit(2).All(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("find user by address: %w", err)
	case len(same) > 1:
		return nil, ErrManyAccounts
	case len(same) == 0, same[0].Sub != nil:
		return nil, nil
	}
	return same[0], nil
}

func createUser(ctx context.Context, tx *ent.Client, claims Claims) (*ent.User, error) {
	u, err := tx.User.Create().
		SetSub(claims.Sub).SetEmail(claims.Email).SetEmailVerified(claims.EmailVerified && claims.Email != "").
		SetFullName(claims.FullName).SetShortName(claims.ShortName).Save(ctx)
	if err != nil {
		return nil, fmt.Errorf("insert user: %w", err)
	}
	return u, nil
}

// updateUser writes what claims say anew. Most sign-ins change nothing and write nothing.
func updateUser(ctx context.Context, u *ent.User, claims Claims) (*ent.User, error) {
	update, changed := u.Update(), false
	if u.Sub == nil {
		update.SetSub(claims.Sub)
		changed = true
	}
	if claims.Email != "" && (claims.Email != u.Email || claims.EmailVerified != u.EmailVerified) {
		update.SetEmail(claims.Email).SetEmailVerified(claims.EmailVerified)
		changed = true
	}
	if claims.EmailRefused && u.EmailVerified {
		// The provider vouches for another address than the one of before.
		update.SetEmailVerified(false)
		changed = true
	}
	if claims.FullName != "" && claims.FullName != u.FullName {
		update.SetFullName(claims.FullName)
		changed = true
	}
	if claims.ShortName != "" && claims.ShortName != u.ShortName {
		update.SetShortName(claims.ShortName)
		changed = true
	}
	if !changed {
		return u, nil
	}
	u, err := update.Save(ctx)
	if err != nil {
		return nil, fmt.Errorf("update user: %w", err)
	}
	return u, nil
}
