package mail

import (
	"cmp"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/mailbox"
)

// newSender is a sender to a server on loopback.
func newSender(t *testing.T, s *testenv.SMTPServer, change ...func(*Config)) *Sender {
	t.Helper()
	c := Config{
		Host: "127.0.0.1", Port: s.Port, TLS: TLSNone, From: "meet@usher.example", FromName: "Usher", Timeout: 10 * time.Second, PerDomain: 5,
	}
	for _, f := range change {
		f(&c)
	}
	sender, err := NewSender(c)
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

func testMessage() *Message {
	return &Message{
		ID: uuid.NewString(), To: "ada@people.example", Subject: "Übung – “test”", Text: "Hallo\n", HTML: "<p>Hallo</p>",
		Language: "de", Date: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Stop: "https://meet.example/-/mail/stop/test",
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	server := testenv.SMTP(t, mailcatcher.Options{})
	m := testMessage()
	if err := newSender(t, server).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	caught := server.Wait(1)[0]
	if caught.From != "meet@usher.example" || caught.To != string(m.To) {
		t.Errorf("envelope from %s to %s", caught.From, caught.To)
	}
	p, err := caught.Read()
	if err != nil {
		t.Fatal(err)
	}
	if p.Subject != m.Subject || strings.TrimSpace(p.Text) != "Hallo" || p.HTML != m.HTML {
		t.Errorf("got %q, %q, %q", p.Subject, p.Text, p.HTML)
	}
	for name, want := range map[string]string{
		"Message-Id": "<" + m.ID + "@usher.example>", "To": "<ada@people.example>", "From": `"Usher" <meet@usher.example>`,
		"List-Unsubscribe": "<" + m.Stop + ">", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "Auto-Submitted": "auto-generated",
		"Content-Language": "de", "Date": "Sun, 22 Nov 2026 12:00:00 +0000", "X-Mailer": "", "User-Agent": "", "Cc": "", "Bcc": "",
	} {
		if got := p.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestSend_tls(t *testing.T) {
	t.Parallel()
	config, ca := testenv.Certificate(t, "127.0.0.1")
	otherConfig, _ := testenv.Certificate(t, "127.0.0.1")
	nameConfig, nameCA := testenv.Certificate(t, "mail.example")
	for _, tt := range []struct {
		name    string
		server  mailcatcher.Options
		mode    TLSMode
		ca      string
		user    string
		wantErr string
	}{
		{name: "STARTTLS", server: mailcatcher.Options{TLS: config}, mode: TLSStart, ca: ca},
		{name: "TLS from the first byte", server: mailcatcher.Options{TLS: config, Implicit: true}, mode: TLSImplicit, ca: ca},
		{name: "STARTTLS with a password", server: mailcatcher.Options{TLS: config, Username: "usher", Password: "test-password"}, mode: TLSStart, ca: ca, user: "usher"},
		{name: "TLS with a password", server: mailcatcher.Options{TLS: config, Implicit: true, Username: "usher", Password: "test-password"}, mode: TLSImplicit, ca: ca, user: "usher"},
		{name: "a password on loopback", server: mailcatcher.Options{Username: "usher", Password: "test-password"}, mode: TLSNone, user: "usher"},
		{name: "a wrong password", server: mailcatcher.Options{TLS: config, Username: "usher", Password: "test-other"}, mode: TLSStart, ca: ca, user: "usher", wantErr: "signing in failed"},
		{name: "no password where one is needed", server: mailcatcher.Options{TLS: config, Username: "usher", Password: "test-password"}, mode: TLSStart, ca: ca, wantErr: "MAIL FROM"},
		{name: "OAuth only", server: mailcatcher.Options{TLS: config, Username: "usher", Mechanisms: []string{"XOAUTH2", "OAUTHBEARER"}}, mode: TLSStart, ca: ca, user: "usher", wantErr: "no way to sign in with a password"},
		{name: "sign-in is not offered", server: mailcatcher.Options{TLS: config}, mode: TLSStart, ca: ca, user: "usher", wantErr: "no way to sign in with a password"},
		{name: "STARTTLS is not offered", mode: TLSStart, wantErr: "does not offer STARTTLS"},
		{name: "an unknown authority", server: mailcatcher.Options{TLS: otherConfig}, mode: TLSStart, ca: ca, wantErr: "certificate cannot be verified"},
		{name: "an unknown authority, from the first byte", server: mailcatcher.Options{TLS: otherConfig, Implicit: true}, mode: TLSImplicit, ca: ca, wantErr: "certificate cannot be verified"},
		{name: "a certificate for another name", server: mailcatcher.Options{TLS: nameConfig}, mode: TLSStart, ca: nameCA, wantErr: "for another name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := testenv.SMTP(t, tt.server)
			sender := newSender(t, server, func(c *Config) {
				c.TLS, c.CAFile, c.Username = tt.mode, tt.ca, tt.user
				if tt.user != "" {
					c.Password = "test-password"
				}
			})
			err := sender.Send(t.Context(), testMessage())
			if tt.wantErr != "" {
				if !errors.Is(err, letter.ErrUnavailable) || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("Send: %v, want unavailable with %q", err, tt.wantErr)
				}
				if n := len(server.Mails()); n != 0 {
					t.Errorf("%d messages came, want none", n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := sender.Check(t.Context()); err != nil {
				t.Errorf("Check: %v", err)
			}
			m := server.Wait(1)[0]
			if m.TLS != (tt.mode != TLSNone) || m.User != tt.user {
				t.Errorf("came with TLS %v from %q, want %v from %q", m.TLS, m.User, tt.mode != TLSNone, tt.user)
			}
		})
	}
}

// SMTPUTF8 is asked for when an address needs it and not otherwise: some servers pass on such a message to none that does not
// have it.
func TestSend_utf8(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		from, to mailbox.Address
		ascii    bool
		utf8     bool
		// refused is the enhanced code with which the letter is refused for good; unavailable is for the moment.
		refused     string
		unavailable bool
	}{
		{name: "ASCII"},
		{name: "ASCII at a server without it", ascii: true},
		{name: "a recipient", to: "josé@people.example", utf8: true},
		{name: "a sender", from: "grüße@usher.example", utf8: true},
		{name: "a recipient at a server without it", to: "josé@people.example", ascii: true, refused: "5.6.7"},
		{name: "a sender at a server without it", from: "grüße@usher.example", ascii: true, unavailable: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := testenv.SMTP(t, mailcatcher.Options{ASCII: tt.ascii})
			m := testMessage()
			m.To = cmp.Or(tt.to, m.To)
			err := newSender(t, server, func(c *Config) { c.From = cmp.Or(tt.from, c.From) }).Send(t.Context(), m)
			refusal, _ := errors.AsType[*letter.RefusedError](err)
			switch {
			case tt.refused != "" && (refusal == nil || refusal.Code != 553 || refusal.Enhanced != tt.refused):
				t.Errorf("Send: %v, want a refusal with 553 %s", err, tt.refused)
			case tt.unavailable && (!errors.Is(err, letter.ErrUnavailable) || !strings.Contains(err.Error(), "SMTPUTF8")):
				t.Errorf("Send: %v, want unavailable for want of SMTPUTF8", err)
			case tt.refused == "" && !tt.unavailable && err != nil:
				t.Errorf("Send: %v", err)
			case err != nil:
				if n := len(server.Mails()); n != 0 {
					t.Errorf("%d messages came, want none", n)
				}
			default:
				if got := server.Wait(1)[0].UTF8; got != tt.utf8 {
					t.Errorf("SMTPUTF8 was asked for: %t, want %t", got, tt.utf8)
				}
			}
		})
	}
}

func TestNewSender_noTLSElsewhere(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{"127.0.0.1": true, "localhost": true, "::1": true, "mail.example": false, "10.0.0.1": false} {
		_, err := NewSender(Config{Host: host, Port: 25, TLS: TLSNone, From: "meet@usher.example"})
		if got := err == nil; got != want {
			t.Errorf("%s without TLS: %v, want %v", host, err, want)
		}
	}
}

// What is for good, what is for the moment, and what nobody knows.
func TestSend_answers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		stage  mailcatcher.Stage
		answer error
		// refused is the code for good; 0: for the moment.
		refused int
		// arrived is whether the message is there all the same.
		arrived bool
	}{
		{name: "no such mailbox", stage: mailcatcher.To, answer: mailcatcher.Refuse(550, [3]int{5, 1, 1}), refused: 550},
		{name: "mailbox full", stage: mailcatcher.To, answer: mailcatcher.Refuse(452, [3]int{4, 2, 2})},
		{name: "grey-listed", stage: mailcatcher.To, answer: mailcatcher.Refuse(451, [3]int{4, 7, 1})},
		{name: "content refused", stage: mailcatcher.Data, answer: mailcatcher.Refuse(554, [3]int{5, 7, 1}), refused: 554},
		{name: "content for later", stage: mailcatcher.Data, answer: mailcatcher.Refuse(451, [3]int{4, 3, 0})},
		{name: "sender refused", stage: mailcatcher.From, answer: mailcatcher.Refuse(550, [3]int{5, 7, 1})},
		{name: "hung up on the recipient", stage: mailcatcher.To, answer: mailcatcher.ErrHangUp},
		{name: "hung up after the message", stage: mailcatcher.Data, answer: mailcatcher.ErrHangUp},
		{name: "hung up after taking the message", stage: mailcatcher.Data, answer: mailcatcher.ErrTakeAndHangUp, arrived: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := testenv.SMTP(t, mailcatcher.Options{Answer: func(stage mailcatcher.Stage, _ string) error {
				if stage == tt.stage {
					return tt.answer
				}
				return nil
			}})
			err := newSender(t, server).Send(t.Context(), testMessage())
			refusal, refused := errors.AsType[*letter.RefusedError](err)
			switch {
			case tt.refused == 0 && !errors.Is(err, letter.ErrUnavailable):
				t.Errorf("Send: %v, want unavailable", err)
			case tt.refused != 0 && (!refused || refusal.Code != tt.refused || refusal.Enhanced == ""):
				t.Errorf("Send: %v, want a refusal with %d and an enhanced code", err, tt.refused)
			case strings.Contains(err.Error(), "@"):
				t.Errorf("the error holds an address: %v", err)
			}
			if got := len(server.Mails()) == 1; got != tt.arrived {
				t.Errorf("arrived %v, want %v", got, tt.arrived)
			}
		})
	}
}

