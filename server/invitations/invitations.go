// Package invitations invites people to rooms by mail, each with a personal link, and says what a link is good for.
//
// Somebody has one invitation to a room at a time: a unique index decides. A letter is a row, written with a job in the
// transaction that decides it, and what becomes of it is written before the job ends, so a mail server that is down loses
// nothing and a letter that was taken is not sent again. There is one narrow exception: a crash after the mail server
// said yes and before that is stored. Then the letter is sent again under the same Message-ID.
//
// A token is stored as a hash, by which it is found, and sealed with a key of the instance's secret, for letters to come.
// What happens by mail is not this package's (server/adapter/mail), nor who is calling (server/auth), nor who gets into a
// room (server/rooms asks it whether a link admits).
package invitations

import (
	"context"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/ratelimit"
)

// What can be refused about an invitation.
var (
	ErrNotFound = fault.New(connect.CodeNotFound, usherv1.ErrorReason_ERROR_REASON_INVITATION_NOT_FOUND,
		"there is no such invitation: look whether the link is complete")
	ErrRevoked = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_INVITATION_REVOKED,
		"the invitation was withdrawn: ask who invited you for another one")
	ErrExpired = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_INVITATION_EXPIRED,
		"the invitation has expired: ask who invited you for another one")
	ErrNoMail = fault.New(connect.CodeUnavailable, usherv1.ErrorReason_ERROR_REASON_MAIL_UNAVAILABLE,
		"this instance sends no mail: give people the address of the room instead").After(time.Hour)
	errInvalid = fault.New(connect.CodeInvalidArgument, usherv1.ErrorReason_ERROR_REASON_RECIPIENT_INVALID,
		"that is no address to which mail can be sent")
	errSuppressed = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_RECIPIENT_SUPPRESSED,
		"that person asked for no more mail")
)

// Service serves usher.v1.InvitationsService and the pages of links. Every field is required unless it says otherwise.
type Service struct {
	DB      *dbtx.DB
	Keys    *auth.Keys
	Limiter *ratelimit.Limiter
	// ResendLimit is by room, and NotFoundLimit, that of the API, by who opens links which are none.
	ResendLimit, NotFoundLimit ratelimit.Limit
	Jobs                       enqueuer
	Rooms                      rooms
	Mailer                     mailer
	Telephony                  telephony
	Rules                      Rules
	// Visitors tells who opens a page.
	Visitors *auth.Visitors
	// PublicURL is this server's address for people, without a slash at the end.
	PublicURL string
	// Branding is how the pages look, and Languages are those of the instance.
	Branding  *usherv1.Branding
	Languages []string
	Log       *slog.Logger
}

// Rules are the figures of invitations.
type Rules struct {
	// Enabled is false where no mail is sent.
	Enabled bool
	// PerUser and PerInstance are how many letters may be decided on one day (UTC).
	PerUser, PerInstance int
	// KeepTrying is how long a letter is tried.
	KeepTrying time.Duration
	// Life is how long a link works after the last occurrence, or, without a time, after the invitation.
	Life time.Duration
	// Keep is how long an invitation is kept after its link has ended.
	Keep time.Duration
	// IdempotencyLife is how long the answer to a request_id is kept.
	IdempotencyLife time.Duration
	// Again is how long a letter waits when enough are on their way to its domain.
	Again time.Duration
}

const (
	// before and after are how long around each occurrence a link with skip_lobby admits.
	before, after = 15 * time.Minute, 4 * time.Hour
)

// enqueuer lists the calls to server/jobs that this package makes.
type enqueuer interface {
	Enqueue(ctx context.Context, tx *ent.Client, args jobs.Args, options ...jobs.Option) error
}

// rooms lists the calls to server/rooms that this package makes.
type rooms interface {
	// AddInvited makes whoever has a verified address a member, unless they have a role. The room must be locked.
	AddInvited(ctx context.Context, tx *ent.Client, room uuid.UUID, address mailbox.Address) error
}

// mailer lists the calls to server/adapter/mail that this package makes.
type mailer interface {
	// Invitation sends a letter. It fails with a letter.RefusedError for good, with letter.ErrBusy when as many as may be
	// are on their way to that domain, and else for the moment.
	Invitation(ctx context.Context, l letter.Invitation) error
}

// telephony lists the calls to server/telephony that this package makes.
type telephony interface {
	// DialIns are how to reach rooms by phone that have a PIN; those that cannot be are left out.
	DialIns(ctx context.Context, rooms ...*ent.Room) (map[uuid.UUID]*usherv1.DialIn, error)
	// DialIn is how to reach a room by phone, with a PIN that is drawn if there is none; nil where it cannot be reached.
	DialIn(ctx context.Context, room uuid.UUID) (*usherv1.DialIn, error)
	// RotatePin gives a room another PIN, for a caller who may change it.
	RotatePin(ctx context.Context, req *usherv1.RotatePinRequest) (*usherv1.RotatePinResponse, error)
}

// open are the states in which a link works.
var open = []usherv1.InvitationStatus{
	usherv1.InvitationStatus_INVITATION_STATUS_PENDING,
	usherv1.InvitationStatus_INVITATION_STATUS_SENT,
	usherv1.InvitationStatus_INVITATION_STATUS_BOUNCED,
}

const (
	pending = usherv1.InvitationStatus_INVITATION_STATUS_PENDING
	sent    = usherv1.InvitationStatus_INVITATION_STATUS_SENT
	bounced = usherv1.InvitationStatus_INVITATION_STATUS_BOUNCED
	revoked = usherv1.InvitationStatus_INVITATION_STATUS_REVOKED
	expired = usherv1.InvitationStatus_INVITATION_STATUS_EXPIRED
)

// statusOf is where an invitation stands at a time: nobody waits for the sweep that writes that it has expired.
func statusOf(i *ent.Invitation, at time.Time) usherv1.InvitationStatus {
	if i.Status != revoked && !at.Before(i.ExpireTime) {
		return expired
	}
	return i.Status
}

// isOpen reports whether a link works.
func isOpen(i *ent.Invitation, at time.Time) bool { return requireOpen(i, at) == nil }

// requireOpen refuses what has ended.
func requireOpen(i *ent.Invitation, at time.Time) error {
	switch statusOf(i, at) {
	case revoked:
		return ErrRevoked
	case expired:
		return ErrExpired
	case pending, sent, bounced, usherv1.InvitationStatus_INVITATION_STATUS_UNSPECIFIED:
	}
	return nil
}

// now is the present moment as the database keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
