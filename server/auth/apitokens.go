package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/apitoken"
	"github.com/usher-meet/usher/gen/ent/user"
	"github.com/usher-meet/usher/server/dbtx"
)

// MaxAPITokenAge is how long an API token may live.
const MaxAPITokenAge = 366 * 24 * time.Hour

// apiTokenScopes are the scopes that an API token may have.
var apiTokenScopes = []string{ScopeRead, ScopeRooms, ScopeRecordings, ScopeInvitations}

// What is wrong with the wish for a token.
var (
	errTokenScopes = errors.New("name one or more of the scopes read, rooms, recordings, invitations")
	errTokenExpiry = errors.New("a token must expire in the future, and within 366 days")
	errTokenName   = errors.New("the name of a token has at most 100 bytes")
	// ErrNoToken means that there is no such API token.
	ErrNoToken = errors.New("there is no such API token")
	// ErrNoUser means that there is no such user.
	ErrNoUser = errors.New("there is no such user")
)

// APITokens makes and checks API tokens. Every field is required.
//
// A token is a JWT of ours that names its row; the row says whose it is and that it was not revoked. The scopes are in the
// token, signed, because they never change.
type APITokens struct {
	DB   *dbtx.DB
	Keys *Keys
}

// CreateAPITokenParams is the wish for a token.
type CreateAPITokenParams struct {
	UserID uuid.UUID
	// Name is the purpose of the token in the operator's words.
	Name       string
	Scopes     []string
	ExpireTime time.Time
}

type apiTokenClaims struct {
	jwt.RegisteredClaims
	Scopes []string `json:"scopes"`
}

// Create makes a token. It is shown this once and not kept. It fails with [ErrNoUser], with [ErrAccountInactive], or with a
// text for the operator.
func (t *APITokens) Create(ctx context.Context, wish CreateAPITokenParams) (string, *ent.APIToken, error) {
	expire := wish.ExpireTime.UTC().Truncate(time.Second) // as fine as a JWT says it
	if err := wish.validate(expire); err != nil {
		return "", nil, err
	}
	var row *ent.APIToken
	err := t.DB.Run(ctx, func(tx *ent.Client) error {
		owner, err := tx.User.Query().Where(user.ID(wish.UserID), dbtx.ForUpdate).Only(ctx)
		switch {
		case ent.IsNotFound(err):
			return ErrNoUser
		case err != nil:
			return fmt.Errorf("find user: %w", err)
		case !owner.Active:
			return ErrAccountInactive
		}
		row, err = tx.APIToken.Create().
			SetUserID(owner.ID).
			SetName(wish.Name).
			SetScopes(wish.Scopes).
			SetExpireTime(expire).
			Save(ctx)
		if err != nil {
			return fmt.Errorf("insert API token: %w", err)
		}
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	token, err := t.Keys.Sign(PurposeAPIToken, apiTokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID: row.ID.String(), IssuedAt: jwt.NewNumericDate(row.CreateTime), ExpiresAt: jwt.NewNumericDate(expire),
		},
		Scopes: wish.Scopes,
	})
	return token, row, err
}

func (w CreateAPITokenParams) validate(expire time.Time) error {
	switch until := time.Until(expire); {
	case len(w.Scopes) == 0,
		slices.ContainsFunc(w.Scopes, func(s string) bool { return !slices.Contains(apiTokenScopes, s) }):
		return errTokenScopes
	case until <= 0, until > MaxAPITokenAge:
		return errTokenExpiry
	case len(w.Name) > 100:
		return errTokenName
	}
	return nil
}

// List returns the tokens of a user, or of everybody for uuid.Nil, newest first.
func (t *APITokens) List(ctx context.Context, userID uuid.UUID) ([]*ent.APIToken, error) {
	query := t.DB.Read.APIToken.Query()
	if userID != uuid.Nil {
		query.Where(apitoken.UserID(userID))
	}
	tokens, err := query.Order(ent.Desc(apitoken.FieldCreateTime, apitoken.FieldID)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("list API tokens: %w", err)
	}
	return tokens, nil
}

// Revoke makes a token useless from now on; a second time changes nothing. It fails with [ErrNoToken].
func (t *APITokens) Revoke(ctx context.Context, id uuid.UUID) error {
	return t.DB.Run(ctx, func(tx *ent.Client) error {
		row, err := tx.APIToken.Query().Where(apitoken.ID(id), dbtx.ForUpdate).Only(ctx)
		switch {
		case ent.IsNotFound(err):
			return ErrNoToken
		case err != nil:
			return fmt.Errorf("find API token: %w", err)
		case row.RevokeTime != nil:
			return nil
		}
		now := time.Now().UTC().Truncate(time.Microsecond)
		if err := tx.APIToken.UpdateOneID(id).SetRevokeTime(now).Exec(ctx); err != nil {
			return fmt.Errorf("revoke API token: %w", err)
		}
		return nil
	})
}

// caller returns who calls with a token: one statement. It fails with [ErrUnauthenticated], [ErrTokenExpired] or
// [ErrAccountInactive].
func (t *APITokens) caller(ctx context.Context, token string) (*Caller, error) {
	var c apiTokenClaims
	if err := t.Keys.Verify(PurposeAPIToken, token, &c); err != nil {
		return nil, err
	}
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return nil, ErrUnauthenticated.Because(err)
	}
	// Deactivating an account revokes its tokens, and whoever calls with one is told why.
	owner, err := t.DB.Read.User.Query().Where(user.HasAPITokensWith(apitoken.ID(id)), user.Or(
		user.Active(false), user.HasAPITokensWith(apitoken.ID(id), apitoken.RevokeTimeIsNil()),
	)).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, ErrUnauthenticated
	}
	if err != nil {
		return nil, fmt.Errorf("find the user of an API token: %w", err)
	}
	if !owner.Active {
		return nil, ErrAccountInactive
	}
	return &Caller{Kind: User, User: owner, Scopes: c.Scopes}, nil
}
