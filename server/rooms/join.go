package rooms

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"entgo.io/ent/dialect/sql"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/room"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/live"
	"github.com/usher-meet/usher/server/text"
)

// ErrLobbyRequired is a caller who may not enter directly.
var ErrLobbyRequired = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_LOBBY_REQUIRED,
	"this room has a lobby: ask to be let in, and wait")

// connector is what joining needs of LiveKit.
type connector interface {
	// Token signs a LiveKit token. The metadata is for the room that LiveKit makes when it is used to join.
	Token(g live.Grant, metadata string) (token string, expire time.Time, err error)
	// Live says at once, as of some seconds ago, whether a room has a meeting; nil when LiveKit does not answer.
	Live(ctx context.Context, room uuid.UUID) *usherv1.RoomLive
	// Meeting asks LiveKit. It fails with live.ErrGone when there is none.
	Meeting(ctx context.Context, room uuid.UUID) (*live.Meeting, error)
}

// enter finds a room that the caller may enter now. A membership that waits for the caller's address is claimed; for
// everybody else this is one statement that writes nothing.
func (s *Service) enter(ctx context.Context, ref string) (*auth.Access, error) {
	caller := auth.FromContext(ctx)
	a, err := auth.FindRoom(ctx, s.DB.Read, ref, selectPending(caller))
	if err != nil {
		return nil, err
	}
	if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT {
		return nil, ErrLobbyRequired
	}
	if !hasPending(a.Room) {
		return a, nil
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		if a, err = lock(ctx, tx, a.Room.ID.String()); err != nil {
			return err
		}
		// While this waited, the membership may have been taken away, or the room closed to others.
		if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT {
			return ErrLobbyRequired
		}
		_, err := claim(ctx, tx, a.Room.ID, caller.User)
		return err
	})
	return a, err
}

// pendingColumn is the name under which [selectPending] selects.
const pendingColumn = "caller_pending"

// selectPending adds to a query of rooms how many memberships wait for the caller's verified address: 0 or 1.
func selectPending(c *auth.Caller) predicate.Room {
	return func(sel *sql.Selector) {
		if c.Kind != auth.User || !c.User.EmailVerified || c.User.Email == "" {
			return
		}
		t := sql.Table(member.Table).As("pending_members")
		sel.AppendSelectExprAs(sql.Dialect(sel.Dialect()).Select(sql.Count("*")).From(t).Where(sql.And(
			sql.ColumnsEQ(t.C(member.FieldRoomID), sel.C(room.FieldID)), sql.EQ(t.C(member.FieldEmail), c.User.Email),
		)), pendingColumn)
	}
}

func hasPending(r *ent.Room) bool {
	n, err := r.Value(pendingColumn)
	if err != nil {
		return false // not selected: no address to look for
	}
	count, ok := n.(int64)
	return ok && count > 0
}

