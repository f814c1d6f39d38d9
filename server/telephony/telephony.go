// Package telephony owns how rooms are reached by phone: the PIN of a room, the telephone line that it belongs to, and the
// dispatch rule that LiveKit has for the room.
//
// A PIN belongs to one line (lines.go) and there to one room, which a unique index decides. LiveKit has one rule of a room
// exactly while somebody who came by browser is in its meeting and telephony and the room's phone policy allow it. Who
// changes a rule holds the room's lease (lease.go), and writes down what LiveKit was told or that this is in doubt, so that
// a crash or an answer that was lost costs a list of rules later, never a second rule for good. Only rules called "SIP_"
// and the id of a room are ever deleted. A sweep (sweep.go) finds what was changed behind our back.
//
// What happens to callers once they are in a meeting is not this package's. Without LiveKit PINs can be read and drawn, and
// rules stay as they are. No PIN is ever in a log or an error.
package telephony

import (
	"context"
	"io"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
)

// What can be refused about telephony.
var (
	ErrDisabled = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_TELEPHONY_DISABLED,
		"this room cannot be reached by phone")
	ErrPINSpaceExhausted = fault.New(connect.CodeResourceExhausted, usherv1.ErrorReason_ERROR_REASON_PIN_SPACE_EXHAUSTED,
		"no free PIN was found: the operator has to make PINs longer or add a trunk")
)

// Service serves usher.v1.TelephonyService. Every field is required.
type Service struct {
	Survey
	Keys    *auth.Keys
	Limiter *ratelimit.Limiter
	// RotateLimit is by room.
	RotateLimit ratelimit.Limit
	Invitations invitations
	Log         *slog.Logger
	Metrics     *Metrics
	// Random is where PINs come from: crypto/rand.Reader.
	Random io.Reader
	// PINLength is how many digits a PIN has, 4 to 16.
	PINLength int
	// Rest is how long a PIN that a room gave up is given to no other.
	Rest time.Duration
	// Lease is how long a server that died keeps others from changing a room's rule. Several calls to LiveKit fit into it.
	Lease time.Duration
}

// liveKit lists the calls to LiveKit that this package makes; server/adapter/livekit implements them.
type liveKit interface {
	ruleKeeper
	// Participants are none when there is no meeting.
	Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error)
	LiveRooms(ctx context.Context) ([]uuid.UUID, error)
}

// ruleKeeper lists the calls that change dispatch rules.
type ruleKeeper interface {
	// CreateRule fails with meeting.ErrClash. After meeting.ErrUnavailable the rule may be there.
	CreateRule(ctx context.Context, r meeting.DispatchRule) (id string, err error)
	// UpdateRule fails with meeting.ErrNotFound and meeting.ErrClash. It does not move a rule to another trunk.
	UpdateRule(ctx context.Context, r meeting.DispatchRule) error
	// DeleteRule fails with meeting.ErrNotFound.
	DeleteRule(ctx context.Context, id string) error
	// ListRules are the rules for some trunks, among them those for all trunks.
	ListRules(ctx context.Context, trunks ...string) ([]meeting.DispatchRule, error)
}

// invitations lists the calls to server/invitations, whose letters hold the PIN of a room.
type invitations interface {
	// PINChanged says, in the transaction that does it, that a room has another PIN, and has the invitations sent again if
	// that is wanted. It returns how many people have the PIN from before and are not sent another one.
	PINChanged(ctx context.Context, tx *ent.Client, room uuid.UUID, resend bool) (outstanding int, err error)
}

// allowed reports whether a room lets people dial in at all.
func allowed(r *ent.Room) bool {
	return meeting.PhonePolicy(r.AccessLevel, r.Configuration) != usherv1.PhonePolicy_PHONE_POLICY_REFUSE
}

// held reports whether people who dial into a room wait in its lobby.
func held(r *ent.Room) bool {
	return meeting.PhonePolicy(r.AccessLevel, r.Configuration) == usherv1.PhonePolicy_PHONE_POLICY_LOBBY
}

// now is the present moment as the database keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
