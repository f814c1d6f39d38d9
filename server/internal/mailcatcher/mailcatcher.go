// Package mailcatcher is a mail server in this process that keeps what it gets and delivers nothing: for `usher dev`, where
// mail can be looked at, and for tests, which can have it refuse, be slow, or hang up.
//
// It holds what it caught in memory, the latest first to stay. It is not a relay and must not be reached from elsewhere.
package mailcatcher

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Stage is where in the dialogue a [Catcher] is asked what to do.
type Stage string

// The stages: after MAIL FROM, after RCPT TO, and after the message came.
const (
	From Stage = "from"
	To   Stage = "to"
	Data Stage = "data"
)

var (
	// ErrHangUp ends the connection without an answer and forgets the message.
	ErrHangUp = errors.New("hang up")
	// ErrTakeAndHangUp ends the connection without an answer and keeps the message.
	ErrTakeAndHangUp = errors.New("take the message and hang up")
)

// Refuse is an answer such as 550 5.1.1.
func Refuse(code int, enhanced [3]int) error {
	return &smtp.SMTPError{
		Code:         code,
		EnhancedCode: enhanced,
		Message:      "No, and here is an address: <somebody@people.example>",
	}
}

// Mail is a message that was caught.
type Mail struct {
	From, To string
	Time     time.Time
	// TLS is whether it came over TLS, User who signed in, and UTF8 whether SMTPUTF8 was asked for.
	TLS  bool
	User string
	UTF8 bool
	Raw  []byte
}

// Options are how a [Catcher] behaves. All may be left out.
type Options struct {
	// TLS is offered with STARTTLS, or, if Implicit, spoken from the first byte.
	TLS      *tls.Config
	Implicit bool
	// Username and Password are asked for if they are set.
	Username, Password string
	// Mechanisms are the ways to sign in that are offered instead of PLAIN. None of them works.
	Mechanisms []string
	// ASCII has SMTPUTF8 not offered.
	ASCII bool
	// Keep is how many messages are kept; 0 for all.
	Keep int
	// Answer is asked at each stage what to do. nil goes on. It may take its time.
	Answer func(stage Stage, address string) error
}

// Catcher is a mail server.
type Catcher struct {
	options Options
	server  *smtp.Server
	// listener is closed by itself: the server does not know it before it serves.
	listener net.Listener
	served   chan struct{}

	mu          sync.Mutex
	caught      []Mail
	connections int
	changed     chan struct{}
}

// Serve catches mail on l until [Catcher.Close].
func Serve(l net.Listener, o Options) *Catcher {
	c := &Catcher{options: o, listener: l, served: make(chan struct{}), changed: make(chan struct{})}
	c.server = smtp.NewServer(smtp.BackendFunc(c.newSession))
	c.server.Domain = "catcher.test"
	c.server.AllowInsecureAuth = true
	c.server.EnableSMTPUTF8 = !o.ASCII
	c.server.MaxMessageBytes = 10 << 20
	c.server.ReadTimeout, c.server.WriteTimeout = time.Minute, time.Minute
	c.server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // it would name addresses
	if o.TLS != nil {
		if o.Implicit {
			l = tls.NewListener(l, o.TLS)
		} else {
			c.server.TLSConfig = o.TLS
		}
	}
	go func() {
		defer close(c.served)
		_ = c.server.Serve(l) // it ends with Close
	}()
	return c
}

// Close hangs up and ends.
func (c *Catcher) Close() {
	_ = c.listener.Close()
	_ = c.server.Close()
	<-c.served
}

// Mails are those that were caught, the latest last.
func (c *Catcher) Mails() []Mail {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.caught)
}

// Connections is how many were made.
func (c *Catcher) Connections() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connections
}

// Changed is closed when the next message has come.
func (c *Catcher) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *Catcher) keep(m Mail) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caught = append(c.caught, m)
	if over := len(c.caught) - c.options.Keep; c.options.Keep > 0 && over > 0 {
		c.caught = slices.Delete(c.caught, 0, over)
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Catcher) newSession(conn *smtp.Conn) (smtp.Session, error) {
	c.mu.Lock()
	c.connections++
	c.mu.Unlock()
	s := &session{catcher: c, conn: conn}
	if c.options.Username != "" {
		return &authSession{s}, nil
	}
	return s, nil
}

type session struct {
	catcher *Catcher
	conn    *smtp.Conn
	mail    Mail
	user    string
}

type authSession struct{ *session }

// AuthMechanisms implements smtp.AuthSession.
func (s *authSession) AuthMechanisms() []string {
	if offered := s.catcher.options.Mechanisms; offered != nil {
		return offered
	}
	return []string{sasl.Plain}
}

// Auth implements smtp.AuthSession.
func (s *authSession) Auth(mechanism string) (sasl.Server, error) {
	if mechanism != sasl.Plain {
		return nil, smtp.ErrAuthUnknownMechanism
	}
	return sasl.NewPlainServer(func(_, username, password string) error {
		o := s.catcher.options
		if username != o.Username || password != o.Password {
			return smtp.ErrAuthFailed
		}
		s.user = username
		return nil
	}), nil
}

func (s *session) ask(stage Stage, address string) error {
	if s.catcher.options.Answer == nil {
		return nil
	}
	err := s.catcher.options.Answer(stage, address)
	if errors.Is(err, ErrTakeAndHangUp) {
		// Before the client can know.
		s.catcher.keep(s.mail)
	}
	if errors.Is(err, ErrHangUp) || errors.Is(err, ErrTakeAndHangUp) {
		_ = s.conn.Conn().Close()
	}
	return err
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, options *smtp.MailOptions) error {
	if s.catcher.options.Username != "" && s.user == "" {
		return smtp.ErrAuthRequired
	}
	_, overTLS := s.conn.TLSConnectionState()
	s.mail = Mail{From: from, TLS: overTLS, User: s.user, UTF8: options != nil && options.UTF8}
	return s.ask(From, from)
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.To = to
	return s.ask(To, to)
}

// Data implements smtp.Session.
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.Raw, s.mail.Time = raw, time.Now()
	err = s.ask(Data, s.mail.To)
	if err == nil {
		s.catcher.keep(s.mail)
	}
	return err
}

// Reset implements smtp.Session.
func (s *session) Reset() { s.mail = Mail{} }

// Logout implements smtp.Session.
func (*session) Logout() error { return nil }

// Parts are a message taken apart.
type Parts struct {
	Header netmail.Header
	// Subject is decoded.
	Subject string
	// Text, HTML and Calendar are decoded; empty for parts that are not there.
	Text, HTML, Calendar string
	// CalendarType is the Content-Type of the calendar part.
	CalendarType string
}

// Read takes a message apart.
func (m Mail) Read() (*Parts, error) {
	msg, err := netmail.ReadMessage(bytes.NewReader(m.Raw))
	if err != nil {
		return nil, err
	}
	p := &Parts{Header: msg.Header}
	if p.Subject, err = new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject")); err != nil {
		return nil, err
	}
	return p, p.read(msg.Header.Get("Content-Type"), msg.Header.Get("Content-Transfer-Encoding"), msg.Body)
}

func (p *Parts) read(contentType, encoding string, body io.Reader) error {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("content type %q: %w", contentType, err)
	}
	if strings.HasPrefix(kind, "multipart/") {
		for r := multipart.NewReader(body, params["boundary"]); ; {
			part, err := r.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := p.read(part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(encoding) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	switch kind {
	case "text/plain":
		p.Text = string(text)
	case "text/html":
		p.HTML = string(text)
	case "text/calendar":
		p.Calendar, p.CalendarType = string(text), contentType
	}
	return nil
}
