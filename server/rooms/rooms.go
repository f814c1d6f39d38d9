// Package rooms owns rooms and the people who belong to them, and hands out the LiveKit tokens that let people in.
//
// A slug names one room, and a room keeps at least one owner: the database decides both, by a unique index and by a lock on
// the room's row, so they hold whatever happens at the same time. Nobody gets a token for a room they may not enter now.
// What LiveKit must be made to do is written in the transaction that decides it (server/livetasks): a crash loses nothing.
//
// A room outlives its meetings. This package does not admit people from the lobby, does not act on single participants and
// does not know who is calling (server/auth does). When LiveKit is gone, everything works but meetings do not follow until
// it is back, and only RenewConnection and EndMeeting may fail for it.
package rooms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/idempotency"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/text"
)

// What can be refused about a room.
var (
	ErrSlugTaken = fault.New(connect.CodeAlreadyExists, usherv1.ErrorReason_ERROR_REASON_ROOM_SLUG_TAKEN,
		"another room has that slug: choose another one, or leave it out")
	ErrNameReserved = fault.New(connect.CodeInvalidArgument, usherv1.ErrorReason_ERROR_REASON_ROOM_NAME_RESERVED,
		"that slug is reserved, empty, or reads as an id: choose another one, or leave it out")
	ErrCreationRestricted = fault.New(connect.CodePermissionDenied, usherv1.ErrorReason_ERROR_REASON_ROOM_CREATION_RESTRICTED,
		"only services may create rooms here")
)

// maxName is how long a room's name may be, in characters.
const maxName = 500

// Service serves usher.v1.RoomsService. Every field is required unless it says otherwise.
type Service struct {
	DB      *dbtx.DB
	Keys    *auth.Keys
	Limiter *ratelimit.Limiter
	// Invitations is nil where nobody can be invited.
	Invitations invitations
	// CreateLimit is by user, JoinLimit by caller.
	CreateLimit, JoinLimit ratelimit.Limit
	LiveKit                liveKit
	// Recordings is told of what ends with a room or a meeting, and says what a meeting shows of its recording.
	Recordings recordings
	// Lobby is told when it may have changed who has to wait.
	Lobby     lobby
	Telephony telephony
	Log       *slog.Logger
	// PublicURL is this server's address for people, without a slash at the end.
	PublicURL string
	// LiveKitURL is LiveKit's address for clients.
	LiveKitURL string
	Defaults   Defaults
	// TokenLife is for how long a LiveKit token is good for connecting, and SessionLife for how long a participant may get
	// a new one.
	TokenLife, SessionLife time.Duration
	// Tasks has LiveKit follow what is decided.
	Tasks *livetasks.Queue
	// IdempotencyLife is how long the answer to a request_id is kept, and KeepTokens how long an API token stays listed
	// after it expired or was revoked. KeepAudit is how long audit events are kept.
	IdempotencyLife, KeepTokens, KeepAudit time.Duration
}

// Defaults are the properties of rooms for which nothing else is said, and who may create rooms.
type Defaults struct {
	AccessLevel usherv1.AccessLevel
	// Sources may be published in rooms that do not restrict it.
	Sources []usherv1.TrackSource
	// UsersCreate is false when only services may create rooms.
	UsersCreate bool
	// AccountNames fixes the display name of signed-in people to that of their account.
	AccountNames bool
}

// liveKit lists the calls to LiveKit that this package makes; server/adapter/livekit implements them.
type liveKit interface {
	connector
	meetingEditor
	participantEditor
}

// invitations lists the calls to server/invitations that this package makes.
type invitations interface {
	// Invited is whom a personal link lets into a room without waiting, now; nil for every other token.
	Invited(ctx context.Context, a *auth.Access, token string) (*meeting.Admission, error)
	// Ended tells which of the identities that links gave bring nobody back any more, and since when: those of links that
	// were withdrawn, and, with the zero time, those whose link another account uses by now.
	Ended(ctx context.Context, room uuid.UUID, identities ...string) (map[string]time.Time, error)
	// Admit counts that it did, and says in g with which identity, and whose place that takes. It fails with
	// auth.ErrLobbyRequired when the link lets nobody in any more.
	Admit(ctx context.Context, a *auth.Access, g *meeting.Admission) error
}

