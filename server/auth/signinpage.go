package auth

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"connectrpc.com/connect"

	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/look"
	"github.com/usher-meet/usher/server/ratelimit"
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
	status      int
	Title, Text string
	// Again offers to begin anew.
	Again bool
	// retryAfter is in seconds, 0 for none.
	retryAfter int
}

var signOutFailed = errorPage{
	status: http.StatusServiceUnavailable, retryAfter: 1, Title: "You may still be signed in",
	Text: "Your sessions could not all be ended because a part of this service does not answer. Go back and sign out again in a minute.",
}

// pages are what goes wrong and is somebody's own to mend, first match first.
var pages = []struct {
	err  error
	page errorPage
}{
	{errSignInOff, errorPage{
		status: http.StatusNotFound, Title: "Signing in is switched off",
		Text: "Nobody can sign in to this service. Rooms that are open to everybody work without.",
	}},
	{errOtherBrowser, errorPage{
		status: http.StatusBadRequest, Again: true, Title: "This sign-in cannot be finished",
		Text: "It was begun more than ten minutes ago, in another browser, or it was finished already. Begin again.",
	}},
	{errProviderError, errorPage{
		status: http.StatusForbidden, Again: true, Title: "You are not signed in",
		Text: "Your organisation's sign-in page refused, or you cancelled. Try again, or ask your organisation's help desk.",
	}},
	{errNoAccount, errorPage{
		status: http.StatusForbidden, Title: "You have no account here",
		Text: "Ask the people who run this service to make one for you.",
	}},
	{errManyAccounts, unclearAccount},
	{errSignInRefused, unclearAccount},
	{ErrAccountInactive, errorPage{
		status: http.StatusForbidden, Title: "Your account was deactivated", Text: "Ask the people who run this service why.",
	}},
	{ErrUnauthenticated, errorPage{
		status: http.StatusForbidden, Again: true, Title: "You are not signed in",
		Text: "What your organisation's sign-in page answered could not be verified. Begin again.",
	}},
	{ratelimit.ErrLimited, errorPage{
		status: http.StatusTooManyRequests, Again: true, retryAfter: 60, Title: "Too many sign-ins",
		Text: "Many people on your network are signing in. Wait a minute and try again.",
	}},
	{errProviderFault, unavailable},
}

var (
	unclearAccount = errorPage{
		status: http.StatusForbidden, Title: "Your account cannot be told",
		Text: "Ask the people who run this service to look at it: their log says why.",
	}
	unavailable = errorPage{
		status: http.StatusServiceUnavailable, Again: true, retryAfter: 1, Title: "Signing in does not work right now",
		Text: "A part that signing in needs does not answer. Try again in a minute.",
	}
	failed = errorPage{
		status: http.StatusInternalServerError, Again: true, Title: "Something went wrong",
		Text: "Try again. If it happens again, tell the people who run this service.",
	}
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
	signInStyle    = look.With("")
	signInTemplate = template.Must(template.New("sign-in").Parse(`<!doctype html>
<html lang="en">
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
{{if .Again}}<a class="button primary" href="{{.Link}}">Try again</a>
{{end}}</main>
</body>
</html>
`))
)

func (s *SignIn) page(w http.ResponseWriter, r *http.Request, p errorPage, returnTo string) {
	h := w.Header()
	privateHeaders(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+signInStyle.Source+
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	w.WriteHeader(p.status)
	link := "/auth/login?" + url.Values{"return_to": {returnTo}}.Encode()
	if err := signInTemplate.Execute(w, struct {
		errorPage
		Style template.CSS
		Link  string
	}{p, signInStyle.CSS, link}); err != nil {
		s.Log.DebugContext(r.Context(), "page not written", "err", err) // the browser is gone
	}
}
