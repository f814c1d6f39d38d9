package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/user"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/ratelimit"
)

// accessTokens checks access tokens of the OpenID provider.
type accessTokens interface {
	// Verify returns the subject of a token. It fails with [ErrUnauthenticated], [ErrTokenExpired] or [ErrSignInProvider].
	Verify(ctx context.Context, token string) (sub string, err error)
}

// Authenticator finds out who sent each RPC and refuses what the policy does, before the request is read. Every field is
// required unless it says otherwise.
//
// The credential is the Authorization header if there is one, else the session cookie. One that is bad is refused on every
// method, public ones too, so that nobody works on as a stranger without noticing.
type Authenticator struct {
	DB       *dbtx.DB
	Keys     *Keys
	Sessions *Sessions
	// Services may be empty.
	Services []ServiceToken
	// AccessTokens is nil where access tokens of the provider are switched off.
	AccessTokens accessTokens
	Limiter      *ratelimit.Limiter
	// Calls limits everything, and NotFound looking things up in vain: by caller, and strangers by network.
	Calls, NotFound ratelimit.Limit
	// TrustedProxies may be empty.
	TrustedProxies []netip.Prefix
	// Secure is whether people reach this server by https.
	Secure bool
	Log    *slog.Logger
	// Refused is told of each call that does not get any further, for the metrics.
	Refused func(ctx context.Context, procedure string, caller *Caller, code connect.Code)
}

// Wrap is middleware for RPCs: next runs with the caller in the context.
func (a *Authenticator) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := a.admit(r)
		if err != nil {
			a.refuse(w, r, caller, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), caller)))
	})
}

// admit returns the caller of a request, and why it is refused if it is. Refused requests count as calls too.
func (a *Authenticator) admit(r *http.Request) (*Caller, error) {
	procedure := r.URL.EscapedPath() // as it was sent: what is percent-encoded is no method's name
	caller, refusal := a.Caller(r)
	if refusal == nil {
		refusal = Check(procedure, caller)
	}
	calls := caller.limited(ratelimit.Call{Limit: a.Calls})
	if rule := policy[procedure]; rule.FindsByName && refusal == nil {
		calls = append(calls, caller.limited(ratelimit.Call{Limit: a.NotFound, Peek: !rule.CountsEveryCall})...)
	}
	// Without Redis these limits are not worth refusing a meeting.
	if err := a.Limiter.Allow(r.Context(), calls...); err != nil {
		return caller, err
	}
	return caller, refusal
}

func (a *Authenticator) refuse(w http.ResponseWriter, r *http.Request, caller *Caller, err error) {
	refusal := fault.Connect(err)
	a.Refused(r.Context(), r.URL.EscapedPath(), caller, refusal.Code())
	if refusal.Code() == connect.CodeInternal || refusal.Code() == connect.CodeUnavailable {
		a.Log.ErrorContext(r.Context(), "authentication failed", "code", refusal.Code().String(), "err", err)
	}
	if errors.Is(err, ErrSessionEnded) {
		// Scripts cannot remove the cookie, and with it every call would be refused.
		http.SetCookie(w, EndCookie(a.Secure))
	}
	fault.Write(w, r, refusal)
}

// Caller finds out who sent a request. Even with an error the caller has its network, and is anonymous then.
func (a *Authenticator) Caller(r *http.Request) (*Caller, error) {
	prefix := AddressPrefix(ClientAddress(r, a.TrustedProxies))
	caller, err := a.authenticate(r)
	if err != nil {
		return &Caller{AddressPrefix: prefix}, err
	}
	caller.AddressPrefix = prefix
	return caller, nil
}

