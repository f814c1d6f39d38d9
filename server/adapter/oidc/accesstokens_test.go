package oidc

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/usher-meet/usher/server/auth"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	p := i.provider(func(c *Config) { c.ClientIDs = []string{"test-cli", "test-app"} })
	good := jwt.MapClaims{"aud": testAudience, "nonce": nil, "azp": "test-cli"}
	with := func(change jwt.MapClaims) jwt.MapClaims {
		c := i.claims(good)
		for k, v := range change {
			c[k] = v
			if v == nil {
				delete(c, k)
			}
		}
		return c
	}
	rs := func(change jwt.MapClaims, header ...string) string {
		return i.sign(jwt.SigningMethodRS256, i.rsa, "rsa", with(change), header...)
	}
	der, err := x509.MarshalPKIXPublicKey(&i.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for _, c := range []struct {
		name, token string
		want        error
	}{
		{"good", rs(nil), nil},
		{"RFC 9068", rs(nil, "typ", "at+jwt"), nil},
		{"several audiences", rs(jwt.MapClaims{"aud": []string{"other", testAudience}}), nil},
		{"an elliptic curve", i.sign(jwt.SigningMethodES256, i.ec, "ec", with(nil)), nil},
		{"no key id", i.sign(jwt.SigningMethodRS256, i.rsa, "", with(nil)), nil},
		{"client_id instead of azp", rs(jwt.MapClaims{"azp": nil, "client_id": "test-app"}), nil},
		{"Keycloak", rs(jwt.MapClaims{"typ": "Bearer"}), nil},
		{"expired", rs(jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}), auth.ErrTokenExpired},
		{"expired and for another audience", rs(jwt.MapClaims{"exp": 1, "aud": "other"}), auth.ErrUnauthenticated},
		{"expired and forged", i.sign(jwt.SigningMethodRS256, i.rsa2, "rsa", with(jwt.MapClaims{"exp": 1})), auth.ErrUnauthenticated},
		{"another issuer", rs(jwt.MapClaims{"iss": "https://other.example"}), auth.ErrUnauthenticated},
		{"the issuer with a slash", rs(jwt.MapClaims{"iss": i.URL + "/"}), auth.ErrUnauthenticated},
		{"no issuer", rs(jwt.MapClaims{"iss": nil}), auth.ErrUnauthenticated},
		{"another audience", rs(jwt.MapClaims{"aud": testClient}), auth.ErrUnauthenticated},
		{"no audience", rs(jwt.MapClaims{"aud": nil}), auth.ErrUnauthenticated},
		{"an empty audience", rs(jwt.MapClaims{"aud": []string{}}), auth.ErrUnauthenticated},
		{"no end", rs(jwt.MapClaims{"exp": nil}), auth.ErrUnauthenticated},
		{"not yet good", rs(jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}), auth.ErrUnauthenticated},
		{"no subject", rs(jwt.MapClaims{"sub": nil}), auth.ErrUnauthenticated},
		{"another client", rs(jwt.MapClaims{"azp": "test-evil"}), auth.ErrUnauthenticated},
		{"no client", rs(jwt.MapClaims{"azp": nil}), auth.ErrUnauthenticated},
		{"azp goes before client_id", rs(jwt.MapClaims{"azp": "test-evil", "client_id": "test-app"}), auth.ErrUnauthenticated},
		{"an ID token", rs(jwt.MapClaims{"at_hash": "test"}), auth.ErrUnauthenticated},
		{"an ID token of Keycloak", rs(jwt.MapClaims{"typ": "ID"}), auth.ErrUnauthenticated},
		{"a refresh token of Keycloak", rs(jwt.MapClaims{"typ": "Refresh"}), auth.ErrUnauthenticated},
		{"a logout token", rs(nil, "typ", "logout+jwt"), auth.ErrUnauthenticated},
		{"with critical headers", rs(nil, "crit", "test-extension"), auth.ErrUnauthenticated},
		{"bound to a key", rs(jwt.MapClaims{"cnf": map[string]any{"jkt": "test"}}), auth.ErrUnauthenticated},
		{"alg none", i.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "rsa", with(nil)), auth.ErrUnauthenticated},
		{"HS256 with the public key", i.sign(jwt.SigningMethodHS256, public, "rsa", with(nil)), auth.ErrUnauthenticated},
		{"HS256 with the client secret", i.sign(jwt.SigningMethodHS256, []byte("test-client-secret"), "", with(nil)), auth.ErrUnauthenticated},
		{"another key under the same name", i.sign(jwt.SigningMethodRS256, i.rsa2, "rsa", with(nil)), auth.ErrUnauthenticated},
		{"the key for encryption", i.sign(jwt.SigningMethodRS256, i.rsa2, "encryption", with(nil)), auth.ErrUnauthenticated},
		{"a key of another kind", i.sign(jwt.SigningMethodRS256, i.rsa, "ec", with(nil)), auth.ErrUnauthenticated},
		{"an unknown key", i.sign(jwt.SigningMethodRS256, i.rsa2, "other", with(nil)), auth.ErrUnauthenticated},
		{"not a JWT", "test", auth.ErrUnauthenticated},
		{"nothing", "", auth.ErrUnauthenticated},
	} {
		sub, err := p.Verify(t.Context(), c.token)
		if c.want == nil && (err != nil || sub != "test-ada") {
			t.Errorf("%s: %q, %v, want the subject", c.name, sub, err)
		}
		if c.want != nil && (!errors.Is(err, c.want) || sub != "") {
			t.Errorf("%s: %q, %v, want %v", c.name, sub, err, c.want)
		}
	}
	off := i.provider(func(c *Config) { c.Audience = "" })
	if _, err := off.Verify(t.Context(), rs(jwt.MapClaims{"aud": ""})); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("switched off: %v, want ErrUnauthenticated", err)
	}
	// Where the audience is the client of the sign-in, ID tokens are for it too; they travel in addresses when signing out.
	same := i.provider(func(c *Config) { c.Audience = testClient })
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"an ID token that says nothing": {rs(jwt.MapClaims{"aud": testClient, "nonce": "test"}), auth.ErrUnauthenticated},
		"RFC 9068":                      {rs(jwt.MapClaims{"aud": testClient}, "typ", "at+jwt"), nil},
		"Keycloak":                      {rs(jwt.MapClaims{"aud": testClient, "typ": "Bearer"}), nil},
		"a token with a scope":          {rs(jwt.MapClaims{"aud": testClient, "scope": "openid profile"}), nil},
	} {
		if _, err := same.Verify(t.Context(), c.token); !errors.Is(err, c.want) {
			t.Errorf("the client as audience, %s: %v, want %v", name, err, c.want)
		}
	}
	anybody := i.provider()
	if _, err := anybody.Verify(t.Context(), rs(jwt.MapClaims{"azp": nil})); err != nil {
		t.Errorf("any client: %v", err)
	}
}

