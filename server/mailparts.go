package server

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/mail"
)

// ErrMailOff means that the settings name no mail server.
var ErrMailOff = errors.New("mail is switched off")

// newPost makes what writes and sends letters.
func newPost(c Config) (*mail.Post, error) {
	p := &mail.Post{Branding: c.Branding, Languages: c.Languages}
	if c.Mail.Host == "" {
		return p, nil
	}
	m := c.Mail
	var err error
	p.Sender, err = mail.NewSender(mail.Config{
		Host: m.Host, Port: m.Port, TLS: [...]mail.TLSMode{mail.TLSStart, mail.TLSImplicit, mail.TLSNone}[m.TLS], CAFile: m.CAFile,
		Username: m.Username, Password: string(m.Password),
		From: m.From, FromName: cmp.Or(m.FromName, c.Branding.GetName(), "Usher"), Hello: m.Hello,
		Timeout: m.Timeout, PerDomain: m.PerDomain,
	})
	return p, err
}

// CheckMail connects to the mail server as for a letter and sends none. It fails with [ErrMailOff] where there is none.
func CheckMail(ctx context.Context, c Config) error {
	p, err := newPost(c)
	if err != nil {
		return err
	}
	if p.Sender == nil {
		return ErrMailOff
	}
	return p.Sender.Check(ctx)
}

// SendTestMail sends a letter that says that mail works. It fails with [ErrMailOff] where it is switched off.
func SendTestMail(ctx context.Context, c Config, to, language string) error {
	p, err := newPost(c)
	if err != nil {
		return err
	}
	if p.Sender == nil {
		return ErrMailOff
	}
	return p.Test(ctx, letter.Envelope{ID: uuid.New(), To: to, Language: language, Time: time.Now()})
}
