package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/livetasks"
)

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func signed(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestCallers(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t)
	u := w.User()
	cookie, _ := w.Session(u)
	for _, c := range []struct {
		name   string
		header []string
		want   string
	}{
		{"nobody", nil, "address:127.0.0.0/24"},
		{"a session", []string{"Cookie", cookie}, "user:" + u.ID.String()},
		{"an API token", bearer(w.APIToken(u, auth.ScopeRead)), "user:" + u.ID.String()},
		{"the scheme in another case", []string{"Authorization", "bEARER " + w.APIToken(u, auth.ScopeRead)}, "user:" + u.ID.String()},
		{"a service token", bearer("test-svc-token"), "service:portal"},
		{"the header before the cookie", append(bearer("test-svc-token"), "Cookie", cookie), "service:portal"},
		{"another cookie", []string{"Cookie", "theme=dark"}, "address:127.0.0.0/24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if status, body := w.GetRoom(c.header...); status != http.StatusOK || !strings.Contains(body, `"`+c.want+`"`) {
				t.Errorf("answer %d %s, want 200 and %s", status, body, c.want)
			}
		})
	}
}

func TestBadCredentials(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t)
	u, inactive := w.User(), w.User(func(c *ent.UserCreate) { c.SetActive(false) })
	cookie, session := w.Session(u)
	inactiveCookie, _ := w.Session(inactive)
	good := w.APIToken(u, auth.ScopeRead)
	tokens := &auth.APITokens{DB: w.DB, Keys: w.Keys}
	revoked, row, err := tokens.Create(t.Context(), auth.CreateAPITokenParams{UserID: u.ID, Scopes: []string{auth.ScopeRead}, ExpireTime: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := tokens.Revoke(t.Context(), row.ID); err != nil {
			t.Fatal(err)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	soon := time.Now().Add(time.Hour).Unix()
	apiKey := w.Keys.Current(auth.PurposeAPIToken)
	live := &row.ID
	claims := func(more jwt.MapClaims) jwt.MapClaims {
		c := jwt.MapClaims{"jti": live.String(), "scopes": []string{"read"}, "exp": soon}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	all, err := tokens.List(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		if one.RevokeTime == nil {
			live = &one.ID
		}
	}
	for _, c := range []struct{ name, token, want string }{
		{"nothing", "", "UNAUTHENTICATED"},
		{"not a token", "hello", "UNAUTHENTICATED"},
		{"three dots of nothing", "..", "UNAUTHENTICATED"},
		{"a header that is not JSON", "aGVsbG8.e30.e30", "UNAUTHENTICATED"},
		{"without a signature", good[:strings.LastIndex(good, ".")+1], "UNAUTHENTICATED"},
		{"another last character", good[:len(good)-2] + flip(good[len(good)-2:]), "UNAUTHENTICATED"},
		{"revoked", revoked, "UNAUTHENTICATED"},
		{"an id without a row", signed(t, jwt.SigningMethodHS256, apiKey, claims(jwt.MapClaims{"jti": uuid.NewString()})), "UNAUTHENTICATED"},
		{"an id of another form", signed(t, jwt.SigningMethodHS256, apiKey, claims(jwt.MapClaims{"jti": "1"})), "UNAUTHENTICATED"},
		{"expired", signed(t, jwt.SigningMethodHS256, apiKey, claims(jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()})), "TOKEN_EXPIRED"},
		{"expired and forged", signed(t, jwt.SigningMethodHS256, []byte("test-other"), claims(jwt.MapClaims{"exp": 1})), "UNAUTHENTICATED"},
		{"without an end", signed(t, jwt.SigningMethodHS256, apiKey, claims(jwt.MapClaims{"exp": nil})), "UNAUTHENTICATED"},
		{"not yet good", signed(t, jwt.SigningMethodHS256, apiKey, claims(jwt.MapClaims{"nbf": soon})), "UNAUTHENTICATED"},
		{"another HMAC", signed(t, jwt.SigningMethodHS512, apiKey, claims(nil)), "UNAUTHENTICATED"},
		{"alg none", signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil)), "UNAUTHENTICATED"},
		{"HS256 with a public key", signed(t, jwt.SigningMethodHS256, public, claims(nil)), "UNAUTHENTICATED"},
		{"of an issuer, switched off", signed(t, jwt.SigningMethodRS256, key, claims(nil)), "UNAUTHENTICATED"},
		{"of another secret", signed(t, jwt.SigningMethodHS256, auth.NewKeys([]byte("test-another-secret"), nil).Current(auth.PurposeAPIToken), claims(nil)), "UNAUTHENTICATED"},
		{"of another purpose", signed(t, jwt.SigningMethodHS256, w.Keys.Current(auth.PurposeSignIn), claims(nil)), "UNAUTHENTICATED"},
		{"the secret itself as key", signed(t, jwt.SigningMethodHS256, []byte(authtest.Secret), claims(nil)), "UNAUTHENTICATED"},
		{"of LiveKit", signed(t, jwt.SigningMethodHS256, []byte(testenv.LiveKitSecret), jwt.MapClaims{"iss": testenv.LiveKitKey, "sub": "p_x", "exp": soon, "video": map[string]any{"roomJoin": true}}), "UNAUTHENTICATED"},
		{"a session's token", session, "UNAUTHENTICATED"},
		{"a service's with another last byte", "test-svc-tokeo", "UNAUTHENTICATED"},
		{"a service's and more", "test-svc-token2", "UNAUTHENTICATED"},
		{"a service's hash", "portal", "UNAUTHENTICATED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// With a good cookie beside it: a bad header never falls back.
			status, got := w.GetRoom("Authorization", "Bearer "+c.token, "Cookie", cookie)
			if status != http.StatusUnauthorized || got != c.want {
				t.Errorf("answer %d %s, want 401 %s", status, got, c.want)
			}
		})
	}
	for _, c := range []struct {
		name   string
		header []string
		status int
		want   string
	}{
		{"an empty header", []string{"Authorization", "", "Cookie", cookie}, 401, "UNAUTHENTICATED"},
		{"another scheme", []string{"Authorization", "Basic dGVzdDp0ZXN0", "Cookie", cookie}, 401, "UNAUTHENTICATED"},
		{"two headers", []string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, 401, "UNAUTHENTICATED"},
		{"a session that is none", []string{"Cookie", "usher_session=test-none"}, 401, "SESSION_ENDED"},
		{"an API token as session", []string{"Cookie", "usher_session=" + good}, 401, "SESSION_ENDED"},
		{"the session of an inactive user", []string{"Cookie", inactiveCookie}, 403, "ACCOUNT_INACTIVE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if status, got := w.GetRoom(c.header...); status != c.status || got != c.want {
				t.Errorf("answer %d %s, want %d %s", status, got, c.status, c.want)
			}
		})
	}
	if status, got := w.GetRoom(bearer(signed(t, jwt.SigningMethodHS256, apiKey, claims(nil)))...); status != http.StatusOK {
		t.Errorf("the token that the bad ones are made from: %d %s, want 200", status, got)
	}
}

