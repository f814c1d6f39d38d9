package server

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/adapter/brevo"
	"github.com/usher-meet/usher/server/adapter/mail"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/invitations"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/settings"
)

// ErrMailOff means that the settings name no mail server.
var ErrMailOff = errors.New("mail is switched off")

// newMailer makes what writes and sends letters.
func newMailer(c settings.Config) (*mail.Mailer, error) {
	p := &mail.Mailer{Branding: c.Branding, Languages: c.Languages}
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

// invitationRules are the figures of invitations that are no settings.
var invitationRules = invitations.Rules{KeepTrying: 24 * time.Hour, Life: 30 * 24 * time.Hour, Again: 2 * time.Second}

func (s *services) fillInvitations(b *base) {
	c, rules := b.config, invitationRules
	rules.Enabled, rules.PerUser, rules.PerInstance = b.mailer.Sender != nil, c.Mail.PerUser, c.Mail.PerInstance
	rules.Keep, rules.IdempotencyLife = c.Keep.Invitations, c.Keep.Idempotency
	*s.invitations = invitations.Service{
		DB: b.db, Keys: b.keys, Limiter: b.limiter, ResendLimit: c.Limits.ResendInvitation, NotFoundLimit: c.Limits.NotFound,
		Jobs: s.jobs, Rooms: s.rooms, Mailer: b.mailer, Telephony: s.telephony, Rules: rules,
		Visitors:  &auth.Visitors{Sessions: b.sessions, TrustedProxies: c.TrustedProxies, Secure: b.secure()},
		PublicURL: c.PublicURL, Branding: c.Branding, Languages: c.Languages, Log: b.log,
	}
}

// newContacts passes new accounts on to a marketing service; nil where none is set.
func newContacts(b *base, client *jobs.Client) *brevo.Contacts {
	c := b.config.Marketing
	if c.BrevoKey == "" {
		return nil
	}
	return &brevo.Contacts{DB: b.db, Jobs: client, Log: b.log, Service: &brevo.Client{
		URL: c.BrevoURL, Key: string(c.BrevoKey), Lists: c.Lists, Attributes: c.Attributes, Timeout: c.Timeout,
	}}
}

// accountCreated is called with each new account; nil where nobody is told.
func accountCreated(c *brevo.Contacts) func(context.Context, *ent.Client, *ent.User) error {
	if c == nil {
		return nil
	}
	return c.Created
}

// CheckMail connects to the mail server as for a letter and sends none. It fails with [ErrMailOff] where there is none.
func CheckMail(ctx context.Context, c settings.Config) error {
	p, err := newMailer(c)
	if err != nil {
		return err
	}
	if p.Sender == nil {
		return ErrMailOff
	}
	return p.Sender.Check(ctx)
}

// SendTestMail sends a letter that says that mail works. It fails with [ErrMailOff] where it is switched off.
func SendTestMail(ctx context.Context, c settings.Config, to mailbox.Address, language string) error {
	p, err := newMailer(c)
	if err != nil {
		return err
	}
	if p.Sender == nil {
		return ErrMailOff
	}
	return p.Test(ctx, letter.Envelope{ID: uuid.New(), To: to, Language: language, Time: time.Now()})
}
