package signin

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"connectrpc.com/connect"

	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/web/i18n"
	"github.com/usher-meet/usher/server/web/style"
)

// What goes wrong between a browser and the provider.
var (
	errSignInOff     = errors.New("nobody can sign in: no provider is set up")
	errOtherBrowser  = errors.New("the sign-in was not begun in this browser, or too long ago")
	errProviderError = errors.New("the provider refused")
	errProviderFault = errors.New("the provider failed")
	// errLoginTimedOut is one of the faults, too: the page at the provider stood open for too long.
	errLoginTimedOut = fmt.Errorf("%w: the login page timed out", errProviderFault)
)

// errorCode is the form of the error codes of RFC 6749, section 4.1.2.1. What comes in the address can be anything.
var errorCode = regexp.MustCompile(`^[a-z_]{1,64}$`)

// providerRefusal is the error that the provider sent the browser back with. Of descriptions, only Keycloak's for a login
// page that timed out is known.
func providerRefusal(code, description string) error {
	if code == "temporarily_unavailable" && description == "authentication_expired" {
		return errLoginTimedOut
	}
	if !errorCode.MatchString(code) {
		code = "unreadable"
	}
	switch code {
	case "server_error", "temporarily_unavailable":
		return fmt.Errorf("%w: %s", errProviderFault, code)
	}
	return fmt.Errorf("%w: %s", errProviderError, code)
}

// errorPage says what happened and what to do next, and holds nothing about anybody.
type errorPage struct {
	// name is that of its sentences, in translations/.
	name   string
	status int
	// again offers to begin anew.
	again bool
	// retryAfter is in seconds, 0 for none.
	retryAfter int
}

var signOutFailed = errorPage{name: "signedin", status: http.StatusServiceUnavailable, retryAfter: 1}

// pages are the errors that the person can mend; the first match counts.
var pages = []struct {
	err  error
	page errorPage
}{
	{errSignInOff, errorPage{name: "off", status: http.StatusNotFound}},
	{errOtherBrowser, errorPage{name: "unfinished", status: http.StatusBadRequest, again: true}},
	{errProviderError, errorPage{name: "refused", status: http.StatusForbidden, again: true}},
	{accounts.ErrNoAccount, errorPage{name: "none", status: http.StatusForbidden}},
	{accounts.ErrManyAccounts, unclearAccount},
	{accounts.ErrSignInRefused, unclearAccount},
	{auth.ErrAccountInactive, errorPage{name: "inactive", status: http.StatusForbidden}},
	{auth.ErrUnauthenticated, errorPage{name: "unverified", status: http.StatusForbidden, again: true}},
	{ratelimit.ErrLimited, errorPage{name: "many", status: http.StatusTooManyRequests, again: true, retryAfter: 60}},
	{errProviderFault, unavailable},
}

var (
	unclearAccount = errorPage{name: "unclear", status: http.StatusForbidden}
	unavailable    = errorPage{name: "unavailable", status: http.StatusServiceUnavailable, again: true, retryAfter: 1}
	failed         = errorPage{name: "failed", status: http.StatusInternalServerError, again: true}
)

func pageOf(err error) errorPage {
	for _, p := range pages {
		if errors.Is(err, p.err) {
			return p.page
		}
	}
	if fault.Connect(err).Code() == connect.CodeUnavailable {
		return unavailable
	}
	return failed
}

var (
	//go:embed translations/*.json
	translations embed.FS
	sentences    = i18n.Load(translations, "translations")

	signInStyle    = style.With("", "")
	signInTemplate = template.Must(template.New("sign-in").Parse(`<!doctype html>
<html lang="{{.Language}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{{with .Next}}<meta http-equiv="refresh" content="0;url={{.}}">
{{end}}<title>{{.Title}}</title>
<style>{{.Style}}</style>
</head>
<body>
<header></header>
<main class="page message">
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{if .Label}}<a class="button primary" href="{{.Link}}">{{.Label}}</a>
{{end}}</main>
</body>
</html>
`))
)

// content is what the template shows: a title, a sentence, and perhaps a button.
type content struct {
	Language, Title, Text, Label, Link string
	// Next is where the browser goes on to by itself.
	Next  string
	Style template.CSS
}

// page says what went wrong.
func (s *SignIn) page(w http.ResponseWriter, r *http.Request, p errorPage, returnTo string) {
	localizer := localizerFor(r)
	c := content{Link: "/auth/login?" + url.Values{"return_to": {returnTo}}.Encode()}
	if p.again {
		c.Label = localizer.Text("again")
	}
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	s.show(w, r, localizer, p.name, p.status, c)
}

// passOn is a page that sends the browser on. A redirect would do, but it answers a form, and browsers hold its address, and
// each that the provider redirects to in its turn, against form-action of the page with the form.
func (s *SignIn) passOn(w http.ResponseWriter, r *http.Request, address string) {
	localizer := localizerFor(r)
	c := content{Link: address, Next: address, Label: localizer.Text("continue")}
	s.show(w, r, localizer, "signedout", http.StatusOK, c)
}

func localizerFor(r *http.Request) *i18n.Localizer {
	return sentences.Localizer(i18n.Match(nil, i18n.Accepted(r.Header.Get("Accept-Language"))...), nil)
}

// show writes the page of that name.
func (s *SignIn) show(
	w http.ResponseWriter, r *http.Request, localizer *i18n.Localizer, name string, status int, c content,
) {
	c.Language, c.Title, c.Text = localizer.Language, localizer.Text(name+".title"), localizer.Text(name+".text")
	c.Style = signInStyle.CSS
	h := w.Header()
	privateHeaders(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", localizer.Language)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+signInStyle.Source+
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	if err := errors.Join(localizer.Err(), signInTemplate.Execute(w, c)); err != nil {
		s.Log.DebugContext(r.Context(), "page not written", "err", err) // the browser is gone
	}
}
