// Package auth answers who is calling and what they may do: credentials, sessions, the policy of each method, and roles in
// rooms.
//
// It refuses by default: a method that the policy lacks is refused, a credential that is bad is never ignored, and a bad
// Authorization header never falls back to the cookie. It does not speak to the OpenID provider (server/adapter/oidc does)
// and holds no rules of a service.
package auth

import (
	"context"
	"slices"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/fault"
)

// Kind is a kind of caller.
type Kind int

// The kinds of callers.
const (
	// Anonymous carries no credential.
	Anonymous Kind = iota
	// User is a person: a session cookie, an access token of the OpenID provider, or an API token.
	User
	// Service is another program of the operator, with a service token.
	Service
	// Participant is somebody in a meeting, with the session token of a Connection. It never stands for the user behind it.
	Participant
	// System is a part of this server that calls a service in process.
	System
)

// String is for logs and metrics.
func (k Kind) String() string {
	return [...]string{"anonymous", "user", "service", "participant", "system"}[k]
}

// Caller is who makes a request.
type Caller struct {
	Kind Kind
	// User is set for Kind User, and active.
	User *ent.User
	// Name is the name of a service or of a part of the system.
	Name string
	// Scopes bound what an API token or a service may do.
	Scopes []string
	// AllScopes is true for sessions and access tokens: they may do what the user may.
	AllScopes bool
	// Participant is set for Kind Participant.
	Participant *ParticipantSession
	// AddressPrefix is the client's network (/24 or /64), by which strangers are limited.
	AddressPrefix string

	// again checks the credential once more; nil for callers without one.
	again func(context.Context) (*Caller, error)
}

// Now is the caller as they are today, for calls that last: one statement, and one command to Redis for a session, whose
// life it does not prolong. It fails as a new call with the same credential would: with [ErrUnauthenticated],
// [ErrTokenExpired], [ErrSessionEnded] or [ErrAccountInactive], and with fault.ErrRedis when that is not known.
func (c *Caller) Now(ctx context.Context) (*Caller, error) {
	if c.again == nil {
		return c, nil
	}
	now, err := c.again(ctx)
	if err != nil {
		return nil, err
	}
	now.AddressPrefix, now.again = c.AddressPrefix, c.again
	return now, nil
}

// HasScope reports whether the credential covers scope.
func (c *Caller) HasScope(scope string) bool {
	return c.AllScopes || slices.Contains(c.Scopes, scope)
}

// Key names the caller for limits, idempotency and page tokens: two callers never share one. Strangers are their network.
func (c *Caller) Key() string {
	switch c.Kind {
	case User:
		return "user:" + c.User.ID.String()
	case Service, System:
		return c.Kind.String() + ":" + c.Name
	case Participant:
		return "participant:" + c.Participant.Identity
	default:
		return "address:" + c.AddressPrefix
	}
}

// UserID is the id of a signed-in user.
func (c *Caller) UserID() (uuid.UUID, bool) {
	if c.Kind != User {
		return uuid.Nil, false
	}
	return c.User.ID, true
}

type contextKey struct{}

// FromContext returns the caller of a request: an anonymous one where nobody was authenticated.
func FromContext(ctx context.Context) *Caller {
	if c, ok := ctx.Value(contextKey{}).(*Caller); ok {
		return c
	}
	return &Caller{}
}

// WithCaller returns a context in which c is calling.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// WithSystem returns a context in which the named part of this server is calling.
func WithSystem(ctx context.Context, name string) context.Context {
	return WithCaller(ctx, &Caller{Kind: System, Name: name, AllScopes: true})
}

// RequireUser returns the signed-in user of a request.
func RequireUser(ctx context.Context) (*ent.User, error) {
	if c := FromContext(ctx); c.Kind == User {
		return c.User, nil
	}
	return nil, ErrSignInRequired
}

// What can be wrong with a credential or a right.
var (
	ErrUnauthenticated = fault.New(connect.CodeUnauthenticated, usherv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED,
		"the credential is not valid here")
	ErrTokenExpired = fault.New(connect.CodeUnauthenticated, usherv1.ErrorReason_ERROR_REASON_TOKEN_EXPIRED,
		"the token has expired: get a new one")
	ErrSessionEnded = fault.New(connect.CodeUnauthenticated, usherv1.ErrorReason_ERROR_REASON_SESSION_ENDED,
		"the session has ended: sign in again")
	ErrSignInRequired = fault.New(connect.CodeUnauthenticated, usherv1.ErrorReason_ERROR_REASON_SIGN_IN_REQUIRED,
		"sign in first, or send a bearer token")
	ErrSignInProvider = fault.New(connect.CodeUnavailable, usherv1.ErrorReason_ERROR_REASON_SIGN_IN_UNAVAILABLE,
		"the OpenID provider does not answer: repeat the call")
	// ErrNoMethod is a method that does not exist.
	ErrNoMethod = fault.New(connect.CodeUnimplemented, usherv1.ErrorReason_ERROR_REASON_METHOD_NOT_FOUND,
		"there is no such method: look at its spelling, and at the version of this server")
	ErrNotPermitted = fault.New(connect.CodePermissionDenied, usherv1.ErrorReason_ERROR_REASON_NOT_PERMITTED,
		"this caller may not do that")
	ErrInsufficientRole = fault.New(connect.CodePermissionDenied, usherv1.ErrorReason_ERROR_REASON_INSUFFICIENT_ROLE,
		"your role in the room does not allow that")
	ErrAccountInactive = fault.New(connect.CodePermissionDenied, usherv1.ErrorReason_ERROR_REASON_ACCOUNT_INACTIVE,
		"this account was deactivated: ask the operator")
	ErrCrossOrigin = fault.New(connect.CodePermissionDenied, usherv1.ErrorReason_ERROR_REASON_CROSS_ORIGIN,
		"requests from another site are refused: use a bearer token, from an origin that the operator trusts")
	ErrRoomNotFound = fault.New(connect.CodeNotFound, usherv1.ErrorReason_ERROR_REASON_ROOM_NOT_FOUND,
		"there is no such room")
	ErrLobbyRequired = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_LOBBY_REQUIRED,
		"this room has a lobby: ask to be let in, and wait")
)
