package server_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
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

// Who was added by an e-mail address is whoever signs in with it, however it is spelt on either side, and nobody whose address
// only looks like it.
func TestSignIn_addresses(t *testing.T) {
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
	host := i.clients(bearer(i.apiToken(i.user("Ada Of Addresses"), "rooms", "read")))
	room := must[*usherv1.CreateRoomResponse](t)(host.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{
		Name: "Addresses", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED,
	})).GetRoom()
	for _, address := range []string{"Kate@corp.example", "josé@BÜCHER.example"} {
		must[*usherv1.AddMemberResponse](t)(host.AddMember(t.Context(), &usherv1.AddMemberRequest{
			Room: room.GetId(), Identifier: &usherv1.AddMemberRequest_Email{Email: address}, Role: usherv1.Role_ROLE_ADMINISTRATOR,
		}))
		i.secrets.add(address)
	}
	// came signs somebody in, has them join the room, and returns who is still waited for.
	came := func(address string) []string {
		t.Helper()
		i.secrets.add(address)
		idp.SignIn(testenv.Person{Sub: "test-" + address, Email: address, EmailVerified: true, GivenName: "Somebody"}, false)
		browser := &http.Client{Jar: must[http.CookieJar](t)(cookiejar.New(nil))}
		login := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, i.URL+"/auth/login?return_to=/healthz", nil))
		join := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost,
			i.URL+usherv1connect.RoomsServiceJoinRoomProcedure, strings.NewReader(`{"room":"`+room.GetId()+`"}`)))
		join.Header = http.Header{"Content-Type": {"application/json"}, "Origin": {i.URL}, "Sec-Fetch-Site": {"same-origin"}}
		for _, req := range []*http.Request{login, join} {
			_ = must[*http.Response](t)(browser.Do(req)).Body.Close()
		}
		var pending []string
		for _, m := range must[*usherv1.ListMembersResponse](t)(host.ListMembers(t.Context(), &usherv1.ListMembersRequest{Room: room.GetId()})).GetMembers() {
			if m.GetPending() {
				pending = append(pending, m.GetEmail())
			}
		}
		return pending
	}
	for _, c := range []struct {
		address string
		want    []string
	}{
		{"\u212aate@corp.example", []string{"kate@corp.example", "josé@xn--bcher-kva.example"}},
		{"k\u200bate@corp.example", []string{"kate@corp.example", "josé@xn--bcher-kva.example"}},
		{"josÉ@bücher.example", []string{"kate@corp.example", "josé@xn--bcher-kva.example"}},
		{"KATE@Corp.example.", []string{"josé@xn--bcher-kva.example"}},
		{"JOSé@xn--bcher-kva.example", nil},
	} {
		if got := came(c.address); !slices.Equal(got, c.want) {
			t.Errorf("after %+q came, still pending are %q, want %q", c.address, got, c.want)
		}
	}
}
