package dev

import (
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/settings"
)

const (
	// mailPath is where caught mail is shown.
	mailPath = "/-/development/mail"
	// keptMails is how many letters are kept.
	keptMails = 200
	// mailFrom sends, to nobody but this process.
	mailFrom = "usher@development.test"
)

// startMail starts a mail server that delivers nothing, on a port of its own.
func startMail() (*mailcatcher.Catcher, int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
	if err != nil {
		return nil, 0, fmt.Errorf("start the mail catcher: %w", err)
	}
	return mailcatcher.Serve(l, mailcatcher.Options{Keep: keptMails}), l.Addr().(*net.TCPAddr).Port, nil
}

// inbox shows what was caught.
type inbox struct {
	config *settings.Config
	mail   *mailcatcher.Catcher
}

// mailLink is a letter in the list, and shownMail one that is open.
type mailLink struct{ Number, To, Subject, Time string }

type shownMail struct {
	mailLink
	Text, Calendar string
}

func (b *inbox) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+mailPath, b.list)
	mux.HandleFunc("GET "+mailPath+"/{number}", b.show)
	mux.HandleFunc("GET "+mailPath+"/{number}/html", b.html)
	return guard(b.config, mux)
}

func (b *inbox) list(w http.ResponseWriter, _ *http.Request) {
	data := pageData{Title: "Mail", Mailbox: true}
	all := b.mail.Mails()
	for n := len(all) - 1; n >= 0; n-- {
		if p, err := all[n].Read(); err == nil {
			data.Mails = append(data.Mails, link(n, all[n], p))
		}
	}
	showPage(w, http.StatusOK, b.config, data)
}

func link(n int, m mailcatcher.Mail, p *mailcatcher.Parts) mailLink {
	return mailLink{Number: strconv.Itoa(n), To: m.To, Subject: p.Subject, Time: m.Time.Format("15:04:05")}
}

// find is the letter of the address, nil after an answer that there is none.
func (b *inbox) find(w http.ResponseWriter, r *http.Request) (int, *mailcatcher.Mail, *mailcatcher.Parts) {
	n, err := strconv.Atoi(r.PathValue("number"))
	all := b.mail.Mails()
	if err != nil || n < 0 || n >= len(all) {
		http.NotFound(w, r)
		return 0, nil, nil
	}
	p, err := all[n].Read()
	if err != nil {
		http.Error(w, "that letter cannot be read", http.StatusInternalServerError)
		return 0, nil, nil
	}
	return n, &all[n], p
}

func (b *inbox) show(w http.ResponseWriter, r *http.Request) {
	n, m, p := b.find(w, r)
	if m == nil {
		return
	}
	showPage(w, http.StatusOK, b.config, pageData{
		Title: "Mail", Mail: &shownMail{mailLink: link(n, *m, p), Text: p.Text, Calendar: p.Calendar},
	})
}

// html shows the letter as a mail program does: it runs nothing, and counts as a page of another site.
func (b *inbox) html(w http.ResponseWriter, r *http.Request) {
	_, m, p := b.find(w, r)
	if m == nil {
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "sandbox allow-popups allow-top-navigation-by-user-activation; default-src 'none'; "+
		"style-src 'unsafe-inline'; img-src https: http:; frame-ancestors 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(p.HTML)) // the client may have gone
}
