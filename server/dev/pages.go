package dev

import (
	"bytes"
	_ "embed" // the page
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/web/style"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
)

// pageData holds the texts of page.html.
type pageData struct {
	Title, Message string
	Style          template.CSS
	Mark           template.HTML

	// SignIn shows the form, with the names of People to pick from.
	SignIn   bool
	People   []string
	ReturnTo string

	// Front shows the front page, SignedIn with the name of who is.
	Front             bool
	SignedIn          string
	URL, Token        string
	Internal, LiveKit string
	Folder, Version   string
	Rooms             []roomLink

	// Mailbox shows the list of caught mail, and Mail one letter.
	Mailbox bool
	Mails   []mailLink
	Mail    *shownMail
}

// roomLink is a room on the front page.
type roomLink struct{ Name, Slug, Access string }

// showPage writes a page that runs no scripts, loads nothing, and cannot be framed.
func showPage(w http.ResponseWriter, status int, c *settings.Config, data pageData) {
	look := style.With(pageStyle, c.Branding.GetPrimaryColor())
	data.Style, data.Mark = look.CSS, style.Mark
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, data); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	// A form that is answered with a redirect to an allowed origin would stop there without these.
	actions := strings.Join(append([]string{"'self'"}, c.AllowedOrigins...), " ")
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+look.Source+"; form-action "+actions+
		"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: the browser would then hide the origin of the form too, and the sign-in would refuse it.
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may have gone
}

// guard refuses requests for other hosts than ours. A page of another site could otherwise have its name resolve to this
// machine and read what we show (DNS rebinding). Addresses in numbers are no names, and pass.
func guard(c *settings.Config, next http.Handler) http.Handler {
	public := ""
	if u, err := url.Parse(c.PublicURL); err == nil {
		public = u.Hostname()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		_, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil && host != "localhost" && host != public {
			http.Error(w, "usher dev answers at "+c.PublicURL+" only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
