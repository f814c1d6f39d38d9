package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/signin"
)

// asymmetric are the algorithms that a signature of the provider may have: never "none", and never one whose key is a
// shared secret, since the public key could be taken for it.
var asymmetric = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

var joseAlgorithms = func() []jose.SignatureAlgorithm {
	all := make([]jose.SignatureAlgorithm, len(asymmetric))
	for i, a := range asymmetric {
		all[i] = jose.SignatureAlgorithm(a)
	}
	return all
}()

// AuthorizationURL is the address of the provider's login page for one sign-in. It fails with [auth.ErrSignInProvider].
func (p *Provider) AuthorizationURL(ctx context.Context, req signin.AuthorizationRequest) (string, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	var options []oauth2.AuthCodeOption
	for name, value := range p.config.ExtraParams {
		options = append(options, oauth2.SetAuthURLParam(name, value))
	}
	options = append(options, oidc.Nonce(req.Nonce), oauth2.S256ChallengeOption(req.Verifier))
	if req.Silent {
		options = append(options, oauth2.SetAuthURLParam("prompt", "none"))
	}
	return d.oauth.AuthCodeURL(req.State, options...), nil
}

// Exchange trades the code of a callback for the person who signed in. It fails with [auth.ErrSignInProvider] when the
// provider does not answer, and with [auth.ErrUnauthenticated] when it refuses or its answer cannot be trusted.
func (p *Provider) Exchange(ctx context.Context, code, verifier, nonce string) (*signin.Identity, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	token, err := d.oauth.Exchange(p.http.forTokens(ctx), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, exchangeError(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, refused(errors.New("the answer has no ID token"))
	}
	proven, err := p.verifyIDToken(ctx, d, raw, token.AccessToken, nonce)
	if err != nil {
		return nil, err
	}
	told, err := p.userInfo(ctx, d, token, proven.subject)
	if err != nil {
		return nil, err
	}
	claims, err := p.config.person(proven.claims, told)
	if err != nil {
		return nil, refused(err)
	}
	unread := append(p.config.unread(told), p.config.unread(proven.claims)...)
	slices.Sort(unread)
	return &signin.Identity{Claims: claims, IDToken: raw, Unread: slices.Compact(unread)}, nil
}

// maxAddress bounds the address for signing out, in bytes: some proxies take no more than 2 kB, and an ID token with all
// groups of a person has many times that.
const maxAddress = 2000

// EndSessionURL is the address at which somebody signs out of the provider (OpenID Connect RP-Initiated Logout 1.0), and
// false if the provider has none. Where the ID token does not fit into it, the provider learns who signs out from a shorter
// claim of it, or from its own cookie.
func (p *Provider) EndSessionURL(ctx context.Context, idToken string) (string, bool) {
	d, err := p.discover(ctx)
	if err != nil || d.endSession == nil {
		return "", false
	}
	address := *d.endSession
	query := address.Query()
	query.Set("client_id", p.config.ClientID)
	query.Set("post_logout_redirect_uri", p.config.PostLogoutURL)
	address.RawQuery = query.Encode()
	shortest := address.String()
	for _, hint := range []struct{ name, value string }{{"id_token_hint", idToken}, {"logout_hint", logoutHint(idToken)}} {
		if hint.value == "" {
			continue
		}
		with := address
		with.RawQuery += "&" + hint.name + "=" + url.QueryEscape(hint.value)
		if full := with.String(); len(full) <= maxAddress {
			return full, true
		}
	}
	return shortest, true
}

// logoutHint is what names a person or their session at the provider, out of an ID token that was checked when they signed
// in: the claim that Entra makes for it, or the session.
func logoutHint(idToken string) string {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(idToken, claims); err != nil {
		return ""
	}
	if hint := claimSet(claims).text("login_hint"); hint != "" {
		return hint
	}
	return claimSet(claims).text("sid")
}

func refused(cause error) error { return auth.ErrUnauthenticated.Because(cause) }

// exchangeError keeps the answer's text out of logs: it may repeat what was sent.
func exchangeError(err error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return auth.ErrSignInProvider.Because(fmt.Errorf("exchange the code: %w", err))
	}
	cause := fmt.Errorf("exchange the code: status %d, error %.64q", answer.Response.StatusCode, answer.ErrorCode)
	if answer.Response.StatusCode >= http.StatusInternalServerError ||
		answer.Response.StatusCode == http.StatusTooManyRequests {
		return auth.ErrSignInProvider.Because(cause)
	}
	return refused(cause)
}

// idToken holds the verified claims of an ID token.
type idToken struct {
	subject string
	claims  claimSet
}

func (p *Provider) verifyIDToken(ctx context.Context, d *discovery, raw, accessToken, nonce string) (*idToken, error) {
	keys := &signatures{keys: d.keys}
	verifier := oidc.NewVerifier(p.config.Issuer, keys, &oidc.Config{
		ClientID: p.config.ClientID, SupportedSigningAlgs: asymmetric,
		SkipExpiryCheck: true, // its leeway differs for the end and the beginning; both are checked below
	})
	token, err := verifier.Verify(ctx, raw)
	if keys.outage != nil {
		return nil, keys.outage
	}
	if err != nil {
		return nil, refused(err)
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1 {
		return nil, refused(errors.New("the ID token is of another sign-in: its nonce differs"))
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(accessToken); err != nil {
			return nil, refused(err)
		}
	}
	proven := &idToken{subject: token.Subject}
	if err := token.Claims(&proven.claims); err != nil {
		return nil, refused(err)
	}
	times := jwt.NewValidator(jwt.WithExpirationRequired(), jwt.WithLeeway(clockSkew))
	if err := times.Validate(jwt.MapClaims(proven.claims)); err != nil {
		return nil, refused(err)
	}
	if party := proven.claims.text("azp"); party != "" && party != p.config.ClientID {
		return nil, refused(errors.New("the ID token was issued to another client"))
	}
	return proven, nil
}