func (a *Authenticator) authenticate(r *http.Request) (*Caller, error) {
	if header := r.Header.Values("Authorization"); len(header) > 0 {
		scheme, token, _ := strings.Cut(header[0], " ")
		token = strings.TrimSpace(token)
		if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
			return nil, ErrUnauthenticated.Saying(`the Authorization header must be "Bearer" and a token`)
		}
		caller, err := a.bearer(r.Context(), token)
		if err == nil {
			caller.again = func(ctx context.Context) (*Caller, error) { return a.bearer(ctx, token) }
		}
		return caller, err
	}
	if token, ok := SessionToken(r, a.Secure); ok && !fromElsewhere(r) {
		caller, err := a.session(r.Context(), token, a.Sessions.Lookup)
		if err == nil {
			caller.again = func(ctx context.Context) (*Caller, error) { return a.session(ctx, token, a.Sessions.Peek) }
		}
		return caller, err
	}
	return &Caller{Kind: Anonymous}, nil
}

// bearer tells the four kinds of tokens apart by their form: what is not a JWT is a service's; one with a symmetric
// signature must be ours; all others are the OpenID provider's.
func (a *Authenticator) bearer(ctx context.Context, token string) (*Caller, error) {
	algorithm, ok := jwtAlgorithm(token)
	switch {
	case !ok:
		return serviceCaller(a.Services, token)
	case strings.HasPrefix(algorithm, "HS"):
		return a.ours(ctx, token)
	case a.AccessTokens == nil:
		return nil, ErrUnauthenticated
	}
	sub, err := a.AccessTokens.Verify(ctx, token)
	if err != nil {
		return nil, err
	}
	u, err := a.user(ctx, user.Sub(sub), ErrUnauthenticated)
	if err != nil {
		return nil, err
	}
	return &Caller{Kind: User, User: u, AllScopes: true}, nil
}

// ours tells our own two kinds apart by the key that made them.
func (a *Authenticator) ours(ctx context.Context, token string) (*Caller, error) {
	tokens := APITokens{DB: a.DB, Keys: a.Keys}
	caller, err := tokens.caller(ctx, token)
	if !errors.Is(err, ErrUnauthenticated) {
		return caller, err
	}
	session, err := a.Keys.VerifySession(token)
	if err != nil {
		return nil, err
	}
	if session.UserID != uuid.Nil {
		// The token stands for the participant, but who was deactivated is refused in every shape.
		u, err := a.user(ctx, user.ID(session.UserID), ErrUnauthenticated)
		if err != nil {
			return nil, err
		}
		if IssuedBeforeDeactivation(u, session.JoinTime) {
			return nil, errDeactivatedSince
		}
	}
	return &Caller{Kind: Participant, Participant: session}, nil
}

func (a *Authenticator) session(
	ctx context.Context, token string, look func(context.Context, string) (*Session, error),
) (*Caller, error) {
	session, err := look(ctx, token)
	if err != nil {
		return nil, err
	}
	u, err := a.user(ctx, user.ID(session.UserID), ErrSessionEnded)
	if err != nil {
		return nil, err
	}
	return &Caller{Kind: User, User: u, AllScopes: true}, nil
}

// user returns the one active user that matches. It fails with absent, or with [ErrAccountInactive].
func (a *Authenticator) user(ctx context.Context, match predicate.User, absent error) (*ent.User, error) {
	u, err := a.DB.Read.User.Query().Where(match).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return nil, absent
	case err != nil:
		return nil, fmt.Errorf("find user: %w", err)
	case !u.Active:
		return nil, ErrAccountInactive
	}
	return u, nil
}

// jwtAlgorithm returns the algorithm that a token claims to be signed with. ok is false for what is not a JWT. It proves
// nothing: it only says who might have made the token.
func jwtAlgorithm(token string) (algorithm string, ok bool) {
	if strings.Count(token, ".") != 2 {
		return "", false
	}
	encoded, _, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "", false
	}
	var fields struct {
		Algorithm string `json:"alg"`
	}
	if err := json.Unmarshal(header, &fields); err != nil {
		return "", false
	}
	return fields.Algorithm, true
}
