// Package mail turns letters into messages and hands them to a mail server: text, HTML and calendar entries in four
// languages, over SMTP.
//
// Each message has one recipient. What people typed never reaches a header raw, and HTML only escaped. A refusal for good is
// told from one for the moment, so that whoever sends knows whether to try again; it does not try again itself and keeps
// nothing. Errors hold codes, never addresses or what the server said, which often repeats them.
package mail

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/tlsconfig"
)

// TLSMode is how the connection to the mail server is protected.
type TLSMode int

// The modes.
const (
	// TLSStart begins plain and turns to TLS (STARTTLS), which the server must offer.
	TLSStart TLSMode = iota
	// TLSImplicit is TLS from the first byte.
	TLSImplicit
	// TLSNone is for a server on loopback only.
	TLSNone
)

// Config is how the mail server is reached, and who sends.
type Config struct {
	// Host is the name of the server, which its certificate must have.
	Host string
	Port int
	TLS  TLSMode
	// CAFile has certificate authorities (PEM) to believe instead of the system's. It may be empty.
	CAFile string
	// Username and Password are empty for a server that asks for none.
	Username, Password string
	// From is the address that sends, and FromName the name beside it.
	From     mailbox.Address
	FromName string
	// Hello is the name with which this server introduces itself. Empty: the domain of From.
	Hello string
	// Timeout bounds one sending, from the connection to the last answer.
	Timeout time.Duration
	// PerDomain is how many letters may be on their way to one domain at a time, in one process.
	PerDomain int
}

// Sender hands messages to a mail server, each over a connection of its own.
type Sender struct {
	config  Config
	tls     *tls.Config
	domains domains
}

// NewSender checks the settings and reads the CA file. It does not connect.
func NewSender(c Config) (*Sender, error) {
	s := &Sender{config: c, domains: domains{limit: c.PerDomain}}
	if c.TLS == TLSNone && !IsLoopback(c.Host) {
		return nil, fmt.Errorf("mail without TLS is for a server on loopback only, not for %s", c.Host)
	}
	if _, err := readAddress(c.From); err != nil {
		return nil, errors.New("the address that sends is not an e-mail address")
	}
	var err error
	if s.tls, err = tlsconfig.Load(c.CAFile, "the mail server"); err != nil {
		return nil, err
	}
	s.tls.ServerName = c.Host
	return s, nil
}

// IsLoopback reports whether host is this machine.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Send hands one message to the mail server. It fails with [letter.ErrBusy], with a [letter.RefusedError], or else with
// [letter.ErrUnavailable].
func (s *Sender) Send(ctx context.Context, m *Message) error {
	to, err := readAddress(m.To)
	if err != nil {
		return err
	}
	done, ok := s.domains.enter(to.Domain())
	if !ok {
		return letter.ErrBusy
	}
	defer done()
	msg, err := m.compose(s.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	client, connection, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer connection.close(client)
	if err := s.askForUTF8(client, to); err != nil {
		return err
	}
	if err := connection.client.SendWithSMTPClient(client, msg); err != nil && !msg.IsDelivered() {
		return sendError(err)
	}
	return nil
}

// askForUTF8 has SMTPUTF8 (RFC 6531) used when an address needs it, and not otherwise: a server that has it may pass the
// message on to none that does not. It fails when an address needs it and the server does not have it.
func (s *Sender) askForUTF8(client *smtp.Client, to mailbox.Address) error {
	offered, _ := client.Extension("SMTPUTF8")
	switch {
	case s.config.From.IsASCII() && to.IsASCII():
		client.SkipSMTPUTF8(true)
	case offered:
	case !s.config.From.IsASCII():
		return fmt.Errorf("%w: the address that sends has letters other than ASCII ones, and the server has no SMTPUTF8",
			letter.ErrUnavailable)
	default:
		return &letter.RefusedError{Code: 553, Enhanced: "5.6.7"} // as servers answer (RFC 6531, section 3.5)
	}
	return nil
}

// Check connects as for a letter and sends none: it tells whether the server can be reached, speaks TLS as it should, and
// takes our name and password.
func (s *Sender) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	client, connection, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer connection.close(client)
	if err := client.Noop(); err != nil {
		return fmt.Errorf("%w: it did not answer (%s)", letter.ErrUnavailable, codeOf(err))
	}
	return nil
}

// connection is one to the mail server.
type connection struct {
	client *gomail.Client
	stop   func() bool
	raw    net.Conn
}

// close says goodbye, or just hangs up when that fails.
func (c *connection) close(client *smtp.Client) {
	_ = c.client.CloseWithSMTPClient(client)
	c.stop()
	if c.raw != nil {
		_ = c.raw.Close()
	}
}

// dial connects, turns to TLS and signs in, within the deadline of ctx. Errors are temporary: a server that refuses us
// refuses nobody's address, and an operator may mend it.
func (s *Sender) dial(ctx context.Context) (*smtp.Client, *connection, error) {
	c := s.config
	conn := &connection{stop: func() bool { return true }}
	options := []gomail.Option{
		gomail.WithPort(c.Port), gomail.WithTimeout(c.Timeout), gomail.WithTLSConfig(s.tls), gomail.WithoutNoop(),
		gomail.WithDialContextFunc(func(dialCtx context.Context, network, address string) (net.Conn, error) {
			raw, err := s.connect(dialCtx, network, address)
			if err == nil {
				conn.raw = raw
				// A caller who gives up is not kept waiting for a server that is silent. dialCtx ends with the dialling.
				conn.stop = context.AfterFunc(ctx, func() { _ = raw.Close() })
			}
			return raw, err
		}),
		gomail.WithHELO(cmp.Or(c.Hello, c.From.Domain())), gomail.WithTLSPolicy(gomail.NoTLS),
	}
	if c.TLS == TLSStart {
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if c.Username != "" {
		options = append(options, gomail.WithUsername(c.Username), gomail.WithPassword(c.Password),
			gomail.WithOpportunisticSMTPAuth(c.mechanisms()...))
	}
	var err error
	if conn.client, err = gomail.NewClient(c.Host, options...); err != nil {
		return nil, nil, fmt.Errorf("set up the mail client: %w", err)
	}
	client, err := conn.client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		conn.stop()
		if conn.raw != nil {
			_ = conn.raw.Close()
		}
		return nil, nil, dialError(err)
	}
	return client, conn, nil
}

// connect opens the connection, with TLS from the first byte if so set.
func (s *Sender) connect(ctx context.Context, network, address string) (net.Conn, error) {
	if s.config.TLS == TLSImplicit {
		return (&tls.Dialer{Config: s.tls}).DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// mechanisms are the ways to sign in, the best first. A password crosses the network in clear on loopback only.
func (c Config) mechanisms() []gomail.SMTPAuthType {
	best := []gomail.SMTPAuthType{gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthCramMD5}
	if c.TLS == TLSNone {
		return append(best, gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc)
	}
	return append(best, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin)
}