// claim makes the membership that waits for u's verified address u's own, and returns u's membership; nil when there is
// none. Of two memberships the higher role stays, in one row. The room must be locked.
func claim(ctx context.Context, tx *ent.Client, roomID uuid.UUID, u *ent.User) (*ent.Member, error) {
	rows, err := tx.Member.Query().Where(member.RoomID(roomID), auth.Mine(u)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find memberships in %s: %w", roomID, err)
	}
	var own, pending *ent.Member
	for _, m := range rows {
		if m.UserID != nil {
			own = m
		} else {
			pending = m
		}
	}
	switch {
	case pending == nil:
		return own, nil
	case own == nil:
		own, err = tx.Member.UpdateOne(pending).SetUserID(u.ID).ClearEmail().Save(ctx)
	default:
		if err := tx.Member.DeleteOne(pending).Exec(ctx); err != nil {
			return nil, fmt.Errorf("delete pending membership in %s: %w", roomID, err)
		}
		own, err = tx.Member.UpdateOne(own).SetRole(max(own.Role, pending.Role)).Save(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("claim membership in %s: %w", roomID, err)
	}
	detail := fmt.Sprintf("member=%s role=%s", pending.ID, auth.RoleName(own.Role))
	return own, audit.Record(ctx, tx, audit.Event{
		Room: roomID, Action: audit.MemberClaimed, Target: audit.User(u.ID), Detail: detail,
	})
}

// connectNew makes the connection of somebody who joins.
func (s *Service) connectNew(a *auth.Access, displayName string) (*usherv1.Connection, error) {
	userID, _ := a.Caller.UserID()
	// Tokens count in whole seconds.
	joined := time.Now().UTC().Truncate(time.Second)
	return s.connection(a, auth.ParticipantSession{
		RoomID: a.Room.ID, Identity: s.Keys.NewIdentity(a.Room.ID, userID), UserID: userID,
		DisplayName: s.displayName(a.Caller, displayName), Meeting: a.Room.Meeting,
		JoinTime: joined, ExpireTime: joined.Add(s.SessionLife),
	})
}

// renew makes a new connection for a participant, with today's grants. Who would have to wait now may come back to the
// meeting that they were in, and to no later one.
func (s *Service) renew(ctx context.Context, session *auth.ParticipantSession) (*usherv1.Connection, error) {
	caller := &auth.Caller{}
	if session.UserID != uuid.Nil {
		u, err := s.DB.Read.User.Get(ctx, session.UserID)
		switch {
		case ent.IsNotFound(err):
			return nil, auth.ErrUnauthenticated.Saying("the account of this participant is gone")
		case err != nil:
			return nil, fmt.Errorf("find user: %w", err)
		case !u.Active:
			return nil, auth.ErrAccountInactive
		}
		// The session does not stand for the user: who they are is asked only to know their role in this room.
		caller = &auth.Caller{Kind: auth.User, User: u}
	}
	a, err := auth.FindRoom(auth.WithCaller(ctx, caller), s.DB.Read, session.RoomID.String())
	if err != nil {
		return nil, err
	}
	if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT {
		if err := s.sameMeeting(ctx, a.Room, session); err != nil {
			return nil, err
		}
	}
	return s.connection(a, *session)
}

// sameMeeting refuses a session whose meeting is over.
func (s *Service) sameMeeting(ctx context.Context, r *ent.Room, session *auth.ParticipantSession) error {
	if session.Meeting != r.Meeting {
		return ErrLobbyRequired
	}
	m, err := s.LiveKit.Meeting(ctx, r.ID)
	switch {
	case errors.Is(err, live.ErrGone):
		return ErrLobbyRequired
	case err != nil:
		return fault.ErrLiveKit.Because(err)
	case m.StartTime.After(session.JoinTime.Add(s.TokenLife)):
		// Their first token could not have been used to connect to a meeting that began later than that.
		return ErrLobbyRequired
	}
	return nil
}

// connection signs what a client needs to connect as session says, with what a's role allows.
func (s *Service) connection(a *auth.Access, session auth.ParticipantSession) (*usherv1.Connection, error) {
	grant := live.Grant{
		Room: a.Room.ID, Identity: session.Identity, DisplayName: session.DisplayName,
		Attributes: map[string]string{
			attributeRole:      roleAttribute(a.Role),
			"is_authenticated": fmt.Sprint(session.UserID != uuid.Nil),
			"color":            color(session.Identity),
		},
		Sources: s.sources(a.Room, a.Role),
	}
	metadata, err := roomMetadata(a.Room)
	if err != nil {
		return nil, err
	}
	token, expire, err := s.LiveKit.Token(grant, metadata)
	if err != nil {
		return nil, fmt.Errorf("sign LiveKit token: %w", err)
	}
	// The same session gives the same text: there is nothing random in it.
	sessionToken, err := s.Keys.SignSession(session)
	if err != nil {
		return nil, err
	}
	return &usherv1.Connection{
		ServerUrl: s.LiveKitURL, LivekitRoom: a.Room.ID.String(),
		Token: token, TokenExpireTime: timestamppb.New(expire),
		ParticipantIdentity: session.Identity,
		SessionToken:        sessionToken, SessionExpireTime: timestamppb.New(session.ExpireTime),
	}, nil
}

// displayName is the name that others see.
func (s *Service) displayName(c *auth.Caller, asked string) string {
	name := text.Clean(asked, text.MaxPersonName)
	if u := c.User; c.Kind == auth.User && (name == "" || s.Defaults.AccountNames) {
		name = text.PersonName(u.FullName, u.ShortName, u.Email)
	}
	if name == "" {
		return "Guest"
	}
	return name
}

// attributeRole is the participant attribute that tells clients the role.
const attributeRole = "room_role"

// roleAttribute is a role as participants see it: "owner", "administrator", "member" or empty.
func roleAttribute(r usherv1.Role) string { return strings.ToLower(auth.RoleName(r)) }

// color is the colour of a participant, the same wherever their identity is seen.
func color(identity string) string {
	hash := sha256.Sum256([]byte(identity))
	pick := func(i int, low, high uint32) uint32 {
		return low + binary.BigEndian.Uint32(hash[4*i:])%(high-low+1)
	}
	return fmt.Sprintf("hsl(%d, %d%%, %d%%)", pick(0, 0, 360), pick(1, 50, 75), pick(2, 25, 60))
}

// allSources is what administrators and owners may publish.
var allSources = []usherv1.TrackSource{
	usherv1.TrackSource_TRACK_SOURCE_CAMERA, usherv1.TrackSource_TRACK_SOURCE_MICROPHONE,
	usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE, usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE_AUDIO,
}

// sources are what somebody with a role may publish in a room; empty for nothing.
func (s *Service) sources(r *ent.Room, role usherv1.Role) []usherv1.TrackSource {
	switch {
	case role >= usherv1.Role_ROLE_ADMINISTRATOR:
		return allSources
	case r.Configuration.GetRestrictSources():
		return r.Configuration.GetCanPublishSources()
	}
	return s.Defaults.Sources
}
