package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

const (
	testClient   = "test-usher"
	testAudience = "https://meet.example.org/api"
	testNonce    = "test-nonce"
	testCode     = "test-code"
)

// issuer is a provider whose every answer a test can choose: what a provider that follows the rules never does.
type issuer struct {
	*httptest.Server
	t         *testing.T
	rsa, rsa2 *rsa.PrivateKey
	ec        *ecdsa.PrivateKey

	mu sync.Mutex
	// discovery overrides what it says about itself; nil values are left out.
	discovery map[string]any
	// token and userInfo answer the pages of that name.
	token, userInfo http.HandlerFunc
	// keys are published.
	keys []jose.JSONWebKey
	// asked counts requests by path.
	asked map[string]int
	down  bool
}

var testKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

func newIssuer(t *testing.T, secure bool) *issuer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, rsa: testKeys()[0], rsa2: testKeys()[1], ec: ec, asked: map[string]int{}}
	i.keys = []jose.JSONWebKey{
		{Key: &i.rsa.PublicKey, KeyID: "rsa", Use: "sig", Algorithm: "RS256"},
		{Key: &i.ec.PublicKey, KeyID: "ec", Use: "sig", Algorithm: "ES256"},
		{Key: &i.rsa2.PublicKey, KeyID: "encryption", Use: "enc", Algorithm: "RSA-OAEP"},
	}
	i.Server = httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	if secure {
		i.StartTLS()
	} else {
		i.Start()
	}
	t.Cleanup(i.Close)
	i.userInfo = func(w http.ResponseWriter, _ *http.Request) { i.json(w, map[string]any{"sub": "test-ada"}) }
	i.token = func(w http.ResponseWriter, _ *http.Request) { i.tokens(w, i.idToken(nil)) }
	return i
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *issuer) times(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[path]
}

func (i *issuer) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		i.t.Errorf("encode: %v", err)
	}
}

func (i *issuer) tokens(w http.ResponseWriter, idToken string) {
	i.json(w, map[string]any{"access_token": "test-access", "token_type": "Bearer", "id_token": idToken})
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.asked[r.URL.Path]++
	down, token, userInfo, keys, more := i.down, i.token, i.userInfo, i.keys, i.discovery
	i.mu.Unlock()
	switch {
	case down:
		panic(http.ErrAbortHandler)
	case r.URL.Path == "/token":
		token(w, r)
	case r.URL.Path == "/userinfo":
		userInfo(w, r)
	case r.URL.Path == "/jwks":
		raw := []any{map[string]any{"kty": "unknown", "kid": "new"}}
		for _, k := range keys {
			raw = append(raw, k)
		}
		i.json(w, map[string]any{"keys": raw})
	default:
		d := map[string]any{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"jwks_uri": i.URL + "/jwks", "userinfo_endpoint": i.URL + "/userinfo",
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256"},
		}
		maps.Copy(d, more)
		maps.DeleteFunc(d, func(_ string, v any) bool { return v == nil })
		i.json(w, d)
	}
}

// claims are those of an ID token, with changes; nil leaves one out.
func (i *issuer) claims(change jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{
		"iss": i.URL, "sub": "test-ada", "aud": testClient, "exp": time.Now().Add(time.Hour).Unix(), "nonce": testNonce,
		"iat": time.Now().Unix(),
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (i *issuer) idToken(change jwt.MapClaims) string {
	return i.sign(jwt.SigningMethodRS256, i.rsa, "rsa", i.claims(change))
}

func (i *issuer) sign(method jwt.SigningMethod, key any, id string, claims jwt.MapClaims, header ...string) string {
	i.t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if id != "" {
		token.Header["kid"] = id
	}
	for n := 0; n < len(header); n += 2 {
		token.Header[header[n]] = header[n+1]
	}
	text, err := token.SignedString(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

func (i *issuer) provider(change ...func(*Config)) *Provider {
	i.t.Helper()
	c := Config{
		Issuer: i.URL, ClientID: testClient, ClientSecret: "test-client-secret", RedirectURL: "https://meet.example.org/auth/callback",
		PostLogoutURL: "https://meet.example.org/auth/logout/callback", Scopes: []string{"openid", "email"}, Audience: testAudience,
	}
	for _, f := range change {
		f(&c)
	}
	p, err := New(c)
	if err != nil {
		i.t.Fatal(err)
	}
	return p
}
