package signin_test

import (
	"context"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/adapter/oidc"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/i18ntest"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/signin"
)

var ada = testenv.Person{Sub: "test-ada", Email: "Ada@People.example", EmailVerified: true, GivenName: "Ada", FamilyName: "Lovelace"}

// site is a server that people sign in to, and an OpenID provider.
type site struct {
	*authtest.API
	idp    *testenv.OIDCProvider
	signIn *signin.SignIn
	server *httptest.Server
}

func newSite(t *testing.T, secure bool, change ...func(*site)) *site {
	t.Helper()
	s := &site{idp: testenv.OIDC(t), server: httptest.NewUnstartedServer(nil)}
	mux := http.NewServeMux()
	s.server.Config.Handler = mux
	if secure {
		s.server.StartTLS()
	} else {
		s.server.Start()
	}
	t.Cleanup(s.server.Close)
	s.API = authtest.NewAPI(t, func(w *authtest.API) { w.Secure = secure })
	s.idp.Register(s.server.URL+signin.CallbackPath, s.server.URL+signin.LogoutCallbackPath)
	provider, err := oidc.New(oidc.Config{
		Issuer: s.idp.Issuer, ClientID: s.idp.ClientID, ClientSecret: s.idp.ClientSecret,
		RedirectURL: s.server.URL + signin.CallbackPath, PostLogoutURL: s.server.URL + signin.LogoutCallbackPath,
		Scopes: []string{"openid", "profile", "email"}, ExtraParams: map[string]string{"acr_values": "test-acr"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.signIn = &signin.SignIn{
		Provider: provider, Accounts: &accounts.Accounts{DB: s.DB, CreateUsers: true, Log: s.Log}, Sessions: s.Sessions, Keys: s.Keys,
		Limiter: s.Limiter, PublicURL: s.server.URL, AllowedOrigins: []string{"https://portal.example"}, Log: s.Log,
	}
	for _, c := range change {
		c(s)
	}
	s.signIn.Mount(mux)
	path, rooms := usherv1connect.NewRoomsServiceHandler(authtest.WhoAmI{})
	mux.Handle(path, s.Wrap(rooms))
	path, users := usherv1connect.NewUsersServiceHandler(authtest.WhoAmI{})
	mux.Handle(path, s.Wrap(users))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "page "+r.URL.Path) })
	s.idp.SignIn(ada, false)
	return s
}

