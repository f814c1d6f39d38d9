package auth_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/golang-jwt/jwt/v5"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/ratelimit"
)

// anyToken takes every token for one of this subject: what is tested here comes after the provider's part.
type anyToken string

func (a anyToken) Verify(context.Context, string) (string, error) {
	if a == "" {
		return "", auth.ErrSignInProvider
	}
	return string(a), nil
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func rs256(t *testing.T) string {
	t.Helper()
	return signed(t, jwt.SigningMethodRS256, rsaKey(), jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix()})
}

func TestAccessTokens(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t)
	u := w.User(func(c *ent.UserCreate) { c.SetSub("test-known") })
	w.AccessTokens = anyToken("test-known")
	if status, got := w.GetRoom(bearer(rs256(t))...); status != http.StatusOK || !strings.Contains(got, u.ID.String()) {
		t.Errorf("a known subject: %d %s, want 200", status, got)
	}
	w.AccessTokens = anyToken("test-unknown")
	if status, got := w.GetRoom(bearer(rs256(t))...); status != http.StatusUnauthorized || got != "UNAUTHENTICATED" {
		t.Errorf("an unknown subject: %d %s, want 401", status, got)
	}
	if n, err := w.DB.Read.User.Query().Count(t.Context()); err != nil || n != 1 {
		t.Errorf("%d users, %v: an access token made one", n, err)
	}
	w.AccessTokens = anyToken("")
	status, got, header := w.Do(http.MethodPost, usherv1connect.RoomsServiceGetRoomProcedure, `{}`, bearer(rs256(t))...)
	if status != http.StatusServiceUnavailable || got != "SIGN_IN_UNAVAILABLE" || header.Get("Retry-After") != "1" {
		t.Errorf("without the provider: %d %s, Retry-After %q, want 503 SIGN_IN_UNAVAILABLE, 1", status, got, header.Get("Retry-After"))
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t)
	u := w.User()
	token := w.APIToken(u, auth.ScopeRead)
	client := usherv1connect.NewRoomsServiceClient(http.DefaultClient, w.URL, connect.WithInterceptors(connect.UnaryInterceptorFunc(
		func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
				req.Header().Set("Authorization", "Bearer "+token)
				return next(ctx, req)
			}
		})), connect.WithGRPC())
	_, err := client.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: "r"})
	if connect.CodeOf(err) != connect.CodePermissionDenied || authtest.Reason(err) != "NOT_PERMITTED" {
		t.Errorf("JoinRoom in gRPC with scope read: %v, want NOT_PERMITTED", err)
	}
}

func TestMissCounter(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t, func(w *authtest.API) {
		w.NotFound = ratelimit.Limit{Name: "not_found", Burst: 5, Period: time.Minute}
	})
	const get = usherv1connect.RoomsServiceGetRoomProcedure
	for i := range 5 {
		if status, got, _ := w.Do(http.MethodPost, get, `{"room":"absent"}`); status != http.StatusNotFound {
			t.Fatalf("look-up %d: %d %s, want 404", i, status, got)
		}
	}
	for _, room := range []string{"absent", "there"} {
		status, got, headers := w.Do(http.MethodPost, get, `{"room":"`+room+`"}`)
		if status != http.StatusTooManyRequests || got != "RATE_LIMITED" || headers.Get("Retry-After") == "" {
			t.Errorf("a stranger looks up %q: %d %s, want 429", room, status, got)
		}
	}
	if status, got, _ := w.Do(http.MethodPost, usherv1connect.UsersServiceGetMeProcedure, `{}`); status != http.StatusUnauthorized {
		t.Errorf("what looks nothing up: %d %s, want 401", status, got)
	}
}

func TestMissCounter_atOnce(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t, func(w *authtest.API) {
		w.NotFound = ratelimit.Limit{Name: "not_found", Burst: 5, Period: time.Minute}
	})
	const calls = 20
	w.Inside.Add(calls)
	var all sync.WaitGroup
	for range calls {
		all.Go(func() { getRoomNamed(w, "absent-together") })
	}
	all.Wait()
	_, _, header := w.Do(http.MethodPost, usherv1connect.RoomsServiceGetRoomProcedure, `{"room":"there"}`)
	wait, err := time.ParseDuration(header.Get("Retry-After") + "s")
	if err != nil || wait < 3*time.Minute {
		t.Errorf("Retry-After %q after %d look-ups at once, want as long a wait as after as many one by one", header.Get("Retry-After"), calls)
	}
}

