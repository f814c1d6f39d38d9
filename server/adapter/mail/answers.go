package mail

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync"

	gomail "github.com/wneessen/go-mail"

	"github.com/usher-meet/usher/server/letter"
)

// sendError says how a message was not taken. Only what the server says about the recipient or the content is for good:
// a sender or a name that it does not like is ours to mend, and the letters wait for that.
func sendError(err error) error {
	e, ok := errors.AsType[*gomail.SendError](err)
	if !ok {
		return fmt.Errorf("%w (%s)", letter.ErrUnavailable, codeOf(err))
	}
	code := e.ErrorCode()
	switch e.Reason {
	case gomail.ErrSMTPRcptTo, gomail.ErrSMTPData, gomail.ErrSMTPDataClose:
		if code >= 500 && code < 600 {
			return &letter.RefusedError{Code: code, Enhanced: e.EnhancedStatusCode()}
		}
	case gomail.ErrGetSender, gomail.ErrGetRcpts, gomail.ErrNoUnencoded, gomail.ErrSMTPMailFrom, gomail.ErrSMTPReset,
		gomail.ErrWriteContent, gomail.ErrConnCheck, gomail.ErrAmbiguous:
	}
	return fmt.Errorf("%w: %s (%d %s)", letter.ErrUnavailable, e.Reason, code, e.EnhancedStatusCode())
}

// dialError says what kept us from the server, without what it said.
func dialError(err error) error {
	unknown, name, certificate := x509.UnknownAuthorityError{}, x509.HostnameError{}, &tls.CertificateVerificationError{}
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("%w: its certificate is for another name", letter.ErrUnavailable)
	case errors.As(err, &unknown), errors.As(err, &certificate):
		return fmt.Errorf("%w: its certificate cannot be verified", letter.ErrUnavailable)
	case errors.Is(err, gomail.ErrNoSupportedAuthDiscovered), strings.Contains(err.Error(), "does not support SMTP AUTH"):
		return fmt.Errorf("%w: it offers no way to sign in with a password; one that wants OAuth (XOAUTH2) needs an app password "+
			"or a relay, and one that wants no sign-in no name", letter.ErrUnavailable)
	case strings.Contains(err.Error(), "STARTTLS"):
		return fmt.Errorf("%w: it does not offer STARTTLS", letter.ErrUnavailable)
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%w: %s: %w", letter.ErrUnavailable, e.Op, e.Err)
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("%w: its name cannot be resolved (%t)", letter.ErrUnavailable, e.IsNotFound)
	}
	if strings.Contains(err.Error(), "AUTH") {
		return fmt.Errorf("%w: signing in failed (%s)", letter.ErrUnavailable, codeOf(err))
	}
	return fmt.Errorf("%w: connecting failed (%s)", letter.ErrUnavailable, codeOf(err))
}

// codeOf is the code of an answer, or the kind of error where there was none.
func codeOf(err error) string {
	if e, ok := errors.AsType[*textproto.Error](err); ok {
		return fmt.Sprint(e.Code)
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "timeout"
	}
	return "no answer"
}

// domains counts the letters on their way to each domain.
type domains struct {
	limit int
	mu    sync.Mutex
	count map[string]int
}

// enter takes a place, and does not wait for one: letters to other domains go first.
func (d *domains) enter(domain string) (leave func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.limit > 0 && d.count[domain] >= d.limit {
		return nil, false
	}
	if d.count == nil {
		d.count = map[string]int{}
	}
	d.count[domain]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.count[domain]--; d.count[domain] == 0 {
			delete(d.count, domain)
		}
	}, true
}
