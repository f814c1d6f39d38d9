// Package signin serves sign-in and sign-out through an OpenID provider: the authorization code flow with PKCE, its error
// pages, and the addresses to which a browser returns.
package signin

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/ratelimit"
)

// SignIn serves the pages under /auth/ that take a browser to the OpenID provider and back. Every field is required unless
// it says otherwise.
//
// What a sign-in must remember until the callback is in a signed cookie of ten minutes, so that it ends in the browser in
// which it began and nothing is kept on the server. A new session is made at every sign-in, and the browser's old one ends.
type SignIn struct {
	// Provider is nil where nobody can sign in.
	Provider provider
	Accounts *accounts.Accounts
	Sessions *auth.Sessions
	Keys     *auth.Keys
	Limiter  *ratelimit.Limiter
	// Limit is how often a network may begin to sign in.
	Limit ratelimit.Limit
	// TrustedProxies may be empty.
	TrustedProxies []netip.Prefix
	// PublicURL is the address of this server, without a path.
	PublicURL string
	// AllowedOrigins may be returned to after sign-in. It may be empty.
	AllowedOrigins []string
	Log            *slog.Logger
}

// The paths that the OpenID provider must know.
const (
	CallbackPath       = "/auth/callback"
	LogoutCallbackPath = "/auth/logout/callback"
)

// Mount adds the pages to mux.
func (s *SignIn) Mount(mux *http.ServeMux) {
	// Nobody else's page signs people out, not even one of a trusted origin: those have no business with the cookie.
	protect, err := auth.ProtectOrigin(nil)
	if err != nil {
		panic(err) // only for a malformed origin, and there is none
	}
	mux.HandleFunc("GET /auth/login", s.login)
	mux.HandleFunc("GET "+CallbackPath, s.callback)
	mux.Handle("POST /auth/logout", protect(http.HandlerFunc(s.logout)))
	mux.HandleFunc("GET "+LogoutCallbackPath, func(w http.ResponseWriter, r *http.Request) { redirect(w, r, s.home()) })
}

func (s *SignIn) home() string { return strings.TrimSuffix(s.PublicURL, "/") + "/" }

func (s *SignIn) secure() bool { return strings.HasPrefix(s.PublicURL, "https://") }

// flow is one sign-in on its way.
type flow struct {
	jwt.RegisteredClaims
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	ReturnTo string `json:"return_to"`
	Silent   bool   `json:"silent,omitempty"`
	// Again is whether it replaces one that the provider gave up.
	Again bool `json:"again,omitempty"`
}

const (
	// flowAge is how long somebody may take to sign in at the provider.
	flowAge = 10 * time.Minute
	// flowSlots is how many sign-ins of one browser go on side by side, in several tabs. Each has a cookie; more would make
	// requests too large for some proxies.
	flowSlots = 4
	// maxFlows bounds the values of these cookies together, in bytes. Proxies take 8 kB for all cookies and often for all
	// headers.
	maxFlows = 4 << 10
)

// flowCookie is the name of the cookie of a slot, which is the first character of the state.
func flowCookie(slot byte) string { return "usher_signin_" + string(rune(slot)) }

func (s *SignIn) login(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	s.begin(w, r, &flow{
		ReturnTo: ReturnAddress(query.Get("return_to"), s.PublicURL, s.AllowedOrigins),
		Silent:   query.Get("silent") == "true",
	})
}

// begin sends the browser to the provider.
func (s *SignIn) begin(w http.ResponseWriter, r *http.Request, f *flow) {
	f.State, f.Nonce, f.Verifier = string(rune(s.freeSlot(r)))+randomText(), randomText(), randomText()
	f.ExpiresAt = jwt.NewNumericDate(time.Now().Add(flowAge))
	if s.Provider == nil {
		s.fail(w, r, f, errSignInOff)
		return
	}
	prefix := auth.AddressPrefix(auth.ClientAddress(r, s.TrustedProxies))
	if err := s.Limiter.Allow(r.Context(), ratelimit.Call{Limit: s.Limit, Key: prefix}); err != nil {
		// Not passed over when silent: a page that goes round in circles has to stop somewhere.
		s.page(w, r, pageOf(err), f.ReturnTo)
		return
	}
	address, err := s.Provider.AuthorizationURL(r.Context(), AuthorizationRequest{
		State: f.State, Nonce: f.Nonce, Verifier: f.Verifier, Silent: f.Silent,
	})
	if err != nil {
		s.fail(w, r, f, err)
		return
	}
	value, err := s.Keys.Sign(auth.PurposeSignIn, f)
	if err != nil {
		s.fail(w, r, f, err)
		return
	}
	s.makeRoom(w, r, f.State[0], maxFlows-len(value))
	http.SetCookie(w, auth.NewCookie(flowCookie(f.State[0]), value, flowAge, s.secure()))
	redirect(w, r, address)
}

// makeRoom removes cookies of other sign-ins of this browser, so that the rest has no more than the given number of bytes.
// Who goes on in the tab of a removed one is told to begin anew.
func (s *SignIn) makeRoom(w http.ResponseWriter, r *http.Request, mine byte, left int) {
	for slot := byte('0'); slot < '0'+flowSlots; slot++ {
		name := flowCookie(slot)
		kept, err := r.Cookie(auth.PrefixedCookieName(name, s.secure()))
		if err != nil || slot == mine {
			continue
		}
		if len(kept.Value) > left {
			http.SetCookie(w, auth.NewCookie(name, "", auth.RemovedCookieAge, s.secure()))
			continue
		}
		left -= len(kept.Value)
	}
}

