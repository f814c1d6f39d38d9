package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/settings"
)

// Whatever the marketing service does, people sign in; and once it is well, it has everybody once.
func TestMarketingNeverBlocksSignIn(t *testing.T) {
	t.Parallel()
	var well atomic.Bool
	silent := make(chan struct{})
	var mu sync.Mutex
	got := map[string]int{}
	var asked atomic.Int32
	brevo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !well.Load() {
			if asked.Add(1)%2 == 0 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			select {
			case <-silent:
			case <-r.Context().Done():
			}
			return
		}
		var contact struct{ Email string }
		if err := json.NewDecoder(r.Body).Decode(&contact); err != nil {
			t.Error(err)
		}
		mu.Lock()
		got[contact.Email]++
		mu.Unlock()
		w.WriteHeader(http.StatusCreated)
	}))
	defer brevo.Close()
	defer close(silent)
	idp := testenv.OIDC(t)
	i := start(t, func(c *settings.Config) {
		c.Listen = "127.0.0.1:" + strconv.Itoa(testenv.Port(t))
		c.PublicURL = "http://" + c.Listen
		c.OIDC = settings.OIDCConfig{
			Issuer: idp.Issuer, ClientID: idp.ClientID, ClientSecret: settings.Secret(idp.ClientSecret),
			Scopes: []string{"openid", "profile", "email"}, CreateUsers: true,
		}
		c.Marketing = settings.MarketingConfig{BrevoURL: brevo.URL, BrevoKey: "test-brevo-key", Timeout: 300 * time.Millisecond}
	})
	idp.Register(i.URL+"/auth/callback", i.URL+"/auth/logout/callback")
	signIn := func(n int, verified bool) string {
		email := fmt.Sprintf("contact%d@people.example", n)
		i.secrets.add(email)
		idp.SignIn(testenv.Person{Sub: fmt.Sprintf("test-%d", n), Email: email, EmailVerified: verified, GivenName: "Contact"}, false)
		browser := &http.Client{Jar: must[http.CookieJar](t)(cookiejar.New(nil))}
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, i.URL+"/auth/login?return_to=/healthz", nil))
		res := must[*http.Response](t)(browser.Do(req))
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK || res.Request.URL.Path != "/healthz" {
			t.Fatalf("signed in with %d at %s", res.StatusCode, res.Request.URL.Path)
		}
		return email
	}
	var wanted []string
	for n := range 3 {
		wanted = append(wanted, signIn(n, true))
	}
	signIn(0, true) // for the second time
	unverified := signIn(9, false)
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(i.log.String(), "kind=marketing.add"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no contact was tried")
		}
	}
	well.Store(true)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		mu.Lock()
		n := len(got)
		mu.Unlock()
		if n == len(wanted) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d contacts, want %d", n, len(wanted))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, email := range wanted {
		if got[email] != 1 {
			t.Errorf("a contact came %d times, want once", got[email])
		}
	}
	if got[unverified] != 0 {
		t.Error("an address that is not verified was passed on")
	}
}