// browser keeps cookies and remembers where it has been.
type browser struct {
	t      *testing.T
	client *http.Client
	trail  []string
	stop   func(*url.URL) bool
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.T.Fatal(err)
	}
	b := &browser{t: s.T, stop: func(*url.URL) bool { return false }}
	b.client = &http.Client{Jar: jar, Transport: s.server.Client().Transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		b.trail = append(b.trail, r.URL.String())
		if b.stop(r.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

// visit follows redirects to the end, and returns the last answer.
func (b *browser) visit(method, address string, header ...string) (answer, string) {
	b.t.Helper()
	b.trail = nil
	req, err := http.NewRequestWithContext(b.t.Context(), method, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := b.client.Do(req)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, address, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header}, string(text)
}

// answer is one that was read.
type answer struct {
	StatusCode int
	Header     http.Header
}

// stopAt makes the browser stay in front of an address.
func (b *browser) stopAt(path string) {
	b.stop = func(u *url.URL) bool { return u.Path == path }
}

func (b *browser) last() string {
	if len(b.trail) == 0 {
		return ""
	}
	return b.trail[len(b.trail)-1]
}

// whoAmI is the id of the user that the browser's cookie stands for, or the reason of the refusal.
func (s *site) whoAmI(b *browser) string {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.server.URL+usherv1connect.UsersServiceGetMeProcedure, strings.NewReader("{}"))
	if err != nil {
		s.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := b.client.Do(req)
	if err != nil {
		s.T.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), `"id":"`)
	if !ok {
		return authtest.ReasonIn(string(text))
	}
	id, _, _ := strings.Cut(after, `"`)
	return id
}

func (b *browser) cookies(address string) map[string]string {
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	found := map[string]string{}
	for _, c := range b.client.Jar.Cookies(u) {
		found[c.Name] = c.Value
	}
	return found
}

func (s *site) onlyUser() *ent.User {
	s.T.Helper()
	u, err := s.DB.Read.User.Query().Only(s.T.Context())
	if err != nil {
		s.T.Fatal(err)
	}
	return u
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, secure)
			b := s.browser()
			if got := s.whoAmI(b); got != "SIGN_IN_REQUIRED" {
				t.Fatalf("before: %s", got)
			}
			res, body := b.visit(http.MethodGet, s.server.URL+"/auth/login?return_to=/my-room?tab=1")
			if res.StatusCode != http.StatusOK || body != "page /my-room" || b.last() != s.server.URL+"/my-room?tab=1" {
				t.Fatalf("after signing in: %d %q at %s, want the room's page\n%s", res.StatusCode, body, b.last(), strings.Join(b.trail, "\n"))
			}
			authorize, err := url.Parse(b.trail[0])
			if err != nil {
				t.Fatal(err)
			}
			for key, want := range map[string]string{
				"response_type": "code", "client_id": s.idp.ClientID, "code_challenge_method": "S256",
				"scope": "openid profile email", "acr_values": "test-acr", "prompt": "",
			} {
				if got := authorize.Query().Get(key); got != want {
					t.Errorf("authorization request: %s = %q, want %q", key, got, want)
				}
			}
			for _, key := range []string{"state", "nonce", "code_challenge"} {
				if len(authorize.Query().Get(key)) < 43 {
					t.Errorf("authorization request: %s = %q, want 256 bits", key, authorize.Query().Get(key))
				}
			}
			u := s.onlyUser()
			if *u.Sub != ada.Sub || u.Email != "ada@people.example" || !u.EmailVerified || u.FullName != "Ada Lovelace" || u.ShortName != "Ada" {
				t.Errorf("account %+v", u)
			}
			if got := s.whoAmI(b); got != u.ID.String() {
				t.Errorf("signed in as %s, want %s", got, u.ID)
			}
			session := b.cookies(s.server.URL)
			if len(session) != 1 || session[auth.CookieName(secure)] == "" {
				t.Errorf("cookies %v, want the session's only", session)
			}
			first := session[auth.CookieName(secure)]
			b.visit(http.MethodGet, s.server.URL+"/auth/login")
			if b.cookies(s.server.URL)[auth.CookieName(secure)] == first {
				t.Error("the session has the same id after signing in again")
			}
			if _, err := s.Sessions.Lookup(t.Context(), first); err == nil {
				t.Error("the old session goes on after signing in again")
			}
			if s.onlyUser().ID != u.ID {
				t.Error("the second sign-in made another account")
			}
		})
	}
}

// TestSignIn_pkce: the provider holds the verifier against the challenge, so a stolen code is worth nothing.
func TestSignIn_pkce(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	const good, state, nonce = "test-verifier-of-43-characters-or-more-0123456", "0test-state", "test-nonce"
	code := func() string {
		address, err := s.signIn.Provider.AuthorizationURL(t.Context(), signin.AuthorizationRequest{State: state, Nonce: nonce, Verifier: good})
		if err != nil {
			t.Fatal(err)
		}
		b := s.browser()
		b.stopAt(signin.CallbackPath)
		b.visit(http.MethodGet, address)
		u, err := url.Parse(b.last())
		if err != nil || u.Query().Get("code") == "" {
			t.Fatalf("no code in %q", b.last())
		}
		return u.Query().Get("code")
	}
	exchange := func(code, verifier, nonce string) string {
		identity, err := s.signIn.Provider.Exchange(t.Context(), code, verifier, nonce)
		if err != nil {
			return err.Error()
		}
		return identity.Claims.Sub
	}
	stolen := code()
	if got := exchange(stolen, "test-another-verifier-of-43-characters-or-more", nonce); !strings.Contains(got, "invalid_grant") {
		t.Errorf("another verifier: %s, want invalid_grant", got)
	}
	if got := exchange(code(), "", nonce); !strings.Contains(got, "invalid_") {
		t.Errorf("no verifier: %s, want a refusal", got)
	}
	used := code()
	if got := exchange(used, good, nonce); got != ada.Sub {
		t.Errorf("the right verifier: %s, want %s", got, ada.Sub)
	}
	if got := exchange(used, good, nonce); !strings.Contains(got, "invalid_grant") {
		t.Errorf("a code used twice: %s, want invalid_grant", got)
	}
	if got := exchange(code(), good, "test-another-nonce"); !strings.Contains(got, "nonce") {
		t.Errorf("another nonce: %s, want a refusal", got)
	}
	if got := exchange("test-invented", good, nonce); !strings.Contains(got, "invalid_grant") {
		t.Errorf("an invented code: %s, want invalid_grant", got)
	}
}

