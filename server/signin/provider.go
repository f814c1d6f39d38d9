package signin

import (
	"context"

	"github.com/usher-meet/usher/server/accounts"
)

// Identity is the outcome of a sign-in at the provider.
type Identity struct {
	Claims accounts.Claims
	// IDToken is the proof, as the provider wrote it.
	IDToken string
	// Unread are the claims that were ignored because their JSON type is not that of the specification, each with its type
	// and without its value: "email (list)".
	Unread []string
}

// AuthorizationRequest holds the parameters of a sign-in at the provider.
type AuthorizationRequest struct {
	// State comes back in the callback, and Nonce in the ID token. Verifier is the secret behind the PKCE challenge.
	State, Nonce, Verifier string
	// Silent asks the provider to answer without showing anything, with an error if it would have to.
	Silent bool
}

// provider is an OpenID provider.
type provider interface {
	// AuthorizationURL is where to send the browser. It fails with [auth.ErrSignInProvider].
	AuthorizationURL(ctx context.Context, req AuthorizationRequest) (string, error)
	// Exchange trades the code of a callback for who signed in. It fails with [auth.ErrSignInProvider] when the provider does
	// not answer, and with [auth.ErrUnauthenticated] when it refuses or what it says does not hold.
	Exchange(ctx context.Context, code, verifier, nonce string) (*Identity, error)
	// EndSessionURL is where to send the browser to sign out of the provider too, an address that proxies take whatever is in
	// the ID token; ok is false where there is nothing of the kind.
	EndSessionURL(ctx context.Context, idToken string) (address string, ok bool)
}
