package server_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/settings"
)

// A browser signs in at a real OpenID provider, is who it says, creates a room with its cookie, and signs out everywhere.
func TestSignIn(t *testing.T) {
	t.Parallel()
	idp := testenv.OIDC(t)
	i := start(t, func(c *settings.Config) {
		c.Listen = "127.0.0.1:" + strconv.Itoa(testenv.Port(t))
		c.PublicURL = "http://" + c.Listen
		c.OIDC = settings.OIDCConfig{
			Issuer: idp.Issuer, ClientID: idp.ClientID, ClientSecret: settings.Secret(idp.ClientSecret),
			Scopes: []string{"openid", "profile", "email"}, CreateUsers: true,
		}
	})
	idp.Register(i.URL+"/auth/callback", i.URL+"/auth/logout/callback")
	idp.SignIn(testenv.Person{Sub: "test-ada", Email: "ada.signin@people.example", EmailVerified: true, GivenName: "Ada", FamilyName: "Signin"}, false)
	i.secrets.add("ada.signin@people.example", "Ada Signin")

	jar := must[http.CookieJar](t)(cookiejar.New(nil))
	browser := &http.Client{Jar: jar}
	do := func(method, path, origin string) (int, string) {
		t.Helper()
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), method, i.URL+path, strings.NewReader("{}")))
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Origin", origin)
			req.Header.Set("Sec-Fetch-Site", map[bool]string{true: "same-origin", false: "cross-site"}[origin == i.URL])
		}
		res := must[*http.Response](t)(browser.Do(req))
		defer res.Body.Close()
		return res.StatusCode, string(must[[]byte](t)(io.ReadAll(res.Body)))
	}
	if status, body := do(http.MethodGet, "/auth/login?return_to=/healthz", ""); status != http.StatusOK || body != "ok\n" {
		t.Fatalf("after signing in: %d %q, want the page of return_to", status, body)
	}
	for _, c := range jar.Cookies(must[*url.URL](t)(url.Parse(i.URL))) {
		i.secrets.add(c.Value)
	}
	if status, body := do(http.MethodPost, usherv1connect.UsersServiceGetMeProcedure, i.URL); status != http.StatusOK || !strings.Contains(body, `"ada.signin@people.example"`) {
		t.Errorf("GetMe = %d %s, want the account", status, body)
	}
	if status, body := do(http.MethodPost, usherv1connect.RoomsServiceCreateRoomProcedure, i.URL); status != http.StatusOK {
		t.Errorf("CreateRoom with the cookie = %d %s", status, body)
	}
	if status, body := do(http.MethodPost, usherv1connect.RoomsServiceCreateRoomProcedure, "https://elsewhere.example"); status != http.StatusForbidden || !strings.Contains(body, "CROSS_ORIGIN") {
		t.Errorf("CreateRoom from another site = %d %s, want 403 CROSS_ORIGIN", status, body)
	}
	if status, body := do(http.MethodPost, "/auth/logout?everywhere=true", i.URL); status >= 400 {
		t.Errorf("logout = %d %s", status, body)
	}
	if status, body := do(http.MethodPost, usherv1connect.UsersServiceGetMeProcedure, i.URL); status != http.StatusUnauthorized {
		t.Errorf("GetMe after signing out = %d %s, want 401", status, body)
	}
}
