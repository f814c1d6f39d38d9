// Package brevo tells Brevo, the operator's marketing service, who has an account, when that is switched on: once, after the
// first sign-in, by a job.
//
// The job is written in the transaction that makes the account, so a sign-in waits for nothing else and nobody is forgotten.
// A service that is slow, or refuses, delays no sign-in. Errors hold no addresses. What becomes of a contact
// afterwards is between the person and the service.
package brevo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/mailbox"
)

// contactsAPI lists the calls to a marketing service that this package makes.
type contactsAPI interface {
	// Upsert makes sure that the service has a contact. It fails with [ErrRefused] when trying again would be in vain.
	Upsert(ctx context.Context, email mailbox.Address) error
}

// ErrRefused says that the service does not take a contact, with the key and the lists of the settings.
var ErrRefused = errors.New("the marketing service refused the contact")

// enqueuer lists the calls to server/jobs that this package makes.
type enqueuer interface {
	Enqueue(ctx context.Context, tx *ent.Client, args jobs.Args, options ...jobs.Option) error
}

// Contacts passes new accounts on. Every field is required.
type Contacts struct {
	DB      *dbtx.DB
	Jobs    enqueuer
	Service contactsAPI
	Log     *slog.Logger
}

// AddArgs are the job that passes one account on.
type AddArgs struct {
	User uuid.UUID `json:"user"`
}

// Kind implements jobs.Args.
func (AddArgs) Kind() string { return "marketing.add" }

// keepTrying is how long calls to a service that does not answer are repeated.
const keepTrying = 24 * time.Hour

// Created has a new account passed on, once the transaction that made it has committed.
func (c *Contacts) Created(ctx context.Context, tx *ent.Client, u *ent.User) error {
	return c.Jobs.Enqueue(ctx, tx, AddArgs{User: u.ID}, jobs.KeepTrying(keepTrying))
}

// Add passes an account on. Those without a verified address are not: it may be somebody else's.
func (c *Contacts) Add(ctx context.Context, args AddArgs) error {
	u, err := c.DB.Read.User.Get(ctx, args.User)
	switch {
	case ent.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("find user: %w", err)
	case !u.Active || !u.EmailVerified || u.Email == "":
		return nil
	}
	err = c.Service.Upsert(ctx, u.Email)
	if errors.Is(err, ErrRefused) {
		return jobs.Permanent(fmt.Errorf("add user %s: %w", u.ID, err))
	}
	if err != nil {
		return fmt.Errorf("add user %s: %w", u.ID, err)
	}
	c.Log.InfoContext(ctx, "contact added", "user", u.ID)
	return nil
}