func getRoomNamed(w *authtest.API, name string) {
	body := strings.NewReader(`{"room":"` + name + `"}`)
	req, err := http.NewRequestWithContext(w.T.Context(), http.MethodPost, w.URL+usherv1connect.RoomsServiceGetRoomProcedure, body)
	if err != nil {
		w.T.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.T.Error(err)
		return
	}
	_ = res.Body.Close()
}

func TestResolve_counts(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t, func(w *authtest.API) {
		w.NotFound = ratelimit.Limit{Name: "not_found", Burst: 3, Period: time.Minute}
	})
	var got string
	for range 4 {
		_, got, _ = w.Do(http.MethodPost, usherv1connect.RoomsServiceResolveCreationCallbackProcedure, `{}`)
	}
	if got != "RATE_LIMITED" {
		t.Errorf("the fourth of three calls: %s, want RATE_LIMITED", got)
	}
}

func TestCallLimit(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t, func(w *authtest.API) { w.Calls = ratelimit.Limit{Name: "calls", Burst: 3, Period: time.Minute} })
	cookie, _ := w.Session(w.User())
	for i, want := range []string{"UNAUTHENTICATED", "UNAUTHENTICATED", "UNAUTHENTICATED", "RATE_LIMITED"} {
		if _, got := w.GetRoom("Authorization", "Bearer nonsense"); got != want {
			t.Errorf("bad token %d: %s, want %s", i, got, want)
		}
	}
	if _, got := w.GetRoom(); got != "RATE_LIMITED" {
		t.Errorf("a stranger of that network: %s, want RATE_LIMITED", got)
	}
	if status, got := w.GetRoom("Cookie", cookie); status != http.StatusOK {
		t.Errorf("a user of that network: %d %s, want 200", status, got)
	}
}

func TestRedisGone(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t, func(w *authtest.API) {
		w.Calls = ratelimit.Limit{Name: "calls", Burst: 100, Period: time.Minute}
		w.NotFound = ratelimit.Limit{Name: "not_found", Burst: 100, Period: time.Minute}
	})
	u := w.User()
	cookie, _ := w.Session(u)
	token := w.APIToken(u, auth.ScopeRead)
	w.Redis.Kill()
	begin := time.Now()
	status, got, header := w.Do(http.MethodPost, usherv1connect.RoomsServiceGetRoomProcedure, `{}`, "Cookie", cookie)
	if status != http.StatusServiceUnavailable || got != "REDIS_UNAVAILABLE" || header.Get("Retry-After") == "" {
		t.Errorf("a session without Redis: %d %s, want 503 REDIS_UNAVAILABLE", status, got)
	}
	if status, got := w.GetRoom(bearer(token)...); status != http.StatusOK {
		t.Errorf("an API token without Redis: %d %s, want 200", status, got)
	}
	if status, got := w.GetRoom(); status != http.StatusOK {
		t.Errorf("a stranger without Redis: %d %s, want 200", status, got)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("three calls without Redis took %s", took)
	}
	w.Redis.Restart()
	if status, got := w.GetRoom("Cookie", cookie); status != http.StatusOK {
		t.Errorf("a session after the restart: %d %s, want 200", status, got)
	}
}

