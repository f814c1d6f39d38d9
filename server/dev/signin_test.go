package dev

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/user"
	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/web/style"
)

// signInPage is the sign-in and the front page on a server, with a browser.
type signInPage struct {
	url      string
	db       *dbtx.DB
	sessions *auth.Sessions
	people   *people
}

func newSignIn(t *testing.T) *signInPage {
	t.Helper()
	r, c := mustStart(t, filepath.Join(t.TempDir(), redisFile))
	t.Cleanup(func() { _ = r.stop() })
	db := testenv.SQLite(t)
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	p := &people{config: &settings.Config{PublicURL: s.URL, AllowedOrigins: []string{"https://portal.example.org"}}}
	sessions := &auth.Sessions{Redis: c, IdleTimeout: time.Hour, MaxAge: time.Hour}
	mux.Handle("/auth/", p.handler(server.SignInParts{DB: db, Sessions: sessions, Keys: auth.NewKeys([]byte("test-secret"), nil), Log: quiet()}))
	mux.Handle("/{$}", &front{people: p, folder: "/test/data"})
	return &signInPage{url: s.URL, db: db, sessions: sessions, people: p}
}

// browser keeps cookies, and shows redirects instead of following them.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browserOf(jar)
}

func browserOf(jar http.CookieJar) *http.Client {
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// reply is an answer that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

// send sends a request.
func send(t *testing.T, c *http.Client, method, address string, form url.Values, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(body)}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	s, b := newSignIn(t), browser(t)
	res := send(t, b, http.MethodGet, s.url+"/auth/login?return_to=/weekly", nil)
	if res.status != http.StatusOK || !strings.Contains(res.body, "development") || !strings.Contains(res.body, `value="/weekly"`) {
		t.Fatalf("the page: %d\n%s", res.status, res.body)
	}
	if csp := res.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("Content-Security-Policy %q", csp)
	}
	res = send(t, b, http.MethodPost, s.url+"/auth/login", url.Values{"name": {" Ada  Lovelace "}, "return_to": {"/weekly?x=1"}})
	if res.status != http.StatusSeeOther || res.header.Get("Location") != s.url+"/weekly?x=1" {
		t.Fatalf("signing in: %d to %q", res.status, res.header.Get("Location"))
	}
	u := s.db.Read.User.Query().OnlyX(t.Context())
	if *u.Sub != "dev:ada-lovelace" || u.Email != "ada-lovelace@example.test" || !u.EmailVerified || u.FullName != "Ada Lovelace" || u.ShortName != "Ada" {
		t.Errorf("the account: %+v", u)
	}
	if res := send(t, b, http.MethodGet, s.url+"/", nil); !strings.Contains(res.body, "Signed in as <b>Ada Lovelace</b>") {
		t.Errorf("the front page does not know who is signed in:\n%s", res.body)
	}
	if res := send(t, browser(t), http.MethodGet, s.url+"/auth/login", nil); !strings.Contains(res.body, `value="Ada Lovelace"`) {
		t.Errorf("the page does not offer who was here before:\n%s", res.body)
	}

	// Another spelling is the same person, and the session before ends.
	before := sessionOf(t, b, s.url)
	send(t, b, http.MethodPost, s.url+"/auth/login", url.Values{"name": {"ADA LOVELACE"}})
	if n := s.db.Read.User.Query().CountX(t.Context()); n != 2 {
		t.Errorf("%d accounts, want hers and that of the developer", n)
	}
	if _, err := s.sessions.Lookup(t.Context(), before); err == nil {
		t.Error("the session before goes on")
	}

	session := sessionOf(t, b, s.url)
	res = send(t, b, http.MethodPost, s.url+"/auth/logout", url.Values{})
	if res.status != http.StatusSeeOther || sessionOf(t, b, s.url) != "" {
		t.Errorf("signing out: %d, cookie %q", res.status, sessionOf(t, b, s.url))
	}
	if _, err := s.sessions.Lookup(t.Context(), session); err == nil {
		t.Error("the session goes on after signing out")
	}
}

func sessionOf(t *testing.T, b *http.Client, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(u) {
		if c.Name == auth.CookieName(false) {
			return c.Value
		}
	}
	return ""
}

func TestSignIn_everywhere(t *testing.T) {
	t.Parallel()
	s, one, two := newSignIn(t), browser(t), browser(t)
	for _, b := range []*http.Client{one, two} {
		send(t, b, http.MethodPost, s.url+"/auth/login", url.Values{"name": {"Ada"}})
	}
	send(t, one, http.MethodPost, s.url+"/auth/logout?everywhere=true", url.Values{})
	if _, err := s.sessions.Lookup(t.Context(), sessionOf(t, two, s.url)); err == nil {
		t.Error("the other browser is still signed in")
	}
}

