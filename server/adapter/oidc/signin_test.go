package oidc

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/signin"
)

func TestExchange(t *testing.T) {
	t.Parallel()
	text := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	idToken := func(i *issuer, change jwt.MapClaims) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { i.tokens(w, i.idToken(change)) }
	}
	raw := func(i *issuer, token string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { i.tokens(w, token) }
	}
	for _, c := range []struct {
		name   string
		change func(*issuer)
		want   error
	}{
		{"good", func(*issuer) {}, nil},
		{"without user-info", func(i *issuer) { i.discovery = map[string]any{"userinfo_endpoint": nil} }, nil},
		{"user-info as signed JWT", func(i *issuer) {
			i.userInfo = text(200, "application/jwt", i.sign(jwt.SigningMethodES256, i.ec, "ec", jwt.MapClaims{"sub": "test-ada"}))
		}, nil},
		{"user-info as JWT without a key id", func(i *issuer) {
			i.userInfo = text(200, "application/jwt; charset=utf-8", i.sign(jwt.SigningMethodES256, i.ec, "", jwt.MapClaims{"sub": "test-ada"}))
		}, nil},
		{"user-info as JWT of the key for encryption", func(i *issuer) {
			i.userInfo = text(200, "application/jwt", i.sign(jwt.SigningMethodRS256, i.rsa2, "encryption", jwt.MapClaims{"sub": "test-ada"}))
		}, auth.ErrSignInProvider},
		{"seconds that are no whole number", func(i *issuer) {
			i.token = func(w http.ResponseWriter, _ *http.Request) {
				i.json(w, map[string]any{
					"access_token": "test-access", "token_type": "Bearer", "id_token": i.idToken(nil), "expires_in": 3600.5,
					"refresh_token": []string{"test"}, "scope": []string{"openid"},
				})
			}
		}, nil},
		{"seconds that are no number", func(i *issuer) {
			i.token = func(w http.ResponseWriter, _ *http.Request) {
				i.json(w, map[string]any{
					"access_token": "test-access", "token_type": nil, "id_token": i.idToken(nil), "expires_in": "soon", "error": nil,
				})
			}
		}, nil},
		{"expired within the leeway", func(i *issuer) {
			i.token = idToken(i, jwt.MapClaims{"exp": time.Now().Add(-5 * time.Second).Unix()})
		}, nil},
		{"expired beyond the leeway", func(i *issuer) {
			i.token = idToken(i, jwt.MapClaims{"exp": time.Now().Add(-15 * time.Second).Unix()})
		}, auth.ErrUnauthenticated},
		{"good from now on, within the leeway", func(i *issuer) {
			i.token = idToken(i, jwt.MapClaims{"nbf": time.Now().Add(5 * time.Second).Unix()})
		}, nil},
		{"not good yet", func(i *issuer) {
			i.token = idToken(i, jwt.MapClaims{"nbf": time.Now().Add(20 * time.Second).Unix()})
		}, auth.ErrUnauthenticated},
		{"user-info whose sub is a list", func(i *issuer) { i.userInfo = text(200, "application/json", `{"sub":["test-ada"]}`) }, auth.ErrUnauthenticated},
		{"user-info that is a list", func(i *issuer) { i.userInfo = text(200, "application/json", `["test-private"]`) }, auth.ErrSignInProvider},
		{"another azp beside several audiences", func(i *issuer) {
			i.token = idToken(i, jwt.MapClaims{"aud": []string{testClient, "other"}, "azp": "other"})
		}, auth.ErrUnauthenticated},
		{"another nonce", func(i *issuer) { i.token = idToken(i, jwt.MapClaims{"nonce": "other"}) }, auth.ErrUnauthenticated},
		{"no nonce", func(i *issuer) { i.token = idToken(i, jwt.MapClaims{"nonce": nil}) }, auth.ErrUnauthenticated},
		{"another audience", func(i *issuer) { i.token = idToken(i, jwt.MapClaims{"aud": "other"}) }, auth.ErrUnauthenticated},
		{"no audience", func(i *issuer) { i.token = idToken(i, jwt.MapClaims{"aud": nil}) }, auth.ErrUnauthenticated},
		{"another issuer", func(i *issuer) { i.token = idToken(i, jwt.MapClaims{"iss": "https://other.example"}) }, auth.ErrUnauthenticated},
		{"expired", func(i *issuer) { i.token = idToken(i, jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}) }, auth.ErrUnauthenticated},
		{"no end", func(i *issuer) { i.token = idToken(i, jwt.MapClaims{"exp": nil}) }, auth.ErrUnauthenticated},
		{"no subject", func(i *issuer) {
			i.token = idToken(i, jwt.MapClaims{"sub": nil})
			i.discovery = map[string]any{"userinfo_endpoint": nil}
		}, auth.ErrUnauthenticated},
		{"another access token", func(i *issuer) { i.token = idToken(i, jwt.MapClaims{"at_hash": "test"}) }, auth.ErrUnauthenticated},
		{"alg none", func(i *issuer) {
			i.token = raw(i, i.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", i.claims(nil)))
		}, auth.ErrUnauthenticated},
		{"HS256 with the client secret", func(i *issuer) {
			i.token = raw(i, i.sign(jwt.SigningMethodHS256, []byte("test-client-secret"), "", i.claims(nil)))
		}, auth.ErrUnauthenticated},
		{"another key", func(i *issuer) { i.token = raw(i, i.sign(jwt.SigningMethodRS256, i.rsa2, "rsa", i.claims(nil))) }, auth.ErrUnauthenticated},
		{"no ID token", func(i *issuer) {
			i.token = text(200, "application/json", `{"access_token":"test","token_type":"Bearer"}`)
		}, auth.ErrUnauthenticated},
		{"a refusal", func(i *issuer) {
			i.token = text(400, "application/json", `{"error":"invalid_grant","error_description":"test-private"}`)
		}, auth.ErrUnauthenticated},
		{"a failure", func(i *issuer) { i.token = text(502, "text/html", `test-private`) }, auth.ErrSignInProvider},
		{"user-info about somebody else", func(i *issuer) { i.userInfo = text(200, "application/json", `{"sub":"test-eve"}`) }, auth.ErrUnauthenticated},
		{"user-info about nobody", func(i *issuer) { i.userInfo = text(200, "application/json", `{"email":"test-private"}`) }, auth.ErrUnauthenticated},
		{"user-info signed by another key", func(i *issuer) {
			i.userInfo = text(200, "application/jwt", i.sign(jwt.SigningMethodRS256, i.rsa2, "rsa", jwt.MapClaims{"sub": "test-ada"}))
		}, auth.ErrSignInProvider},
		{"user-info that is not signed", func(i *issuer) {
			i.userInfo = text(200, "application/jwt", i.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", jwt.MapClaims{"sub": "test-ada"}))
		}, auth.ErrSignInProvider},
		{"user-info refused", func(i *issuer) { i.userInfo = text(401, "text/plain", `test-private`) }, auth.ErrSignInProvider},
		{"user-info that is endless", func(i *issuer) {
			i.userInfo = text(200, "application/json", `{"sub":"test-ada","x":"`+strings.Repeat("a", 2*maxAnswer)+`"}`)
		}, auth.ErrSignInProvider},
		{"keys that cannot be fetched", func(i *issuer) { i.discovery = map[string]any{"jwks_uri": i.URL + "/token"} }, auth.ErrSignInProvider},
		{"a provider of another name", func(i *issuer) { i.discovery = map[string]any{"issuer": "https://other.example"} }, auth.ErrSignInProvider},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t, false)
			c.change(i)
			identity, err := i.provider().Exchange(t.Context(), testCode, "test-verifier", testNonce)
			if c.want == nil {
				if err != nil || identity.Claims.Sub != "test-ada" || identity.IDToken == "" {
					t.Errorf("Exchange = %+v, %v, want the person", identity, err)
				}
				return
			}
			if !errors.Is(err, c.want) || identity != nil {
				t.Errorf("Exchange = %+v, %v, want %v", identity, err, c.want)
			}
			if strings.Contains(err.Error(), "test-private") || strings.Contains(err.Error(), testCode) {
				t.Errorf("the error repeats the answer: %v", err)
			}
		})
	}
}