func TestForwardedFor(t *testing.T) {
	t.Parallel()
	const seen = "address:127.0.0.0/24"
	for _, c := range []struct {
		name    string
		trusted []netip.Prefix
		header  []string
		want    string
	}{
		{"nobody is trusted", nil, []string{"X-Forwarded-For", "203.0.113.9"}, seen},
		{"a proxy is", loopback, []string{"X-Forwarded-For", "203.0.113.9"}, "address:203.0.113.0/24"},
		{"the client wrote one too", loopback, []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.9"}, "address:203.0.113.0/24"},
		{"in a header of its own", loopback, []string{"X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "203.0.113.9"}, "address:203.0.113.0/24"},
		{"the client names a proxy", loopback, []string{"X-Forwarded-For", "127.0.0.1, 203.0.113.9"}, "address:203.0.113.0/24"},
		{"no header", loopback, nil, seen},
	} {
		w := authtest.NewAPI(t, func(w *authtest.API) { w.TrustedProxies = c.trusted })
		if _, got := w.GetRoom(c.header...); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	const trusted = "https://portal.example"
	w := authtest.NewAPI(t, func(w *authtest.API) { w.Trusted = []string{trusted} })
	u := w.User()
	cookie, _ := w.Session(u)
	token, mine, nobody := "Bearer "+w.APIToken(u, auth.ScopeRead), u.ID.String(), "address:127.0.0.0/24"
	const post, get = http.MethodPost, http.MethodGet
	own := strings.TrimPrefix(w.URL, "http://")
	for _, c := range []struct {
		name, method string
		header       []string
		status       int
		want         string
	}{
		{"another site posts", post, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Cookie", cookie}, 403, "CROSS_ORIGIN"},
		{"another site posts with a token", post, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Authorization", token}, 403, "CROSS_ORIGIN"},
		{"a neighbour posts", post, []string{"Origin", "https://other.usher.example", "Sec-Fetch-Site", "same-site", "Cookie", cookie}, 403, "CROSS_ORIGIN"},
		{"an old browser posts from another site", post, []string{"Origin", "https://evil.example", "Cookie", cookie}, 403, "CROSS_ORIGIN"},
		{"a page without origin posts", post, []string{"Origin", "null", "Sec-Fetch-Site", "cross-site", "Cookie", cookie}, 403, "CROSS_ORIGIN"},
		{"our page posts", post, []string{"Origin", "http://" + own, "Sec-Fetch-Site", "same-origin", "Cookie", cookie}, 200, mine},
		{"our page posts from an old browser", post, []string{"Origin", "http://" + own, "Cookie", cookie}, 200, mine},
		{"a program posts", post, []string{"Authorization", token}, 200, mine},
		{"a trusted page posts with a token", post, []string{"Origin", trusted, "Sec-Fetch-Site", "cross-site", "Authorization", token}, 200, mine},
		{"a trusted page posts with the cookie", post, []string{"Origin", trusted, "Sec-Fetch-Site", "cross-site", "Cookie", cookie}, 200, nobody},
		{"a trusted page of an old browser posts with the cookie", post, []string{"Origin", trusted, "Cookie", cookie}, 200, nobody},
		{"another site gets", get, []string{"Sec-Fetch-Site", "cross-site", "Cookie", cookie}, 200, nobody},
		{"a neighbour gets", get, []string{"Sec-Fetch-Site", "same-site", "Cookie", cookie}, 200, nobody},
		{"a trusted page gets with the cookie", get, []string{"Origin", trusted, "Sec-Fetch-Site", "cross-site", "Cookie", cookie}, 200, nobody},
		{"a trusted page gets with a token", get, []string{"Origin", trusted, "Sec-Fetch-Site", "cross-site", "Authorization", token}, 200, mine},
		{"our page gets", get, []string{"Sec-Fetch-Site", "same-origin", "Cookie", cookie}, 200, mine},
		{"somebody types the address", get, []string{"Sec-Fetch-Site", "none", "Cookie", cookie}, 200, mine},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path, body := usherv1connect.RoomsServiceGetRoomProcedure, `{"room":"r"}`
			if c.method == get {
				body, path = "", path+"?"+url.Values{"encoding": {"json"}, "message": {`{"room":"r"}`}}.Encode()
			}
			status, got, header := w.Do(c.method, path, body, c.header...)
			if status != c.status || !strings.Contains(got, c.want) {
				t.Errorf("answer %d %s, want %d %s", status, got, c.status, c.want)
			}
			allowed := header.Get("Access-Control-Allow-Origin")
			if isTrusted := strings.HasPrefix(c.name, "a trusted page") && c.header[1] == trusted; (allowed == trusted) != isTrusted {
				t.Errorf("Access-Control-Allow-Origin: %q", allowed)
			}
			if got := header.Get("Access-Control-Allow-Credentials"); got != "" {
				t.Errorf("Access-Control-Allow-Credentials: %q, want none", got)
			}
		})
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	const trusted = "https://portal.example"
	w := authtest.NewAPI(t, func(w *authtest.API) { w.Trusted = []string{trusted} })
	ask := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type"}
	status, _, header := w.Do(http.MethodOptions, usherv1connect.RoomsServiceGetRoomProcedure, "", append(ask, "Origin", trusted)...)
	if status != http.StatusNoContent || header.Get("Access-Control-Allow-Origin") != trusted ||
		!strings.Contains(header.Get("Access-Control-Allow-Headers"), "Authorization") || header.Get("Vary") != "Origin" {
		t.Errorf("preflight of a trusted origin: %d %v", status, header)
	}
	status, _, header = w.Do(http.MethodOptions, usherv1connect.RoomsServiceGetRoomProcedure, "", append(ask, "Origin", "https://evil.example")...)
	if status == http.StatusNoContent || header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of another origin: %d %v", status, header)
	}
	if _, err := auth.ProtectOrigin([]string{"portal.example"}); err == nil {
		t.Error("an origin without a scheme was accepted")
	}
}

func TestCaller_givenUp(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t)
	cookie, _ := w.Session(w.User())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	if caller, err := w.Caller(req); !errors.Is(err, context.Canceled) || caller.Kind != auth.Anonymous {
		t.Errorf("Caller = %+v, %v, want that the request was given up", caller, err)
	}
}