// recordings lists the calls to server/recordings that this package makes.
type recordings interface {
	// MeetingEnded and RoomDeleted act in the transaction that ends the meeting, or deletes the room.
	MeetingEnded(ctx context.Context, tx *ent.Client, room uuid.UUID) error
	RoomDeleted(ctx context.Context, tx *ent.Client, room uuid.UUID) error
	// Label returns the mode and status that a meeting which began at since shows; both are empty for none.
	Label(ctx context.Context, room uuid.UUID, since time.Time) (mode, status string, err error)
}

// lobby lists the calls to server/lobby that this package makes. All are repeated until they succeed, and some
// times after that.
type lobby interface {
	// AdmitEligible lets in who waits and would not have to any more.
	AdmitEligible(ctx context.Context, r *ent.Room) error
	// Clear ends all entries of a room that is gone.
	Clear(ctx context.Context, room uuid.UUID) error
	// RoomFinished ends those of the meetings that are over.
	RoomFinished(ctx context.Context, room uuid.UUID) error
}

// telephony lists the calls to server/telephony that this package makes.
type telephony interface {
	// DialIns are how to reach rooms by phone; those that cannot be are left out.
	DialIns(ctx context.Context, rooms ...*ent.Room) (map[uuid.UUID]*usherv1.DialIn, error)
	// Settle has LiveKit take the calls for a room that it should take now, and no others, also when the room is gone.
	Settle(ctx context.Context, room uuid.UUID) error
}

// newRoom is a room to be made.
type newRoom struct {
	name string
	// slug is the requested slug, normalized; empty to derive one.
	slug          string
	level         usherv1.AccessLevel
	configuration *usherv1.RoomConfiguration
	// owner is the user who owns it, or else ownerEmail that of a person who is pending.
	owner      *ent.User
	ownerEmail mailbox.Address
	callbackID string
}

// newRoom reads a request: who may create what. Defaults are filled in.
func (s *Service) newRoom(caller *auth.Caller, req *usherv1.CreateRoomRequest) (newRoom, error) {
	n := newRoom{
		name: text.Clean(req.GetName(), maxName), level: req.GetAccessLevel(), configuration: req.GetConfiguration(),
		callbackID: req.GetCallbackId(),
	}
	var err error
	if req.GetOwnerEmail() != "" {
		if n.ownerEmail, err = mailbox.Parse(req.GetOwnerEmail()); err != nil {
			return n, fault.Invalid("owner_email", "%v", err)
		}
	}
	if n.slug, err = explicitSlug(req.GetSlug()); err != nil {
		return n, err
	}
	switch caller.Kind {
	case auth.User:
		n.owner = caller.User
		if n.ownerEmail != "" {
			return n, auth.ErrNotPermitted.Saying("owner_email is for services: a room that you create is yours")
		}
		if !s.Defaults.UsersCreate {
			return n, ErrCreationRestricted
		}
	case auth.Service:
		if n.ownerEmail == "" {
			return n, fault.Invalid("owner_email", "a service must name the owner")
		}
	case auth.Anonymous:
		return n, auth.ErrSignInRequired
	default:
		return n, auth.ErrNotPermitted.Saying("rooms are created by people who signed in, and by services")
	}
	if n.level == usherv1.AccessLevel_ACCESS_LEVEL_UNSPECIFIED {
		n.level = s.defaultAccessLevel(n.owner)
	}
	if n.configuration == nil && n.owner != nil {
		n.configuration = n.owner.DefaultConfiguration
	}
	return n, nil
}

// defaultAccessLevel is that of rooms for which u says no other: the user's own default, else the instance's. u is nil for
// services.
func (s *Service) defaultAccessLevel(u *ent.User) usherv1.AccessLevel {
	if u != nil && u.DefaultAccessLevel != usherv1.AccessLevel_ACCESS_LEVEL_UNSPECIFIED {
		return u.DefaultAccessLevel
	}
	return s.Defaults.AccessLevel
}

// maxSlugAttempts is how often another random slug is tried: a second one is as good as never taken.
const maxSlugAttempts = 5