func TestSignIn_otherBrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	b := s.browser()
	b.stopAt(signin.CallbackPath)
	b.visit(http.MethodGet, s.server.URL+"/auth/login?return_to=/secret-room")
	callback := b.last()
	b.stop = func(*url.URL) bool { return false }
	refused := func(what string, who *browser, address string) {
		t.Helper()
		res, body := who.visit(http.MethodGet, address)
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "Try again") || strings.Contains(body, "secret-room") {
			t.Errorf("%s: %d %s, want a page that offers to try again", what, res.StatusCode, body)
		}
		for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", what, name, got, want)
			}
		}
		if got := s.whoAmI(who); got != "SIGN_IN_REQUIRED" {
			t.Errorf("%s: signed in as %s", what, got)
		}
	}
	refused("the callback in another browser", s.browser(), callback)
	refused("another state", b, strings.Replace(callback, "state=0", "state=0x", 1))
	refused("a state of another slot", b, strings.Replace(callback, "state=0", "state=1", 1))
	refused("no state", b, s.server.URL+signin.CallbackPath+"?code=test")
	if res, _ := b.visit(http.MethodGet, callback); res.StatusCode != http.StatusOK || s.whoAmI(b) == "SIGN_IN_REQUIRED" {
		t.Errorf("the callback itself: %d, want to be signed in", res.StatusCode)
	}
	if res, _ := b.visit(http.MethodGet, callback); res.StatusCode != http.StatusBadRequest {
		t.Errorf("the callback again: %d, want 400", res.StatusCode)
	}
}

func TestSignIn_severalTabs(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	b := s.browser()
	b.stopAt(signin.CallbackPath)
	var callbacks []string
	for range 3 {
		b.visit(http.MethodGet, s.server.URL+"/auth/login")
		callbacks = append(callbacks, b.last())
	}
	b.stop = func(*url.URL) bool { return false }
	for i, callback := range callbacks {
		if res, _ := b.visit(http.MethodGet, callback); res.StatusCode != http.StatusOK {
			t.Errorf("tab %d: %d, want 200", i, res.StatusCode)
		}
	}
	for range 8 {
		b.stopAt(signin.CallbackPath)
		b.visit(http.MethodGet, s.server.URL+"/auth/login")
	}
	if n := len(b.cookies(s.server.URL)); n > 5 {
		t.Errorf("%d cookies after many sign-ins that were not finished, want at most 5", n)
	}
}

func TestSignIn_silent(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	b := s.browser()
	login := s.server.URL + "/auth/login?silent=true&return_to=/my-room"
	res, body := b.visit(http.MethodGet, login)
	if res.StatusCode != http.StatusOK || body != "page /my-room" || s.whoAmI(b) != "SIGN_IN_REQUIRED" {
		t.Errorf("nobody signed in at the provider: %d %q as %s, want the page, signed out", res.StatusCode, body, s.whoAmI(b))
	}
	if !strings.Contains(b.trail[0], "prompt=none") {
		t.Errorf("asked %s, want prompt=none", b.trail[0])
	}
	s.idp.SignIn(ada, true)
	res, body = b.visit(http.MethodGet, login)
	if res.StatusCode != http.StatusOK || body != "page /my-room" || s.whoAmI(b) != s.onlyUser().ID.String() {
		t.Errorf("signed in at the provider: %d %q, want the page, signed in", res.StatusCode, body)
	}
	before := b.cookies(s.server.URL)
	s.idp.SignIn(ada, false)
	b.visit(http.MethodGet, login)
	if after := b.cookies(s.server.URL); after["usher_session"] != before["usher_session"] {
		t.Error("a silent sign-in that failed ended the session")
	}
}