func TestSignIn_refused(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	s.people.config.PublicURL = strings.Replace(s.url, "127.0.0.1", "localhost", 1)
	inactive := func() {
		send(t, browser(t), http.MethodPost, s.url+"/auth/login", url.Values{"name": {"Gone"}})
		err := s.db.Run(t.Context(), func(tx *ent.Client) error {
			return tx.User.Update().Where(user.FullName("Gone")).SetActive(false).Exec(t.Context())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	inactive()
	for name, test := range map[string]struct {
		method, path string
		form         url.Values
		headers      []string
		status       int
	}{
		"no name":                       {http.MethodPost, "/auth/login", url.Values{"name": {" \u200b "}}, nil, http.StatusBadRequest},
		"a deactivated account":         {http.MethodPost, "/auth/login", url.Values{"name": {"Gone"}}, nil, http.StatusForbidden},
		"a form of another site":        {http.MethodPost, "/auth/login", url.Values{"name": {"Ada"}}, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"a form of another origin":      {http.MethodPost, "/auth/login", url.Values{"name": {"Ada"}}, []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		"a form of a trusted origin":    {http.MethodPost, "/auth/login", url.Values{"name": {"Ada"}}, []string{"Origin", "https://portal.example.org"}, http.StatusForbidden},
		"signing out from another site": {http.MethodPost, "/auth/logout", url.Values{}, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"a name that resolves to us":    {http.MethodGet, "/auth/login", nil, []string{"Host", "evil.example:8080"}, http.StatusMisdirectedRequest},
		"the token to such a name":      {http.MethodGet, "/", nil, []string{"Host", "evil.example"}, http.StatusMisdirectedRequest},
		"the callback of OpenID":        {http.MethodGet, "/auth/callback", nil, nil, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := browser(t)
			res := send(t, b, test.method, s.url+test.path, test.form, test.headers...)
			if res.status != test.status {
				t.Errorf("%d, want %d:\n%s", res.status, test.status, res.body)
			}
			if c := sessionOf(t, b, s.url); c != "" || strings.Contains(res.body, "eyJ") {
				t.Errorf("it gave a session %q, or a token:\n%s", c, res.body)
			}
		})
	}
}

func TestSignIn_returnTo(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	for asked, want := range map[string]string{
		"":                             s.url + "/",
		"/weekly":                      s.url + "/weekly",
		"//evil.example/":              s.url + "/",
		`/\evil.example`:               s.url + "/",
		"https://evil.example/":        s.url + "/",
		"javascript:alert(1)":          s.url + "/",
		"https://portal.example.org/a": "https://portal.example.org/a",
	} {
		res := send(t, browser(t), http.MethodPost, s.url+"/auth/login", url.Values{"name": {"Ada"}, "return_to": {asked}})
		if got := res.header.Get("Location"); got != want {
			t.Errorf("return_to %q leads to %q, want %q", asked, got, want)
		}
		res = send(t, browser(t), http.MethodGet, s.url+"/auth/login?silent=true&return_to="+url.QueryEscape(asked), nil)
		if got := res.header.Get("Location"); got != want || res.header.Get("Set-Cookie") != "" {
			t.Errorf("silently, return_to %q leads to %q, want %q", asked, got, want)
		}
	}
}

func TestSignIn_namesOfAllScripts(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	for _, name := range []string{"渡辺", "Мария", "<script>alert(1)</script>", strings.Repeat("x", 100)} {
		res := send(t, browser(t), http.MethodPost, s.url+"/auth/login", url.Values{"name": {name}})
		if res.status != http.StatusSeeOther {
			t.Errorf("%q: %d\n%s", name, res.status, res.body)
		}
	}
	if n := s.db.Read.User.Query().CountX(t.Context()); n != 4 {
		t.Errorf("%d accounts, want one for each name", n)
	}
	if res := send(t, browser(t), http.MethodGet, s.url+"/auth/login", nil); strings.Contains(res.body, "<script") {
		t.Errorf("a name is code of the page:\n%s", res.body)
	}
}

// Both people who make an account at the same moment get the same one.
func TestSignIn_concurrent(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	const many = 8
	statuses := make(chan int, many)
	for range many {
		go func() {
			res, err := browserOf(nil).PostForm(s.url+"/auth/login", url.Values{"name": {"Ada"}})
			if err != nil {
				statuses <- 0
				return
			}
			_ = res.Body.Close()
			statuses <- res.StatusCode
		}()
	}
	for range many {
		if status := <-statuses; status != http.StatusSeeOther {
			t.Errorf("status %d, want 303", status)
		}
	}
	if n := s.db.Read.User.Query().CountX(t.Context()); n != 1 {
		t.Errorf("%d accounts, want 1", n)
	}
}

func TestFront(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	res := send(t, browser(t), http.MethodGet, s.url+"/", nil)
	for _, want := range []string{"development", s.url, "/test/data", "export TOKEN=", "/usher.v1.RoomsService/CreateRoom", `href="/auth/login`} {
		if !strings.Contains(res.body, want) {
			t.Errorf("the front page lacks %q:\n%s", want, res.body)
		}
	}
	if strings.Contains(res.body, "<script") || !strings.Contains(res.header.Get("Content-Security-Policy"), style.With(pageStyle, "").Source) {
		t.Errorf("it has scripts, or a style that the browser refuses: %v", res.header)
	}
	// The same token as before, until it is about to expire.
	first, err := s.people.developerToken(t.Context())
	if err != nil || !strings.Contains(res.body, first) {
		t.Errorf("the page does not show the token (%v)", err)
	}
	s.people.expire = time.Now().Add(time.Minute)
	if second, err := s.people.developerToken(t.Context()); err != nil || second == first {
		t.Errorf("a token that is about to expire is shown on (%v)", err)
	}
}