// flip changes the last characters of base64 so that other bytes come out.
func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

func TestSessionEnded_clearsTheCookie(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t)
	_, reason, header := w.Do(http.MethodPost, usherv1connect.RoomsServiceGetRoomProcedure, `{"room":"r"}`, "Cookie", "usher_session=test-none")
	if reason != "SESSION_ENDED" || !strings.HasPrefix(header.Get("Set-Cookie"), "usher_session=; Path=/; Max-Age=0") {
		t.Errorf("%s, Set-Cookie %q, want the cookie removed", reason, header.Get("Set-Cookie"))
	}
}

// TestSessionTokenBounds: a session token is good for its participant's own methods, and for nothing else.
func TestSessionTokenBounds(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t)
	u := w.User()
	cookie, _ := w.Session(u)
	sign := func(keys *auth.Keys, life time.Duration) string {
		token, err := keys.SignSession(auth.ParticipantSession{
			RoomID: uuid.New(), Identity: "p_test", UserID: u.ID, JoinTime: time.Now(), ExpireTime: time.Now().Add(life),
		})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	const renew = usherv1connect.RoomsServiceRenewConnectionProcedure
	good := sign(w.Keys, time.Hour)
	for _, procedure := range procedures() {
		if !strings.Contains(procedure, "RoomsService") && !strings.Contains(procedure, "UsersService") {
			continue
		}
		wantStatus, want := http.StatusUnauthorized, "UNAUTHENTICATED"
		if procedure == renew {
			wantStatus, want = http.StatusOK, "{}"
		}
		status, got, _ := w.Do(http.MethodPost, procedure, `{}`, "Authorization", "Bearer "+good, "Cookie", cookie)
		if status != wantStatus || got != want {
			t.Errorf("%s with a session token: %d %s, want %d %s", procedure, status, got, wantStatus, want)
		}
	}
	for _, c := range []struct {
		name   string
		header []string
		want   string
	}{
		{"nobody", nil, "SIGN_IN_REQUIRED"},
		{"the user's session", []string{"Cookie", cookie}, "UNAUTHENTICATED"},
		{"the user's API token", bearer(w.APIToken(u, auth.ScopeRooms)), "UNAUTHENTICATED"},
		{"a service", bearer("test-svc-token"), "UNAUTHENTICATED"},
		{"an expired session token", bearer(sign(w.Keys, -time.Minute)), "TOKEN_EXPIRED"},
		{"a session token of another server", bearer(sign(auth.NewKeys([]byte("test-another-secret"), nil), time.Hour)), "UNAUTHENTICATED"},
		{"a session token in the cookie", []string{"Cookie", "usher_session=" + good}, "SESSION_ENDED"},
	} {
		if status, got, _ := w.Do(http.MethodPost, renew, `{}`, c.header...); status != http.StatusUnauthorized || got != c.want {
			t.Errorf("RenewConnection by %s: %d %s, want 401 %s", c.name, status, got, c.want)
		}
	}
}