func TestSignIn_refusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*site)
		status int
		want   string
	}{
		{"the provider is down", func(s *site) { s.idp.Down(true) }, 503, "Try again in a minute"},
		{"nobody can sign in", func(s *site) { s.signIn.Provider = nil }, 404, "switched off"},
		{"no account and none is made", func(s *site) { s.signIn.Accounts.CreateUsers = false }, 403, "no account"},
		{"an inactive account", func(s *site) {
			s.User(func(c *ent.UserCreate) { c.SetSub(ada.Sub).SetActive(false) })
		}, 403, "deactivated"},
		{"several accounts with the address", func(s *site) {
			s.signIn.Accounts.MatchByEmail = true
			for range 2 {
				s.User(func(c *ent.UserCreate) { c.SetEmail("ada@people.example") })
			}
		}, 403, "cannot be told"},
		{"another client secret", func(s *site) { s.signIn.Provider = otherSecret(s) }, 403, "could not be verified"},
		{"Redis is down", func(s *site) { s.Redis.Kill() }, 503, "Try again in a minute"},
		{"too many", func(s *site) {
			s.signIn.Limit = ratelimit.Limit{Name: "sign_in", Burst: 1, Period: time.Hour}
			s.browser().visit(http.MethodGet, s.server.URL+"/auth/login")
		}, 429, "Too many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, false)
			c.change(s)
			b := s.browser()
			res, body := b.visit(http.MethodGet, s.server.URL+"/auth/login?return_to=/my-room")
			if res.StatusCode != c.status || !strings.Contains(body, c.want) {
				t.Errorf("%d %s, want %d %q", res.StatusCode, body, c.status, c.want)
			}
			if strings.Contains(body, "ada") || strings.Contains(body, "secret") {
				t.Errorf("the page tells too much: %s", body)
			}
			silent := s.browser()
			if c.status == 429 {
				return
			}
			if res, body := silent.visit(http.MethodGet, s.server.URL+"/auth/login?silent=true&return_to=/my-room"); res.StatusCode != http.StatusOK || body != "page /my-room" {
				t.Errorf("silently: %d %s, want the page", res.StatusCode, body)
			}
		})
	}
}

func otherSecret(s *site) *oidc.Provider {
	p, err := oidc.New(oidc.Config{
		Issuer: s.idp.Issuer, ClientID: s.idp.ClientID, ClientSecret: "test-wrong", Scopes: []string{"openid"},
		RedirectURL: s.server.URL + signin.CallbackPath,
	})
	if err != nil {
		s.T.Fatal(err)
	}
	return p
}

func TestSignIn_providerErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	for code, status := range map[string]int{
		"access_denied": 403, "login_required": 403, "server_error": 503, "temporarily_unavailable": 503, "<script>alert(1)</script>": 403,
	} {
		b := s.browser()
		b.stopAt("/authorize")
		b.visit(http.MethodGet, s.server.URL+"/auth/login")
		u, err := url.Parse(b.last())
		if err != nil {
			t.Fatal(err)
		}
		b.stop = func(*url.URL) bool { return false }
		res, body := b.visit(http.MethodGet, s.server.URL+signin.CallbackPath+"?"+url.Values{"state": {u.Query().Get("state")}, "error": {code}}.Encode())
		if res.StatusCode != status || strings.Contains(body, "<script") || strings.Contains(body, code) {
			t.Errorf("error=%s: %d %s, want %d and no echo", code, res.StatusCode, body, status)
		}
	}
}