// TestVerify_keysAreFetchedSeldom: tokens with invented key ids do not make this server flood the provider.
func TestVerify_keysAreFetchedSeldom(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	p := i.provider()
	claims := i.claims(jwt.MapClaims{"aud": testAudience})
	for n := range 50 {
		token := i.sign(jwt.SigningMethodRS256, i.rsa2, fmt.Sprintf("invented-%d", n), claims)
		if _, err := p.Verify(t.Context(), token); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Fatalf("an invented key: %v", err)
		}
	}
	if n := i.times("/jwks"); n != 1 {
		t.Errorf("the keys were fetched %d times, want once", n)
	}
	i.set(func() {
		i.keys = append(i.keys[1:], jose.JSONWebKey{Key: &i.rsa2.PublicKey, KeyID: "next", Use: "sig", Algorithm: "RS256"})
	})
	d, err := p.discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.keys.asked = time.Now().Add(-keysPause - time.Second) // as if it were a while ago
	if _, err := p.Verify(t.Context(), i.sign(jwt.SigningMethodRS256, i.rsa2, "next", claims)); err != nil {
		t.Errorf("a new key: %v", err)
	}
	if _, err := p.Verify(t.Context(), i.sign(jwt.SigningMethodRS256, i.rsa, "rsa", claims)); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("a key that was withdrawn: %v, want ErrUnauthenticated", err)
	}
}