func TestPreviousSecret(t *testing.T) {
	t.Parallel()
	old := auth.NewKeys([]byte(authtest.Secret), nil)
	w := authtest.NewAPI(t, func(w *authtest.API) { w.Keys = old })
	u := w.User()
	token := w.APIToken(u, auth.ScopeRead)
	w.Keys = auth.NewKeys([]byte("test-new-secret-of-32-characters-too"), []byte(authtest.Secret))
	if status, got := w.GetRoom(bearer(token)...); status != http.StatusOK {
		t.Errorf("a token of the previous secret: %d %s, want 200", status, got)
	}
	fresh := w.APIToken(u, auth.ScopeRead)
	w.Keys = auth.NewKeys([]byte("test-new-secret-of-32-characters-too"), nil)
	if status, got := w.GetRoom(bearer(fresh)...); status != http.StatusOK {
		t.Errorf("a token made since: %d %s, want 200", status, got)
	}
	if status, got := w.GetRoom(bearer(token)...); status != http.StatusUnauthorized {
		t.Errorf("a token of a secret that is gone: %d %s, want 401", status, got)
	}
}

// TestDeactivatedUserIsOut: whoever is deactivated is refused at once, in every shape.
func TestDeactivatedUserIsOut(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		redis := testenv.Redis(t).Client(t)
		w := authtest.NewAPIOn(t, db, redis)
		u := w.User(func(c *ent.UserCreate) { c.SetSub("test-sub") })
		w.AccessTokens = anyToken("test-sub")
		cookie, _ := w.Session(u)
		session, err := w.Keys.SignSession(auth.ParticipantSession{RoomID: uuid.New(), Identity: "p_test", UserID: u.ID, ExpireTime: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		api := w.APIToken(u, auth.ScopeRead)
		const get, renew = usherv1connect.RoomsServiceGetRoomProcedure, usherv1connect.RoomsServiceRenewConnectionProcedure
		calls := []struct {
			name, procedure string
			header          []string
			out             string
		}{
			{"API token", get, bearer(api), "ACCOUNT_INACTIVE"},
			{"access token", get, bearer(rs256(t)), "ACCOUNT_INACTIVE"},
			{"session token", renew, bearer(session), "ACCOUNT_INACTIVE"},
			{"session", get, []string{"Cookie", cookie}, "SESSION_ENDED"},
		}
		for _, c := range calls {
			if status, got, _ := w.Do(http.MethodPost, c.procedure, `{}`, c.header...); status != http.StatusOK {
				t.Errorf("%s before: %d %s, want 200", c.name, status, got)
			}
		}
		life := &accounts.Lifecycle{DB: db, Sessions: w.Sessions, Tasks: livetasks.NewQueue(10 * time.Minute)}
		if err := life.Deactivate(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			if _, got, _ := w.Do(http.MethodPost, c.procedure, `{}`, c.header...); got != c.out {
				t.Errorf("%s after: %s, want %s", c.name, got, c.out)
			}
		}
		task, err := db.Read.LiveTask.Query().Only(t.Context())
		if err != nil || task.Kind != "remove_user" || task.UserID == nil || *task.UserID != u.ID ||
			time.Until(task.KeepUntil) < 9*time.Minute {
			t.Errorf("live task %+v, %v, want the removal of the user for as long as tokens live", task, err)
		}
		// A sign-in that was under way may leave a session, which must not come back to life.
		late, _ := w.Session(u)
		if _, got := w.GetRoom("Cookie", late); got != "ACCOUNT_INACTIVE" {
			t.Errorf("a session made afterwards: %s, want ACCOUNT_INACTIVE", got)
		}
		if err := life.Reactivate(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		if _, got := w.GetRoom("Cookie", late); got != "SESSION_ENDED" {
			t.Errorf("a session from before the reactivation: %s, want SESSION_ENDED", got)
		}
		if status, got := w.GetRoom(bearer(api)...); status != http.StatusUnauthorized {
			t.Errorf("the API token after the reactivation: %d %s, want 401", status, got)
		}
		if _, got, _ := w.Do(http.MethodPost, renew, `{}`, bearer(session)...); got != "UNAUTHENTICATED" {
			t.Errorf("the session token after the reactivation: %s, want UNAUTHENTICATED", got)
		}
		if status, got := w.GetRoom(bearer(w.APIToken(u, auth.ScopeRead))...); status != http.StatusOK {
			t.Errorf("an API token made since: %d %s, want 200", status, got)
		}
	})
}
