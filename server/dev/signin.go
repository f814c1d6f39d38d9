package dev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/user"
	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/signin"
	"github.com/usher-meet/usher/server/text"
)

// subPrefix begins the sub of everybody who signs in here.
const subPrefix = "dev:"

// domain of their addresses: reserved, so that no mail ever gets anywhere (RFC 6761, section 6.4).
const domain = "example.test"

// developer is whose token the welcome and the front page show.
const developer = "Developer"

// shownPeople is how many of them the sign-in page offers.
const shownPeople = 24

// people is the development sign-in: whoever asks is who they say.
type people struct {
	config *settings.Config

	parts server.SignInParts

	mu     sync.Mutex
	token  string
	expire time.Time
}

// handler serves /auth/. The server calls it once, before it is ready.
func (p *people) handler(parts server.SignInParts) http.Handler {
	p.parts = parts
	mux := http.NewServeMux()
	mux.HandleFunc("GET /auth/login", p.page)
	mux.HandleFunc("POST /auth/login", p.signIn)
	mux.HandleFunc("POST /auth/logout", p.signOut)
	mux.HandleFunc("/auth/", func(w http.ResponseWriter, _ *http.Request) {
		showPage(w, http.StatusNotFound, p.config, pageData{Title: "Not found", Message: "There is nothing at this address."})
	})
	return guard(p.config, http.NewCrossOriginProtection().Handler(mux))
}

// page offers the people who signed in before, and a new name.
func (p *people) page(w http.ResponseWriter, r *http.Request) {
	returnTo := r.URL.Query().Get("return_to")
	if r.URL.Query().Get("silent") == "true" {
		// Nobody is signed in without a click, and a silent sign-in that fails is no error.
		http.Redirect(w, r, p.returnAddress(returnTo), http.StatusSeeOther) //nolint:gosec // ours or an allowed origin
		return
	}
	known, err := p.parts.DB.Read.User.Query().
		Where(user.SubHasPrefix(subPrefix), user.Active(true)).
		Order(ent.Asc(user.FieldFullName), ent.Asc(user.FieldID)).Limit(shownPeople).All(r.Context())
	if err != nil {
		p.fail(w, r, err)
		return
	}
	data := pageData{Title: "Sign in", SignIn: true, ReturnTo: returnTo}
	for _, u := range known {
		data.People = append(data.People, u.FullName)
	}
	showPage(w, http.StatusOK, p.config, data)
}

// signIn makes a session for the name in the form.
func (p *people) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	name := text.Clean(r.PostFormValue("name"), text.MaxPersonName)
	returnTo := r.PostFormValue("return_to")
	if name == "" {
		showPage(w, http.StatusBadRequest, p.config, pageData{
			Title: "Sign in", SignIn: true, ReturnTo: returnTo, Message: "Type a name, or pick one.",
		})
		return
	}
	u, err := p.find(r.Context(), name)
	if errors.Is(err, auth.ErrAccountInactive) {
		showPage(w, http.StatusForbidden, p.config, pageData{
			Title: "Sign in", SignIn: true, ReturnTo: returnTo,
			Message: "This account was deactivated. `usher user reactivate` brings it back.",
		})
		return
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	token, err := p.parts.Sessions.Create(r.Context(), u.ID, "")
	if err != nil {
		p.fail(w, r, err)
		return
	}
	if old, err := r.Cookie(p.cookieName()); err == nil {
		// The session before is nobody's any more. Should that fail, it ends by itself.
		_, _ = p.parts.Sessions.End(r.Context(), old.Value)
	}
	http.SetCookie(w, p.parts.Sessions.Cookie(token, p.secure()))
	http.Redirect(w, r, p.returnAddress(returnTo), http.StatusSeeOther) //nolint:gosec // ours or an allowed origin
}

// signOut ends this session, or with everywhere=true all of its user's.
func (p *people) signOut(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(p.cookieName()); err == nil {
		ended, err := p.parts.Sessions.End(r.Context(), cookie.Value)
		if err == nil && r.FormValue("everywhere") == "true" {
			err = p.parts.Sessions.EndAll(r.Context(), ended.UserID)
		}
		if err != nil && !errors.Is(err, auth.ErrSessionEnded) {
			p.fail(w, r, err)
			return
		}
	}
	http.SetCookie(w, auth.EndCookie(p.secure()))
	http.Redirect(w, r, p.config.PublicURL+"/", http.StatusSeeOther)
}

// find returns the account of a name, and makes it the first time. Names that differ in case, accents or punctuation only
// are one person.
func (p *people) find(ctx context.Context, name string) (*ent.User, error) {
	key := text.Slug(name)
	if key == "" {
		// A name of other letters than ours.
		sum := sha256.Sum256([]byte(text.Key(name)))
		key = "person-" + hex.EncodeToString(sum[:4])
	}
	u, err := p.parts.DB.Read.User.Query().Where(user.Sub(subPrefix + key)).Only(ctx)
	if err == nil && u.Active {
		return u, nil
	}
	if err != nil && !ent.IsNotFound(err) {
		return nil, fmt.Errorf("find user: %w", err)
	}
	s := &accounts.Accounts{DB: p.parts.DB, CreateUsers: true, Log: p.parts.Log}
	short, _, _ := strings.Cut(name, " ")
	// The part before the @ has at most 64 characters (RFC 5321, section 4.5.3.1.1).
	return s.SignIn(ctx, accounts.Claims{
		Sub: subPrefix + key, Email: mailbox.Address(key[:min(len(key), 64)] + "@" + domain), EmailVerified: true,
		FullName: name, ShortName: short,
	})
}

// signedIn is who the browser's session belongs to; nil for nobody.
func (p *people) signedIn(r *http.Request) *ent.User {
	cookie, err := r.Cookie(p.cookieName())
	if err != nil {
		return nil
	}
	session, err := p.parts.Sessions.Lookup(r.Context(), cookie.Value)
	if err != nil {
		return nil
	}
	u, err := p.parts.DB.Read.User.Get(r.Context(), session.UserID)
	if err != nil || !u.Active {
		return nil
	}
	return u
}

// developerToken is an API token of the developer with all scopes, good for an hour or more. It fails with
// [auth.ErrAccountInactive] while somebody tries out what happens without that account.
func (p *people) developerToken(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Until(p.expire) > time.Hour {
		return p.token, nil
	}
	u, err := p.find(ctx, developer)
	if err != nil {
		return "", fmt.Errorf("token of the developer: %w", err)
	}
	tokens := &auth.APITokens{DB: p.parts.DB, Keys: p.parts.Keys}
	token, row, err := tokens.Create(ctx, auth.CreateAPITokenParams{
		UserID: u.ID, Name: "usher dev", Scopes: apiScopes, ExpireTime: time.Now().Add(tokenLife),
	})
	if err != nil {
		return "", fmt.Errorf("token of the developer: %w", err)
	}
	p.token, p.expire = token, row.ExpireTime
	return token, nil
}

func (p *people) returnAddress(asked string) string {
	return signin.ReturnAddress(asked, p.config.PublicURL, p.config.AllowedOrigins)
}

// secure is whether people come by https, which browsers tell cookies apart by.
func (p *people) secure() bool { return strings.HasPrefix(p.config.PublicURL, "https://") }

func (p *people) cookieName() string { return auth.CookieName(p.secure()) }

func (p *people) fail(w http.ResponseWriter, r *http.Request, err error) {
	p.parts.Log.ErrorContext(r.Context(), "development sign-in", "error", err.Error())
	showPage(w, http.StatusInternalServerError, p.config, pageData{
		Title: "That did not work", Message: "The log in the terminal says why.",
	})
}