// TestVerify_keyReplaced: a provider that gives another key the name of an old one, or that mends a broken one, is asked for
// its keys at the first signature that does not fit, and not when the hour is over.
func TestVerify_keyReplaced(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	p := i.provider()
	claims := i.claims(jwt.MapClaims{"aud": testAudience})
	if _, err := p.Verify(t.Context(), i.sign(jwt.SigningMethodRS256, i.rsa, "rsa", claims)); err != nil {
		t.Fatal(err)
	}
	i.set(func() {
		i.keys = []jose.JSONWebKey{{Key: &i.rsa2.PublicKey, KeyID: "rsa", Use: "sig", Algorithm: "RS256"}}
	})
	d, err := p.discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n, kid := range []string{"rsa", ""} {
		d.keys.asked = time.Now().Add(-keysPause - time.Second) // as if it were a while ago
		if n > 0 {
			d.keys.keys = []jose.JSONWebKey{{Key: &i.rsa.PublicKey, KeyID: "rsa"}}
		}
		if _, err := p.Verify(t.Context(), i.sign(jwt.SigningMethodRS256, i.rsa2, kid, claims)); err != nil {
			t.Errorf("an access token of the other key, key id %q: %v", kid, err)
		}
	}
	d.keys.keys = []jose.JSONWebKey{{Key: &i.rsa.PublicKey, KeyID: "rsa"}}
	d.keys.asked = time.Now().Add(-keysPause - time.Second)
	i.token = func(w http.ResponseWriter, _ *http.Request) {
		i.tokens(w, i.sign(jwt.SigningMethodRS256, i.rsa2, "rsa", i.claims(nil)))
	}
	if _, err := p.Exchange(t.Context(), testCode, "test-verifier", testNonce); err != nil {
		t.Errorf("an ID token of the other key: %v", err)
	}
	before := i.times("/jwks")
	for range 20 {
		if _, err := p.Verify(t.Context(), i.sign(jwt.SigningMethodRS256, i.rsa, "rsa", claims)); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("a token of the old key: %v", err)
		}
	}
	if n := i.times("/jwks") - before; n != 0 {
		t.Errorf("twenty bad signatures in a moment made %d requests for keys", n)
	}
}

func TestVerify_providerDown(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	p := i.provider()
	token := i.sign(jwt.SigningMethodRS256, i.rsa, "rsa", i.claims(jwt.MapClaims{"aud": testAudience}))
	i.set(func() { i.down = true })
	for range 20 {
		if _, err := p.Verify(t.Context(), token); !errors.Is(err, auth.ErrSignInProvider) {
			t.Fatalf("never seen: %v, want ErrSignInProvider", err)
		}
	}
	if n := i.times("/.well-known/openid-configuration"); n > 3 {
		t.Errorf("a provider that is down was asked %d times in a moment", n)
	}
	i.set(func() { i.down = false })
	p.asked = time.Time{} // as if a second had passed
	if _, err := p.Verify(t.Context(), token); err != nil {
		t.Fatalf("up again: %v", err)
	}
	i.set(func() { i.down = true })
	if _, err := p.Verify(t.Context(), token); err != nil {
		t.Errorf("down with known keys: %v", err)
	}
	p.asked = time.Now().Add(-2 * refreshAfter)
	if _, err := p.Verify(t.Context(), token); err != nil {
		t.Errorf("down when it is time to ask again: %v", err)
	}
}