// create makes a room, its owner and its callback, once for each request_id. repeated is true for the answer to a call that
// was made before.
func (s *Service) create(
	ctx context.Context, n newRoom, key idempotency.Key,
) (res *usherv1.CreateRoomResponse, repeated bool, err error) {
	res = &usherv1.CreateRoomResponse{}
	if found, err := key.Stored(ctx, s.DB.Read, res); found || err != nil {
		return res, found, err
	}
	if n.owner != nil {
		call := ratelimit.Call{Limit: s.CreateLimit, Key: auth.FromContext(ctx).Key()}
		if err := s.Limiter.Allow(ctx, call); err != nil {
			return nil, false, err
		}
	}
	for attempt := range maxSlugAttempts {
		err = s.DB.Run(ctx, func(tx *ent.Client) error {
			if err := key.Claim(ctx, tx); err != nil {
				return err
			}
			room, err := s.insert(ctx, tx, n, attempt)
			if err != nil {
				return err
			}
			res = &usherv1.CreateRoomResponse{Room: room}
			return key.Keep(ctx, tx, res)
		})
		if !errors.Is(err, errSlugCollision) {
			break
		}
	}
	if errors.Is(err, idempotency.ErrRepeated) {
		// The one that was first has committed: its answer is there.
		found, err := key.Stored(ctx, s.DB.Read, res)
		if !found && err == nil {
			err = fault.ErrConflict
		}
		return res, true, err
	}
	return res, false, err
}

// insert stores a room and what belongs to it.
func (s *Service) insert(ctx context.Context, tx *ent.Client, n newRoom, attempt int) (*usherv1.Room, error) {
	code := randomCode()
	if n.name == "" {
		n.name = code
	}
	slug := n.slug
	if slug == "" {
		slug = derivedSlug(n.name, code, attempt)
	}
	r, err := tx.Room.Create().SetName(n.name).SetNameKey(text.Key(n.name)).SetSlug(slug).
		SetAccessLevel(n.level).SetConfiguration(n.configuration).Save(ctx)
	switch {
	case sqlgraph.IsUniqueConstraintError(err) && n.slug != "":
		// The index decides, not a query made beforehand: two people who choose a slug at the same moment would both pass
		// that query.
		return nil, ErrSlugTaken.With("slug", slug)
	case sqlgraph.IsUniqueConstraintError(err):
		return nil, errSlugCollision
	case err != nil:
		return nil, fmt.Errorf("insert room: %w", err)
	}
	owner := tx.Member.Create().SetRoomID(r.ID).SetRole(usherv1.Role_ROLE_OWNER)
	access := &auth.Access{Room: r, Caller: auth.FromContext(ctx)}
	if n.owner != nil {
		owner.SetUserID(n.owner.ID)
		access.Role = usherv1.Role_ROLE_OWNER
	} else {
		owner.SetEmail(n.ownerEmail)
	}
	if err := owner.Exec(ctx); sqlgraph.IsForeignKeyConstraintError(err) {
		return nil, auth.ErrUnauthenticated // the account was deleted since the credential was looked at
	} else if err != nil {
		return nil, fmt.Errorf("insert owner of %s: %w", r.ID, err)
	}
	if err := insertCallback(ctx, tx, n.callbackID, r.ID); err != nil {
		return nil, err
	}
	if err := audit.Record(ctx, tx, audit.Event{Room: r.ID, Action: audit.RoomCreated}); err != nil {
		return nil, err
	}
	return s.view(access, &usherv1.RoomLive{}), nil
}

// delete removes a room for good, and has its meeting ended.
func (s *Service) delete(ctx context.Context, ref string) (id uuid.UUID, err error) {
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, ref)
		if err != nil {
			return err
		}
		if err := a.RequireOwner(); err != nil {
			return err
		}
		id = a.Room.ID
		if err := tx.Room.DeleteOne(a.Room).Exec(ctx); err != nil {
			return fmt.Errorf("delete room %s: %w", id, err)
		}
		if err := audit.Record(ctx, tx, audit.Event{Room: id, Action: audit.RoomDeleted}); err != nil {
			return err
		}
		if err := s.Recordings.RoomDeleted(ctx, tx, id); err != nil {
			return err
		}
		return s.Tasks.CloseRoom(ctx, tx, id)
	})
	return id, err
}

// now is the present moment as the database keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