func TestSend_unreachable(t *testing.T) {
	t.Parallel()
	server := testenv.SMTP(t, mailcatcher.Options{})
	server.Stop()
	if err := newSender(t, server).Send(t.Context(), testMessage()); !errors.Is(err, letter.ErrUnavailable) {
		t.Errorf("Send: %v, want unavailable", err)
	}
	if err := newSender(t, server).Check(t.Context()); !errors.Is(err, letter.ErrUnavailable) {
		t.Errorf("Check: %v, want unavailable", err)
	}
}

// A server that is silent is left when the time is over, not when it speaks again.
func TestSend_silentServer(t *testing.T) {
	t.Parallel()
	speak := make(chan struct{})
	server := testenv.SMTP(t, mailcatcher.Options{Answer: func(mailcatcher.Stage, string) error { <-speak; return nil }})
	t.Cleanup(func() { close(speak) })
	err := newSender(t, server, func(c *Config) { c.Timeout = 200 * time.Millisecond }).Send(t.Context(), testMessage())
	if !errors.Is(err, letter.ErrUnavailable) {
		t.Errorf("Send: %v, want unavailable", err)
	}
}

// Five letters to one domain at a time, and the others are not kept waiting.
func TestSend_perDomain(t *testing.T) {
	t.Parallel()
	var busy atomic.Int32
	speak := make(chan struct{})
	server := testenv.SMTP(t, mailcatcher.Options{Answer: func(stage mailcatcher.Stage, address string) error {
		if stage == mailcatcher.To && strings.HasSuffix(address, "@slow.example") {
			busy.Add(1)
			<-speak
		}
		return nil
	}})
	sender := newSender(t, server)
	to := func(address string) *Message {
		m := testMessage()
		m.To = mailbox.Address(address)
		return m
	}
	ended := make(chan error, 5)
	for range 5 {
		go func() { ended <- sender.Send(t.Context(), to("ada@slow.example")) }()
	}
	for deadline := time.Now().Add(20 * time.Second); busy.Load() < 5; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d letters on their way, want 5", busy.Load())
		}
	}
	if err := sender.Send(t.Context(), to("grace@SLOW.example")); !errors.Is(err, letter.ErrBusy) {
		t.Errorf("the sixth: %v, want busy", err)
	}
	if err := sender.Send(t.Context(), to("grace@quick.example")); err != nil {
		t.Errorf("another domain: %v", err)
	}
	close(speak)
	for range 5 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := sender.Send(t.Context(), to("grace@slow.example")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// hostile are names that try to be more than names.
var hostile = []string{
	"Eve\r\nBcc: victim@people.example", "Eve\nX-Injected: 1", "Eve\rX-Injected: 1", "Eve\u2028X-Injected: 1",
	"<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "{{.Brand}}", "=?utf-8?q?x?=\r\nX-Injected: 1", "a\x00b",
	"Eve\u202egnp.exe", strings.Repeat("x", 5000), "BEGIN:VEVENT\r\nEND:VEVENT", `Eve";X-INJECTED=1:mailto:eve`,
}

func TestHeaderInjection(t *testing.T) {
	t.Parallel()
	server := testenv.SMTP(t, mailcatcher.Options{})
	for _, name := range hostile {
		mailer := &Mailer{Sender: newSender(t, server), Branding: &usherv1.Branding{Name: name}, Languages: []string{"en"}}
		l := exampleInvitation()
		l.Inviter, l.Room, l.Message = name, name, name
		before := len(server.Mails())
		if err := mailer.Invitation(t.Context(), l); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		m := server.Wait(before + 1)[before]
		p, err := m.Read()
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		for header := range p.Header {
			if strings.HasPrefix(header, "X-") || header == "Bcc" || header == "Cc" {
				t.Errorf("%q made the header %s", name, header)
			}
		}
		if got := len(p.Header["To"]); got != 1 {
			t.Errorf("%q: %d To headers, want 1", name, got)
		}
		for _, bad := range []string{"<script", "<img src=x"} {
			if strings.Contains(p.HTML, bad) {
				t.Errorf("%q: HTML has %s", name, bad)
			}
		}
		if len([]rune(p.Subject)) > maxSubject || strings.ContainsAny(p.Subject, "\r\n\x00\u202e\u2028") {
			t.Errorf("%q: subject %q", name, p.Subject)
		}
		if n := len(parseCalendar(t, p.Calendar).Events()); n != 1 || strings.Contains(p.Calendar, "\nX-INJECTED") {
			t.Errorf("%q: %d events in\n%s", name, n, p.Calendar)
		}
	}
	for _, address := range []string{
		"", "nobody", "a@b@c", "a b@people.example", "a@people.example\r\nBcc: b@people.example", "a@people.example>\r\nDATA",
		"Eve <eve@people.example>", "a@people.example,b@people.example",
	} {
		m := testMessage()
		m.To = mailbox.Address(address)
		if _, ok := errors.AsType[*letter.RefusedError](newSender(t, server).Send(t.Context(), m)); !ok {
			t.Errorf("%q was sent to", address)
		}
	}
}
