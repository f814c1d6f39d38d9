package server

import (
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/adapter/oidc"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/signin"
)

// provider is the OpenID provider, nil when none is configured. It is not asked anything yet.
func (b *base) provider() (*oidc.Provider, error) {
	c := b.config.OIDC
	if c.Issuer == "" {
		return nil, nil
	}
	return oidc.New(oidc.Config{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: string(c.ClientSecret), CAFile: c.CAFile,
		RedirectURL: b.config.PublicURL + signin.CallbackPath, PostLogoutURL: b.config.PublicURL + signin.LogoutCallbackPath,
		Scopes: c.Scopes, FullNameClaims: c.FullNameClaims, ShortNameClaim: c.ShortNameClaim, ExtraParams: c.ExtraParams,
		Audience: c.Audience, ClientIDs: c.ClientIDs,
	})
}

func (b *base) authenticator(provider *oidc.Provider, observed *observer) *auth.Authenticator {
	a := &auth.Authenticator{
		DB: b.db, Keys: b.keys, Sessions: b.sessions, Limiter: b.limiter, Log: b.log, Refused: observed.refused,
		Calls: b.config.Limits.Calls, NotFound: b.config.Limits.NotFound,
		TrustedProxies: b.config.TrustedProxies,
		Secure:         b.secure(),
	}
	for _, s := range b.config.ServiceTokens {
		service := auth.ServiceToken{Name: s.Name, Scopes: s.Scopes}
		// The settings were checked; what is not a hash equals no token's.
		if _, err := hex.Decode(service.Hash[:], []byte(s.Hash)); err == nil {
			a.Services = append(a.Services, service)
		}
	}
	if provider != nil && b.config.OIDC.Audience != "" {
		a.AccessTokens = provider
	}
	return a
}

// secure reports whether people reach this server by https.
func (b *base) secure() bool { return strings.HasPrefix(b.config.PublicURL, "https://") }

// signIn serves /auth/: sign-in through the OpenID provider, or what replaces it.
func (b *base) signIn(client *jobs.Client, o Options, provider *oidc.Provider) http.Handler {
	if o.SignIn != nil {
		return o.SignIn(SignInParts{DB: b.db, Sessions: b.sessions, Keys: b.keys, Log: b.log})
	}
	s := &signin.SignIn{
		Accounts: &accounts.Accounts{
			DB: b.db, MatchByEmail: b.config.OIDC.MatchByEmail, CreateUsers: b.config.OIDC.CreateUsers,
			TrustEmail: b.config.OIDC.TrustEmail,
			Created:    accountCreated(newContacts(b, client)), Log: b.log,
		},
		Sessions: b.sessions, Keys: b.keys, Limiter: b.limiter, Limit: b.config.Limits.SignIn,
		TrustedProxies: b.config.TrustedProxies, PublicURL: b.config.PublicURL, AllowedOrigins: b.config.AllowedOrigins,
		Log: b.log,
	}
	if provider != nil { // a nil *Provider in the interface would not be nil
		s.Provider = provider
	}
	mux := http.NewServeMux()
	s.Mount(mux)
	return mux
}