func TestSignIn_startsWithoutProvider(t *testing.T) {
	t.Parallel()
	s := newSite(t, false, func(s *site) { s.idp.Down(true) })
	b := s.browser()
	if res, _ := b.visit(http.MethodGet, s.server.URL+"/auth/login"); res.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("while it is down: %d, want 503", res.StatusCode)
	}
	s.idp.Down(false)
	deadline := time.Now().Add(10 * time.Second)
	for {
		res, _ := b.visit(http.MethodGet, s.server.URL+"/auth/login")
		if res.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after it came back: %d, want 200", res.StatusCode)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	here, there := s.browser(), s.browser()
	for _, b := range []*browser{here, there} {
		b.visit(http.MethodGet, s.server.URL+"/auth/login")
	}
	logout := s.server.URL + "/auth/logout"
	if res, _ := here.visit(http.MethodGet, logout); res.StatusCode != http.StatusMethodNotAllowed && s.whoAmI(here) == "SIGN_IN_REQUIRED" {
		t.Errorf("GET signed out: %d", res.StatusCode)
	}
	for _, origin := range []string{"https://evil.example", "https://portal.example"} {
		res, body := here.visit(http.MethodPost, logout, "Origin", origin, "Sec-Fetch-Site", "cross-site")
		if res.StatusCode != http.StatusForbidden || authtest.ReasonIn(body) != "CROSS_ORIGIN" || s.whoAmI(here) == "SIGN_IN_REQUIRED" {
			t.Errorf("POST from %s: %d %s, want 403 CROSS_ORIGIN and to be signed in still", origin, res.StatusCode, body)
		}
	}
	res, body := here.visit(http.MethodPost, logout, "Sec-Fetch-Site", "same-origin")
	if len(here.trail) > 0 {
		// The browser would hold this against form-action of the page with the form, and all that the provider passes on to.
		t.Errorf("the form's own request was passed on to %s", here.last())
	}
	next := refreshOf(t, body)
	if policy := res.Header.Get("Content-Security-Policy"); res.StatusCode != http.StatusOK || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the page that passes the browser on: %d, policy %q", res.StatusCode, policy)
	}
	if got := s.whoAmI(here); got != "SIGN_IN_REQUIRED" {
		t.Errorf("before the provider was asked: %s, want to be signed out", got)
	}
	res, body = here.visit(http.MethodGet, next)
	if res.StatusCode != http.StatusOK || body != "page /" {
		t.Errorf("signed out: %d %q, want the front page", res.StatusCode, body)
	}
	trail := next + "\n" + strings.Join(here.trail, "\n")
	for _, want := range []string{s.idp.Issuer + "/end_session?", "id_token_hint=", "post_logout_redirect_uri=", s.server.URL + signin.LogoutCallbackPath} {
		if !strings.Contains(trail, want) {
			t.Errorf("signing out did not pass by %s:\n%s", want, trail)
		}
	}
	if got := s.whoAmI(here); got != "SIGN_IN_REQUIRED" {
		t.Errorf("signed out: %s", got)
	}
	if got := s.whoAmI(there); got == "SIGN_IN_REQUIRED" || got == "SESSION_ENDED" {
		t.Errorf("another browser: %s, want to be signed in still", got)
	}
	here.visit(http.MethodGet, s.server.URL+"/auth/login")
	here.visit(http.MethodPost, logout+"?everywhere=true")
	if got := s.whoAmI(there); got != "SESSION_ENDED" {
		t.Errorf("another browser after signing out everywhere: %s, want SESSION_ENDED", got)
	}
	if res, _ := here.visit(http.MethodPost, logout); res.StatusCode != http.StatusOK {
		t.Errorf("signing out twice: %d, want 200", res.StatusCode)
	}
}

// refreshOf is the address that a page passes the browser on to.
func refreshOf(t *testing.T, page string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, `<meta http-equiv="refresh" content="0;url=`)
	address, _, ended := strings.Cut(rest, `"`)
	if !found || !ended {
		t.Fatalf("the page passes nobody on: %s", page)
	}
	address = html.UnescapeString(address)
	if !strings.Contains(page, `href="`+html.EscapeString(address)+`"`) {
		t.Errorf("the page has no link for browsers that do not go on by themselves: %s", page)
	}
	return address
}

