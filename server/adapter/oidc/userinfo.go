package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"golang.org/x/oauth2"

	"github.com/usher-meet/usher/server/auth"
)

// userInfo asks for what the ID token need not say. A provider without that page has said everything.
//
// go-oidc can ask too, but gives up all claims when one of them has another JSON type, and checks a JWT with keys that it
// fetches for itself.
func (p *Provider) userInfo(ctx context.Context, d *discovery, token *oauth2.Token, subject string) (claimSet, error) {
	address := d.provider.UserInfoEndpoint()
	if address == "" {
		return nil, nil
	}
	body, err := p.fetchUserInfo(ctx, d, address, token)
	if err != nil {
		return nil, auth.ErrSignInProvider.Because(fmt.Errorf("get the user-info: %w", err))
	}
	claims, err := readClaims(body)
	if err != nil {
		return nil, auth.ErrSignInProvider.Because(fmt.Errorf("get the user-info: %w", err))
	}
	switch about := claims["sub"].(type) {
	case string:
		if about == subject {
			return claims, nil
		}
	case json.Number: // as the provider's database has it; the ID token has to be text
		if about.String() == subject {
			return claims, nil
		}
	default:
		return nil, refused(fmt.Errorf("the user-info does not say whom it is about: its sub is of the type %s", jsonType(about)))
	}
	// OpenID Connect Core 1.0, section 5.3.2: it must not be used.
	return nil, refused(errors.New("the user-info is about somebody else than the ID token"))
}

// fetchUserInfo returns JSON. Its errors do not repeat the answer, which is about a person.
func (p *Provider) fetchUserInfo(ctx context.Context, d *discovery, address string, token *oauth2.Token) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	token.SetAuthHeader(req)
	res, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	// What cannot be read as a media type is no JWT.
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "application/jwt" {
		return body, nil
	}
	keys := &signatures{keys: d.keys}
	payload, err := keys.VerifySignature(ctx, string(bytes.TrimSpace(body)))
	if keys.outage != nil {
		return nil, keys.outage
	}
	return payload, err
}

// readClaims reads a JSON object. Numbers stay as they are written.
func readClaims(body []byte) (claimSet, error) {
	reader := json.NewDecoder(bytes.NewReader(body))
	reader.UseNumber()
	var claims claimSet
	if err := reader.Decode(&claims); err != nil || claims == nil {
		return nil, errors.New("it is no JSON object") // the decoder's error may repeat some of it
	}
	return claims, nil
}
