// Package oidc speaks to the OpenID provider: discovery, sign-in, user-info, and the provider's access tokens.
//
// The provider is asked when it is first needed and not before, so that Usher starts while it is down; what it said about
// itself is kept and asked again every hour. Every answer is bounded in time and size. What the provider says is believed
// only with its signature, or over the connection to it.
//
// It knows nothing of accounts and sessions: server/auth does, and calls this package by interfaces of its own. It fails
// with faults of server/auth.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/usher-meet/usher/server/auth"
)

// Config is how this server is known to the provider.
type Config struct {
	Issuer, ClientID, ClientSecret string
	// CAFile holds the certificates that the provider's is checked against, in PEM. Empty: those of the system.
	CAFile string
	// RedirectURL and PostLogoutURL are where the provider sends browsers back to.
	RedirectURL, PostLogoutURL string
	// Scopes to ask for; openid must be among them.
	Scopes []string
	// FullNameClaims are joined by spaces when "name" is empty. Empty: given_name, and family_name or else usual_name.
	FullNameClaims []string
	// ShortNameClaim is "given_name" if empty.
	ShortNameClaim string
	// ExtraParams are added to the authorization request.
	ExtraParams map[string]string
	// Audience that access tokens must name. Empty: none are accepted.
	Audience string
	// ClientIDs that access tokens may have been issued to. Empty: any.
	ClientIDs []string
}

// Provider is an OpenID provider. Make it with [New].
type Provider struct {
	config Config
	http   *httpClient

	// asking is held by whoever asks the provider about itself, mu only to look.
	asking, mu sync.Mutex
	known      *discovery
	// asked is when the provider was last asked, and failure why that came to nothing.
	asked   time.Time
	failure error
}

// discovery is the provider's metadata (OpenID Connect Discovery 1.0, section 3).
type discovery struct {
	provider *oidc.Provider
	oauth    oauth2.Config
	// endSession is empty where there is no such page.
	endSession *url.URL
	keys       *keySet
}

const (
	// refreshAfter is how long the provider's word about itself is good.
	refreshAfter = time.Hour
	// retryAfter is how long a provider that failed is left alone, so that it is not flooded while it comes back.
	retryAfter = time.Second
)

// New reads the CA file. It does not speak to the provider.
func New(c Config) (*Provider, error) {
	if issuer, err := url.Parse(c.Issuer); err != nil || issuer.Host == "" ||
		(issuer.Scheme != "https" && issuer.Scheme != "http") {
		return nil, errors.New("the OpenID issuer must be an address that begins with https://")
	}
	if !slices.Contains(c.Scopes, oidc.ScopeOpenID) {
		return nil, errors.New(`the OpenID scopes must include "openid"`)
	}
	client, err := newHTTPClient(c.CAFile)
	if err != nil {
		return nil, err
	}
	return &Provider{config: c, http: client}, nil
}

// discover returns what is known about the provider, after asking it if need be. It fails with auth.ErrSignInProvider.
func (p *Provider) discover(ctx context.Context) (*discovery, error) {
	known, due, failure := p.look()
	if due && p.lock(known == nil) {
		defer p.asking.Unlock()
		if known, due, failure = p.look(); due { // somebody else may just have asked
			known, failure = p.ask(ctx)
		}
	}
	if known == nil {
		return nil, auth.ErrSignInProvider.Because(failure)
	}
	return known, nil
}

// lock takes the right to ask. Who knows something already does not wait for it.
func (p *Provider) lock(wait bool) bool {
	if wait {
		p.asking.Lock()
		return true
	}
	return p.asking.TryLock()
}

// look returns what is known, whether it is time to ask, and why asking came to nothing the last time.
func (p *Provider) look() (known *discovery, due bool, failure error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := refreshAfter
	switch {
	case p.known == nil:
		pause = retryAfter
	case p.failure != nil:
		pause = time.Minute
	}
	return p.known, time.Since(p.asked) > pause, p.failure
}

// ask asks the provider. When it does not answer, what was known before stays.
func (p *Provider) ask(ctx context.Context) (*discovery, error) {
	// Others wait for the answer, so it must not depend on this caller's patience; the client has a time-out.
	found, err := p.fetch(context.WithoutCancel(ctx))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.failure = time.Now(), err
	if err == nil {
		if p.known != nil && p.known.keys.address == found.keys.address {
			found.keys = p.known.keys
		}
		p.known = found
	}
	return p.known, err
}

func (p *Provider) fetch(ctx context.Context) (*discovery, error) {
	provider, err := oidc.NewProvider(p.http.in(ctx), p.config.Issuer)
	if err != nil {
		// The error may repeat a whole page.
		return nil, fmt.Errorf("discover %s: %.300s", p.config.Issuer, err.Error())
	}
	var more struct {
		EndSession  string   `json:"end_session_endpoint"`
		Keys        string   `json:"jwks_uri"`
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, fmt.Errorf("discover %s: %w", p.config.Issuer, err)
	}
	d := &discovery{
		provider: provider,
		oauth: oauth2.Config{
			ClientID: p.config.ClientID, ClientSecret: p.config.ClientSecret, Endpoint: provider.Endpoint(),
			RedirectURL: p.config.RedirectURL, Scopes: p.config.Scopes,
		},
		keys: &keySet{client: p.http, address: more.Keys},
	}
	d.oauth.Endpoint.AuthStyle = authStyle(more.AuthMethods, p.config.ClientSecret)
	if u, err := url.Parse(more.EndSession); err == nil && u.Host != "" {
		d.endSession = u
	}
	return d, nil
}

// authStyle is how the client proves itself. Trying one way after the other would spend the code on the first.
func authStyle(methods []string, secret string) oauth2.AuthStyle {
	if secret == "" || (len(methods) > 0 && !slices.Contains(methods, "client_secret_basic")) {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader // what a provider supports that says nothing
}