// TestSignOut_manyGroups: however much the provider says about somebody, no address grows beyond what proxies take.
func TestSignOut_manyGroups(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	s.idp.Claims(map[string]any{"groups": slices.Repeat([]string{"test-group-of-many-letters"}, 500), "login_hint": "test-hint"})
	b := s.browser()
	returnTo := "/my-room?" + strings.Repeat("a", 1400)
	b.visit(http.MethodGet, s.server.URL+"/auth/login?return_to="+url.QueryEscape(returnTo))
	if len(b.trail) < 2 || b.last() != s.server.URL+returnTo {
		t.Fatalf("came to %s", b.last())
	}
	if authorize := b.trail[0]; len(authorize) > 2000 || strings.Contains(authorize, "my-room") {
		t.Errorf("signing in took an address of %d bytes: %s", len(authorize), authorize)
	}
	_, body := b.visit(http.MethodPost, s.server.URL+"/auth/logout")
	next := refreshOf(t, body)
	if len(next) > 2000 {
		t.Errorf("signing out takes an address of %d bytes", len(next))
	}
	u, err := url.Parse(next)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"id_token_hint": "", "logout_hint": "test-hint", "client_id": s.idp.ClientID,
		"post_logout_redirect_uri": s.server.URL + signin.LogoutCallbackPath,
	} {
		if got := u.Query().Get(name); got != want {
			t.Errorf("%s = %.100q, want %q", name, got, want)
		}
	}
	if res, body := b.visit(http.MethodGet, next); res.StatusCode != http.StatusOK || body != "page /" {
		t.Errorf("came to %d %q, want the front page", res.StatusCode, body)
	}
}

// TestSignIn_cookieSizes: sign-ins with long return addresses in many tabs do not make requests too large for proxies.
func TestSignIn_cookieSizes(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	b := s.browser()
	b.stopAt("/authorize")
	for range 6 {
		b.visit(http.MethodGet, s.server.URL+"/auth/login?return_to=/"+strings.Repeat("a", 1400))
	}
	size := 0
	for name, value := range b.cookies(s.server.URL) {
		size += len(name) + len(value) + 3
	}
	if size > 6000 {
		t.Errorf("the cookies have %d bytes", size)
	}
	b.stop = func(*url.URL) bool { return false }
	if res, _ := b.visit(http.MethodGet, b.last()); res.StatusCode != http.StatusOK || s.whoAmI(b) == "SIGN_IN_REQUIRED" {
		t.Errorf("the last tab: %d as %s, want to be signed in", res.StatusCode, s.whoAmI(b))
	}
}

// TestSignIn_loginTimedOut: Keycloak passes a browser whose login page stood too long back with an error. Who then signs in
// again at once comes to where they wanted to go; an error that comes back ends it.
func TestSignIn_loginTimedOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	b := s.browser()
	b.stopAt("/authorize")
	timedOut := func() string {
		u, err := url.Parse(b.last())
		if err != nil {
			t.Fatal(err)
		}
		return s.server.URL + signin.CallbackPath + "?" + url.Values{
			"state": {u.Query().Get("state")}, "error": {"temporarily_unavailable"}, "error_description": {"authentication_expired"},
		}.Encode()
	}
	b.visit(http.MethodGet, s.server.URL+"/auth/login?return_to=/my-room")
	first := b.last()
	b.visit(http.MethodGet, timedOut())
	if !strings.HasPrefix(b.last(), s.idp.Issuer+"/authorize?") || b.last() == first {
		t.Fatalf("came to %q, want to sign in anew", b.last())
	}
	if res, body := b.visit(http.MethodGet, timedOut()); res.StatusCode != http.StatusServiceUnavailable || len(b.trail) > 0 {
		t.Errorf("the second time: %d %s at %q, want the page about it", res.StatusCode, body, b.last())
	}
	b.visit(http.MethodGet, s.server.URL+"/auth/login?return_to=/my-room")
	b.visit(http.MethodGet, timedOut())
	b.stop = func(*url.URL) bool { return false }
	if res, body := b.visit(http.MethodGet, b.last()); res.StatusCode != http.StatusOK || body != "page /my-room" {
		t.Errorf("signed in at the second attempt: %d %q, want the room", res.StatusCode, body)
	}
}