// TestExchange_oddTypes: a claim of another JSON type than the one of the specification keeps nobody out. It is read where it
// can mean but one thing, and else as if it were absent, and then it is named for the log without its value.
func TestExchange_oddTypes(t *testing.T) {
	t.Parallel()
	const rest = `"sub":"test-ada","name":"Ada King"`
	good := accounts.Claims{Sub: "test-ada", Email: "ada@x.example", EmailVerified: true, FullName: "Ada King"}
	unverified, none, refused := good, good, good
	unverified.EmailVerified = false
	none.Email, none.EmailVerified = "", false
	refused.Email, refused.EmailVerified, refused.EmailRefused = "", false, true
	const email = `,"email":"ada@x.example"`
	for userInfo, c := range map[string]struct {
		want   accounts.Claims
		unread []string
	}{
		rest + email + `,"email_verified":"true"`:                        {good, nil},
		rest + email + `,"email_verified":"True"`:                        {good, nil},
		rest + email + `,"email_verified":"False"`:                       {unverified, nil},
		rest + email + `,"email_verified":null`:                          {unverified, nil},
		rest + email + `,"email_verified":1`:                             {unverified, []string{"email_verified (number)"}},
		rest + email + `,"email_verified":""`:                            {unverified, []string{"email_verified (text)"}},
		rest + email + `,"email_verified":"1"`:                           {unverified, []string{"email_verified (text)"}},
		rest + email + `,"email_verified":[true]`:                        {unverified, []string{"email_verified (list)"}},
		rest + `,"email":["ada@x.example"],"email_verified":true`:        {none, []string{"email (list)"}},
		rest + `,"email":5,"email_verified":true`:                        {none, []string{"email (number)"}},
		rest + `,"email":{"value":"ada@x.example"},"given_name":false`:   {none, []string{"email (object)", "given_name (boolean)"}},
		rest + `,"email":"a%b@x.example","email_verified":true`:          {refused, []string{"email (no address)"}},
		rest + email + `,"email_verified":true,"profile":["test"],"x":1`: {good, nil},
	} {
		i := newIssuer(t, false)
		i.userInfo = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("{" + userInfo + "}"))
		}
		identity, err := i.provider().Exchange(t.Context(), testCode, "test-verifier", testNonce)
		if err != nil {
			t.Errorf("%s: %v", userInfo, err)
			continue
		}
		if diff := cmp.Diff(c.want, identity.Claims); diff != "" {
			t.Errorf("%s (-want +got):\n%s", userInfo, diff)
		}
		if diff := cmp.Diff(c.unread, identity.Unread); diff != "" {
			t.Errorf("%s: unread (-want +got):\n%s", userInfo, diff)
		}
	}
	i := newIssuer(t, false)
	i.userInfo = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwt")
		_, _ = w.Write([]byte(i.sign(jwt.SigningMethodES256, i.ec, "ec", jwt.MapClaims{"sub": "test-ada"})))
	}
	if _, err := i.provider().Exchange(t.Context(), testCode, "test-verifier", testNonce); err != nil || i.times("/jwks") != 1 {
		t.Errorf("a user-info as JWT: %v, after %d requests for keys, want one", err, i.times("/jwks"))
	}
	i = newIssuer(t, false)
	i.token = func(w http.ResponseWriter, _ *http.Request) {
		i.tokens(w, i.idToken(jwt.MapClaims{"sub": "12345678901234567890"}))
	}
	i.userInfo = func(w http.ResponseWriter, _ *http.Request) {
		i.json(w, map[string]any{"sub": json.Number("12345678901234567890"), "name": "Ada King"})
	}
	identity, err := i.provider().Exchange(t.Context(), testCode, "test-verifier", testNonce)
	if err != nil || identity.Claims.Sub != "12345678901234567890" || identity.Claims.FullName != "Ada King" {
		t.Errorf("a sub that is a number: %+v, %v", identity, err)
	}
}

