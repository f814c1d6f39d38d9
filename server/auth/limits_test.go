package auth_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/ratelimit"
)

const (
	getRoom = usherv1connect.RoomsServiceGetRoomProcedure
	renew   = usherv1connect.RoomsServiceRenewConnectionProcedure
)

// lookUp is the status of a look-up of a room.
func lookUp(w *authtest.API, room string, header ...string) int {
	w.T.Helper()
	status, _, _ := w.Do(http.MethodPost, getRoom, `{"room":"`+room+`"}`, header...)
	return status
}

// Strangers who look up what does not exist keep nobody out who has proved who they are, and who does so with an account
// keeps nobody out but themselves.
func TestMissCounter_whoIsKnown(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t, func(w *authtest.API) {
		w.NotFound = ratelimit.Limit{Name: "not_found", Burst: 5, Period: time.Hour}
	})
	guesser, host := w.User(), w.User()
	cookie, _ := w.Session(host)
	token := bearer(w.APIToken(guesser, auth.ScopeRead))
	known := map[string][]string{
		"a user with a session": {"Cookie", cookie}, "a user with a token": token, "a service": bearer("test-svc-token"),
	}
	for lookUp(w, "absent") == http.StatusNotFound {
	}
	if status := lookUp(w, "there"); status != http.StatusTooManyRequests {
		t.Errorf("a stranger whose network guesses: %d, want 429", status)
	}
	if status := lookUp(w, "there", bearer("nonsense")...); status != http.StatusUnauthorized {
		t.Errorf("a stranger with a credential that is none: %d, want 401", status)
	}
	for name, header := range known {
		if status := lookUp(w, "there", header...); status != http.StatusOK {
			t.Errorf("%s on the network of a guesser: %d, want 200", name, status)
		}
	}
	for lookUp(w, "absent", token...) == http.StatusNotFound {
	}
	if status := lookUp(w, "there", token...); status != http.StatusTooManyRequests {
		t.Errorf("a user who guesses: %d, want 429", status)
	}
	for _, name := range []string{"a user with a session", "a service"} {
		if status := lookUp(w, "there", known[name]...); status != http.StatusOK {
			t.Errorf("%s while a user guesses: %d, want 200", name, status)
		}
	}
}

// participant is a session_token, of a user or uuid.Nil.
func participant(w *authtest.API, user uuid.UUID) []string {
	w.T.Helper()
	room, now := uuid.New(), time.Now()
	token, err := w.Keys.SignSession(auth.ParticipantSession{
		RoomID: room, Identity: w.Keys.NewIdentity(room, user), UserID: user, JoinTime: now, ExpireTime: now.Add(time.Hour),
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return bearer(token)
}

// Session tokens, of which anybody gets as many as they like, add up: by network without an account, and else by account.
func TestCallLimit_participants(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t, func(w *authtest.API) {
		w.TrustedProxies = loopback
		w.Calls = ratelimit.Limit{Name: "calls", Burst: 10, Period: time.Hour}
	})
	// passed is how many calls of 30 passed, each with another token of one network.
	passed := func(network string, user uuid.UUID) (n int) {
		for range 30 {
			header := append(participant(w, user), "X-Forwarded-For", network)
			if status, _, _ := w.Do(http.MethodPost, renew, `{}`, header...); status == http.StatusOK {
				n++
			}
		}
		return n
	}
	ada, grace := w.User(), w.User()
	if n := passed("192.0.2.1", uuid.Nil); n != 10 {
		t.Errorf("%d calls with tokens of one network passed, want 10", n)
	}
	for what, n := range map[string]int{
		"another network": passed("198.51.100.1", uuid.Nil), "an account": passed("192.0.2.1", ada.ID),
		"another account": passed("192.0.2.1", grace.ID),
	} {
		if n != 10 {
			t.Errorf("%s: %d calls passed, want 10", what, n)
		}
	}
	if status, got := w.GetRoom(append(bearer(w.APIToken(ada, auth.ScopeRead)), "X-Forwarded-For", "192.0.2.1")...); status != http.StatusOK {
		t.Errorf("the account itself: %d %s, want 200", status, got)
	}
	if status, got := w.GetRoom("X-Forwarded-For", "192.0.2.1"); status != http.StatusOK {
		t.Errorf("a stranger of the network: %d %s, want 200", status, got)
	}
}

// Pages know who opens them by the session, wherever the link was.
func TestVisitors(t *testing.T) {
	t.Parallel()
	w := authtest.NewAPI(t)
	u := w.User()
	cookie, _ := w.Session(u)
	v := &auth.Visitors{Sessions: w.Sessions, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	for _, c := range []struct{ name, cookie, want string }{
		{"a stranger", "", "address:203.0.113.0/24"},
		{"somebody who is signed in", cookie, "user:" + u.ID.String()},
		{"a session that is none", auth.CookieName(false) + "=nonsense", "address:203.0.113.0/24"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/i/token", nil)
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Cookie", c.cookie)
		if got := v.LimitKey(r); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
