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
)

// errorCode is the form of the error codes of RFC 6749, section 4.1.2.1. What comes in the address can be anything.
var errorCode = regexp.MustCompile(`^[a-z_]{1,64}$`)

// providerRefusal is the error that the provider sent the browser back with.
func providerRefusal(code string) error {
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
<title>{{.Title}}</title>
<style>{{.Style}}</style>
</head>
<body>
<header></header>
<main class="page message">
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{if .Again}}<a class="button primary" href="{{.Link}}">{{.Again}}</a>
{{end}}</main>
</body>
</html>
`))
)

func (s *SignIn) page(w http.ResponseWriter, r *http.Request, p errorPage, returnTo string) {
	speaker := sentences.Localizer(i18n.Match(nil, i18n.Accepted(r.Header.Get("Accept-Language"))...), nil)
	data := struct {
		Language, Title, Text, Again, Link string
		Style                              template.CSS
	}{
		Language: speaker.Language, Title: speaker.Text(p.name + ".title"), Text: speaker.Text(p.name + ".text"),
		Link: "/auth/login?" + url.Values{"return_to": {returnTo}}.Encode(), Style: signInStyle.CSS,
	}
	if p.again {
		data.Again = speaker.Text("again")
	}
	h := w.Header()
	privateHeaders(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", speaker.Language)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+signInStyle.Source+
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	w.WriteHeader(p.status)
	if err := errors.Join(speaker.Err(), signInTemplate.Execute(w, data)); err != nil {
		s.Log.DebugContext(r.Context(), "page not written", "err", err) // the browser is gone
	}
}