func TestExchange_clientSecret(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		methods any
		secret  string
		header  bool
	}{
		{"by default in the header", nil, "test-client-secret", true},
		{"either", []string{"client_secret_post", "client_secret_basic"}, "test-client-secret", true},
		{"in the form", []string{"client_secret_post"}, "test-client-secret", false},
		{"no secret", []string{"none", "client_secret_basic"}, "", false},
	} {
		i := newIssuer(t, false)
		i.discovery = map[string]any{"token_endpoint_auth_methods_supported": c.methods}
		var header, form string
		i.token = func(w http.ResponseWriter, r *http.Request) {
			_, header, _ = r.BasicAuth()
			form = r.FormValue("client_secret")
			if r.FormValue("code_verifier") != "test-verifier" || r.FormValue("code") != testCode {
				t.Errorf("%s: form %v", c.name, r.Form)
			}
			i.tokens(w, i.idToken(nil))
		}
		if _, err := i.provider(func(p *Config) { p.ClientSecret = c.secret }).Exchange(t.Context(), testCode, "test-verifier", testNonce); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if (header != "") != c.header || (form != "") == (c.header || c.secret == "") {
			t.Errorf("%s: header %q, form %q", c.name, header, form)
		}
		if n := i.times("/token"); n != 1 {
			t.Errorf("%s: the code was sent %d times", c.name, n)
		}
	}
}