// TestSignIn_oddClaims: the log names the claims that say nothing, without what they hold.
func TestSignIn_oddClaims(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	log := &testenv.Log{}
	s.signIn.Log = slog.New(slog.NewTextHandler(log, nil))
	s.idp.Claims(map[string]any{"usual_name": []string{"test-private"}})
	b := s.browser()
	if res, _ := b.visit(http.MethodGet, s.server.URL+"/auth/login"); res.StatusCode != http.StatusOK || s.whoAmI(b) == "SIGN_IN_REQUIRED" {
		t.Errorf("%d as %s, want to be signed in", res.StatusCode, s.whoAmI(b))
	}
	if text := log.String(); !strings.Contains(text, "usual_name (list)") || strings.Contains(text, "test-private") {
		t.Errorf("log: %s", text)
	}
}

func TestSignOut_withoutRedis(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	b := s.browser()
	b.visit(http.MethodGet, s.server.URL+"/auth/login")
	s.Redis.Kill()
	res, body := b.visit(http.MethodPost, s.server.URL+"/auth/logout")
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "may still be signed in") {
		t.Errorf("%d %s, want to be told so", res.StatusCode, body)
	}
	s.Redis.Restart()
	if res, body := b.visit(http.MethodPost, s.server.URL+"/auth/logout"); res.StatusCode != http.StatusOK {
		t.Errorf("signing out again: %d %s", res.StatusCode, body)
	}
	if got := s.whoAmI(b); got != "SIGN_IN_REQUIRED" {
		t.Errorf("signed out when Redis is back: %s", got)
	}
}

func TestSignOut_withoutProvider(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	b := s.browser()
	b.visit(http.MethodGet, s.server.URL+"/auth/login")
	provider, ok := s.signIn.Provider.(*oidc.Provider)
	if !ok {
		t.Fatalf("the provider is %T", s.signIn.Provider)
	}
	s.signIn.Provider = noProvider{provider}
	res, body := b.visit(http.MethodPost, s.server.URL+"/auth/logout")
	if res.StatusCode != http.StatusOK || body != "page /" || s.whoAmI(b) != "SIGN_IN_REQUIRED" {
		t.Errorf("%d %q as %s, want the front page, signed out", res.StatusCode, body, s.whoAmI(b))
	}
}

// noProvider offers no page to sign out.
type noProvider struct{ *oidc.Provider }

func (noProvider) EndSessionURL(context.Context, string) (string, bool) { return "", false }

func TestSignIn_languages(t *testing.T) {
	t.Parallel()
	i18ntest.Check(t, os.DirFS("."), "translations")
	s := newSite(t, false)
	s.signIn.Provider = nil
	for wanted, c := range map[string]struct{ language, title string }{
		"":                     {"en", "Signing in is switched off"},
		"q==":                  {"en", "Signing in is switched off"},
		"de-CH,de;q=0.9":       {"de", "Die Anmeldung ist abgeschaltet"},
		"sv,nl;q=0.5":          {"nl", "Aanmelden is uitgeschakeld"},
		"fr-CA, en;q=0.1, q==": {"fr", "La connexion est désactivée"},
	} {
		res, body := s.browser().visit(http.MethodGet, s.server.URL+"/auth/login", "Accept-Language", wanted)
		page := `<html lang="` + c.language + `">`
		if res.Header.Get("Content-Language") != c.language || !strings.Contains(body, page) || !strings.Contains(body, c.title) {
			t.Errorf("who reads %q gets %s: %s", wanted, res.Header.Get("Content-Language"), body)
		}
	}
}