// freeSlot is a slot whose cookie the browser does not have, or else any.
func (s *SignIn) freeSlot(r *http.Request) byte {
	for slot := byte('0'); slot < '0'+flowSlots; slot++ {
		if _, err := r.Cookie(auth.PrefixedCookieName(flowCookie(slot), s.secure())); err != nil {
			return slot
		}
	}
	var random [1]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return '0' + random[0]%flowSlots
}

func (s *SignIn) callback(w http.ResponseWriter, r *http.Request) {
	f, err := s.takeFlow(w, r)
	if err != nil || s.Provider == nil {
		s.page(w, r, pageOf(errors.Join(errOtherBrowser, err)), s.home())
		return
	}
	switch err := s.finish(w, r, f); {
	case errors.Is(err, errLoginTimedOut) && !f.Again:
		s.begin(w, r, &flow{ReturnTo: f.ReturnTo, Silent: f.Silent, Again: true})
	case err != nil:
		s.fail(w, r, f, err)
	default:
		redirect(w, r, f.ReturnTo)
	}
}

// takeFlow returns the sign-in that a callback belongs to and uses it up.
func (s *SignIn) takeFlow(w http.ResponseWriter, r *http.Request) (*flow, error) {
	state := r.URL.Query().Get("state")
	if state == "" || state[0] < '0' || state[0] >= '0'+flowSlots {
		return nil, errOtherBrowser
	}
	name := flowCookie(state[0])
	kept, err := r.Cookie(auth.PrefixedCookieName(name, s.secure()))
	if err != nil {
		return nil, errOtherBrowser
	}
	var f flow
	if err := s.Keys.Verify(auth.PurposeSignIn, kept.Value, &f); err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) != 1 {
		return nil, errOtherBrowser
	}
	http.SetCookie(w, auth.NewCookie(name, "", auth.RemovedCookieAge, s.secure()))
	return &f, nil
}

// finish turns the answer of the provider into a session.
func (s *SignIn) finish(w http.ResponseWriter, r *http.Request, f *flow) error {
	ctx, query := r.Context(), r.URL.Query()
	if refusal := query.Get("error"); refusal != "" {
		return providerRefusal(refusal, query.Get("error_description"))
	}
	identity, err := s.Provider.Exchange(ctx, query.Get("code"), f.Verifier, f.Nonce)
	if err != nil {
		return err
	}
	if len(identity.Unread) > 0 {
		s.Log.WarnContext(ctx, "claims of the OpenID provider have a wrong JSON type and are ignored", "claims", identity.Unread)
	}
	u, err := s.Accounts.SignIn(ctx, identity.Claims)
	if err != nil {
		return err
	}
	if old, ok := auth.SessionToken(r, s.secure()); ok {
		if _, err := s.Sessions.End(ctx, old); err != nil && !errors.Is(err, auth.ErrSessionEnded) {
			return err
		}
	}
	token, err := s.Sessions.Create(ctx, u.ID, identity.IDToken)
	if err != nil {
		return err
	}
	http.SetCookie(w, s.Sessions.Cookie(token, s.secure()))
	s.Log.InfoContext(ctx, "signed in", "user", u.ID, "silent", f.Silent)
	return nil
}

// fail answers a sign-in that came to nothing. A silent one returns as if nothing had been tried.
func (s *SignIn) fail(w http.ResponseWriter, r *http.Request, f *flow, err error) {
	p := pageOf(err)
	if p.status >= http.StatusInternalServerError {
		s.Log.ErrorContext(r.Context(), "sign-in failed", "err", err)
	} else {
		s.Log.InfoContext(r.Context(), "sign-in refused", "err", err, "silent", f.Silent)
	}
	if f.Silent {
		redirect(w, r, f.ReturnTo)
		return
	}
	s.page(w, r, p, f.ReturnTo)
}

// logout ends the session of the browser, or with everywhere=true all sessions of its user, and then sends it on to the
// provider, which may have one of its own.
func (s *SignIn) logout(w http.ResponseWriter, r *http.Request) {
	ctx, atProvider := r.Context(), ""
	if token, ok := auth.SessionToken(r, s.secure()); ok {
		ended, err := s.Sessions.End(ctx, token)
		if err == nil && r.URL.Query().Get("everywhere") == "true" {
			err = s.Sessions.EndAll(ctx, ended.UserID)
		}
		if err != nil && !errors.Is(err, auth.ErrSessionEnded) {
			s.Log.ErrorContext(ctx, "sign-out failed", "err", err)
			s.page(w, r, signOutFailed, s.home())
			return
		}
		if err == nil {
			s.Log.InfoContext(ctx, "signed out", "user", ended.UserID)
			atProvider = s.endSessionURL(r, ended.IDToken)
		}
	}
	http.SetCookie(w, auth.EndCookie(s.secure()))
	if atProvider != "" {
		s.passOn(w, r, atProvider)
		return
	}
	redirect(w, r, s.home())
}

// endSessionURL is empty where there is nothing to sign out of.
func (s *SignIn) endSessionURL(r *http.Request, idToken string) string {
	if s.Provider == nil || idToken == "" {
		return ""
	}
	address, ok := s.Provider.EndSessionURL(r.Context(), idToken)
	if !ok {
		return ""
	}
	return address
}

// redirect sends the browser on by GET. The address it leaves, with its codes, is told to nobody.
func redirect(w http.ResponseWriter, r *http.Request, address string) {
	privateHeaders(w.Header())
	http.Redirect(w, r, address, http.StatusSeeOther) //nolint:gosec // of ReturnAddress, or of the provider
}

func privateHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// randomText is 256 random bits, as PKCE verifiers are written too (RFC 7636, section 4.1).
func randomText() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(random[:])
}