func TestPerson(t *testing.T) {
	t.Parallel()
	type set = map[string]any
	long := strings.Repeat("é", 150)
	for _, c := range []struct {
		name         string
		config       Config
		proven, told set
		want         accounts.Claims
	}{
		{"nothing but a sub", Config{}, set{}, nil, accounts.Claims{}},
		{"all of it", Config{}, set{}, set{"email": " Ada@X.example ", "email_verified": true, "name": "Ada  King", "given_name": "Ada"}, accounts.Claims{Email: "ada@x.example", EmailVerified: true, FullName: "Ada King", ShortName: "Ada"}},
		{"from the ID token", Config{}, set{"email": "a@x.example", "email_verified": "true", "name": "Ada"}, nil, accounts.Claims{Email: "a@x.example", EmailVerified: true, FullName: "Ada"}},
		{"the user-info goes first", Config{}, set{"name": "Old"}, set{"name": "New"}, accounts.Claims{FullName: "New"}},
		{"empty user-info erases nothing", Config{}, set{"name": "Ada", "email": "a@x.example"}, set{"name": "", "email": ""}, accounts.Claims{FullName: "Ada", Email: "a@x.example"}},
		{"another address is not verified by the ID token", Config{}, set{"email": "a@x.example", "email_verified": true}, set{"email": "b@x.example"}, accounts.Claims{Email: "b@x.example"}},
		{"verified without an address", Config{}, set{"email_verified": true}, nil, accounts.Claims{}},
		{"verified by another type", Config{}, set{"email": "a@x.example", "email_verified": 1}, nil, accounts.Claims{Email: "a@x.example"}},
		{"given and family name", Config{}, set{"given_name": "Ada", "family_name": "King"}, nil, accounts.Claims{FullName: "Ada King", ShortName: "Ada"}},
		{"given name only", Config{}, set{"given_name": "Ada"}, nil, accounts.Claims{FullName: "Ada", ShortName: "Ada"}},
		{"ProConnect", Config{}, set{}, set{"given_name": "Ada", "usual_name": "King"}, accounts.Claims{FullName: "Ada King", ShortName: "Ada"}},
		{"names of the settings", Config{FullNameClaims: []string{"first", "last"}, ShortNameClaim: "nick"}, set{"first": "A", "last": "K", "nick": "ada", "given_name": "no"}, nil, accounts.Claims{FullName: "A K", ShortName: "ada"}},
		{"a long name", Config{}, set{"name": long, "given_name": long}, nil, accounts.Claims{FullName: long[:200], ShortName: long[:200]}},
		{"control characters", Config{}, set{"name": "A\u202ed\x00a\nK"}, nil, accounts.Claims{FullName: "Ada K"}},
		{"not an address", Config{}, set{"email": "ada", "email_verified": true}, nil, accounts.Claims{EmailRefused: true}},
		{"an address with a line end", Config{}, set{"email": "a@x\r\nBcc: b"}, nil, accounts.Claims{EmailRefused: true}},
		{"a long address", Config{}, set{"email": strings.Repeat("a", 250) + "@x.example"}, nil, accounts.Claims{EmailRefused: true}},
		{"an address with a Kelvin sign", Config{}, set{}, set{"email": "\u212aate@x.example", "email_verified": true}, accounts.Claims{EmailRefused: true}},
		{"a domain in another script", Config{}, set{"email": "Ada@BÜCHER.example", "email_verified": true}, nil, accounts.Claims{Email: "ada@xn--bcher-kva.example", EmailVerified: true}},
		{"letters that only Unicode has a case for", Config{}, set{"email": "İA@x.example"}, nil, accounts.Claims{Email: "İa@x.example"}},
		{"an address only in the ID token", Config{}, set{"email": "a@x.example", "email_verified": true}, set{"email": "a%b@x.example"}, accounts.Claims{Email: "a@x.example", EmailVerified: true}},
		{"names of another type", Config{}, set{"name": 5, "email": []any{"a@x.example"}}, nil, accounts.Claims{}},
	} {
		c.proven["sub"], c.want.Sub = "test-ada", "test-ada"
		got, err := c.config.person(c.proven, c.told)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	for sub, legal := range map[any]bool{
		"": false, nil: false, 5: false, "a": true, " ": true, strings.Repeat("é", 255): true, strings.Repeat("e", 256): false, "a\x00": false, "a\nb'\"": true,
	} {
		if got, err := (Config{}).person(claimSet{"sub": sub}, nil); (err == nil) != legal || (legal && got.Sub != sub) {
			t.Errorf("sub %q: %q, %v, want legal: %t", sub, got.Sub, err, legal)
		}
	}
}

func TestEndSessionURL(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, false)
	if got, ok := i.provider().EndSessionURL(t.Context(), "test-token"); ok {
		t.Errorf("a provider without such a page: %s", got)
	}
	i.discovery = map[string]any{"end_session_endpoint": i.URL + "/end?realm=1"}
	got, ok := i.provider().EndSessionURL(t.Context(), "test-token")
	u, err := url.Parse(got)
	if err != nil || !ok || u.Path != "/end" {
		t.Fatalf("%s, %t, %v", got, ok, err)
	}
	want := url.Values{
		"realm": {"1"}, "id_token_hint": {"test-token"}, "client_id": {testClient},
		"post_logout_redirect_uri": {"https://meet.example.org/auth/logout/callback"},
	}
	if diff := cmp.Diff(want, u.Query()); diff != "" {
		t.Error(diff)
	}
	i.set(func() { i.down = true })
	if _, ok := i.provider().EndSessionURL(t.Context(), "test-token"); ok {
		t.Error("a provider that is down has a page")
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, true)
	file := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})
	if err := os.WriteFile(file, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	trusting := i.provider(func(c *Config) { c.CAFile = file })
	if _, err := trusting.AuthorizationURL(t.Context(), signin.AuthorizationRequest{}); err != nil {
		t.Errorf("with its CA file: %v", err)
	}
	if _, err := i.provider().AuthorizationURL(t.Context(), signin.AuthorizationRequest{}); !errors.Is(err, auth.ErrSignInProvider) {
		t.Errorf("without its CA file: %v, want ErrSignInProvider", err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := Config{Issuer: "https://id.example", Scopes: []string{"openid"}}
	for name, change := range map[string]func(*Config){
		"no issuer":              func(c *Config) { c.Issuer = "" },
		"an issuer by name":      func(c *Config) { c.Issuer = "id.example" },
		"an issuer by file":      func(c *Config) { c.Issuer = "file:///etc/passwd" },
		"no openid":              func(c *Config) { c.Scopes = []string{"email"} },
		"no such CA file":        func(c *Config) { c.CAFile = file + "x" },
		"a CA file with nothing": func(c *Config) { c.CAFile = empty },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
