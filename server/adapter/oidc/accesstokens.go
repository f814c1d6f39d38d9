package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/usher-meet/usher/server/auth"
)

// clockSkew is how far the provider's clock may be from ours.
const clockSkew = 10 * time.Second

// accessClaims are the claims by which an access token for this API differs from other tokens of the provider.
type accessClaims struct {
	jwt.RegisteredClaims
	AuthorizedParty string `json:"azp"`
	ClientID        string `json:"client_id"`
	// Type is Keycloak's: "Bearer" for access tokens, "ID" or "Refresh" for others.
	Type string `json:"typ"`
	// Scope is in access tokens only (RFC 9068, section 2.2.3), which need not say it.
	Scope json.RawMessage `json:"scope"`
	// The hashes are in ID tokens only (OpenID Connect Core 1.0, section 3.1.3.6).
	AccessTokenHash string `json:"at_hash"`
	CodeHash        string `json:"c_hash"`
	// Confirmation binds a token to a key of its client (RFC 7800).
	Confirmation json.RawMessage `json:"cnf"`
}

// Verify checks an access token for server/auth. The token must be a JWT (RFC 9068) of the issuer for the audience, with an
// end, a subject and an asymmetric signature.
func (p *Provider) Verify(ctx context.Context, token string) (string, error) {
	if p.config.Audience == "" {
		return "", refused(errors.New("access tokens are switched off"))
	}
	d, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods(asymmetric), jwt.WithIssuer(p.config.Issuer), jwt.WithAudience(p.config.Audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(clockSkew))
	keys := func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		found, err := d.keys.find(ctx, id)
		if err != nil {
			return nil, err
		}
		return jwt.VerificationKeySet{Keys: found}, nil
	}
	var claims accessClaims
	parsed, err := parser.ParseWithClaims(token, &claims, keys)
	if errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		d.keys.renew(ctx)
		claims = accessClaims{}
		parsed, err = parser.ParseWithClaims(token, &claims, keys)
	}
	switch {
	case errors.Is(err, auth.ErrSignInProvider):
		return "", auth.ErrSignInProvider.Because(err)
	case onlyExpired(err):
		return "", auth.ErrTokenExpired
	case err != nil:
		return "", refused(err)
	}
	if err := p.checkAccessToken(parsed, &claims); err != nil {
		return "", refused(err)
	}
	return claims.Subject, nil
}

// onlyExpired reports whether a token was good until it ended: a foreign one that ended too is told nothing.
func onlyExpired(err error) bool {
	if !errors.Is(err, jwt.ErrTokenExpired) {
		return false
	}
	others := []error{
		jwt.ErrTokenSignatureInvalid, jwt.ErrTokenUnverifiable, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience,
		jwt.ErrTokenNotValidYet, jwt.ErrTokenRequiredClaimMissing,
	}
	return !slices.ContainsFunc(others, func(other error) bool { return errors.Is(err, other) })
}

// checkAccessToken refuses other tokens of the same provider, and those that not everybody may carry.
func (p *Provider) checkAccessToken(t *jwt.Token, c *accessClaims) error {
	if _, ok := t.Header["crit"]; ok {
		// RFC 7515, section 4.1.11: what a header calls critical must be understood, and nothing that can be is used here.
		return errors.New("the token has critical headers that are not known here")
	}
	form, _ := t.Header["typ"].(string)
	switch form = strings.TrimPrefix(strings.ToLower(form), "application/"); {
	case form != "" && form != "jwt" && form != "at+jwt":
		return fmt.Errorf("the token is of the form %.32q", form)
	case c.Type != "" && !strings.EqualFold(c.Type, "Bearer"),
		c.AccessTokenHash != "", c.CodeHash != "":
		return errors.New("the token is not an access token")
	case p.config.Audience == p.config.ClientID && form != "at+jwt" && c.Type == "" && len(c.Scope) == 0:
		// The audience does not keep ID tokens out here, and nothing else tells them apart.
		return errors.New("the token does not say that it is an access token")
	case len(c.Confirmation) > 0:
		return errors.New("the token is bound to a key of its client, which cannot be checked here")
	case c.Subject == "":
		return errors.New("the token has no subject")
	}
	if len(p.config.ClientIDs) == 0 {
		return nil
	}
	client := c.AuthorizedParty
	if client == "" {
		client = c.ClientID
	}
	if !slices.Contains(p.config.ClientIDs, client) {
		return errors.New("the token was issued to a client that is not allowed")
	}
	return nil
}
