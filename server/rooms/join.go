package rooms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/sqlgraph"
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
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
	"github.com/usher-meet/usher/server/text"
)

// connector lists the calls to LiveKit that joining needs.
type connector interface {
	// Token signs a LiveKit token. The metadata is for the room that LiveKit makes when it is used to join.
	Token(g meeting.Grant, metadata string) (token string, expire time.Time, err error)
	// Live says at once, as of some seconds ago, whether a room has a meeting; nil when LiveKit does not answer.
	Live(ctx context.Context, room uuid.UUID) *usherv1.RoomLive
	// Meeting asks LiveKit. It fails with meeting.ErrNotFound when there is none.
	Meeting(ctx context.Context, room uuid.UUID) (*meeting.Meeting, error)
}

// authorizeJoin finds a room that the caller may enter now. A membership that waits for the caller's address is claimed; for
// everybody else this is one statement that writes nothing, and another one where hosts have decided about somebody.
func (s *Service) authorizeJoin(ctx context.Context, ref string) (*auth.Access, moderation.State, error) {
	a, err := s.findOpen(ctx, ref)
	if err != nil {
		return nil, moderation.State{}, err
	}
	states, err := moderation.Load(ctx, s.DB.Read, a.Room)
	if err != nil {
		return nil, moderation.State{}, err
	}
	userID, _ := a.Caller.UserID()
	state := states.Of("", userID)
	if state.Blocked {
		return nil, state, moderation.ErrBlocked
	}
	if hasPending(a.Room) {
		a, err = s.claimPending(ctx, a.Room.ID)
	}
	return a, state, err
}

// joinRoom makes the connection of a caller who may enter now, by themselves or by an invitation.
func (s *Service) joinRoom(ctx context.Context, req *usherv1.JoinRoomRequest) (*auth.Access, *usherv1.Connection, error) {
	a, state, err := s.authorizeJoin(ctx, req.GetRoom())
	if errors.Is(err, auth.ErrLobbyRequired) && req.GetInvitationToken() != "" {
		if a, err = auth.FindRoom(ctx, s.DB.Read, req.GetRoom()); err != nil {
			return nil, nil, err
		}
		connection, err := s.JoinInvited(ctx, a, req.GetDisplayName(), req.GetInvitationToken())
		return a, connection, err
	}
	if err != nil {
		return nil, nil, err
	}
	connection, err := s.connectCaller(a, req.GetDisplayName(), state)
	return a, connection, err
}

// findOpen finds a room that the caller need not wait for.
func (s *Service) findOpen(ctx context.Context, ref string) (*auth.Access, error) {
	a, err := auth.FindRoom(ctx, s.DB.Read, ref, selectPending(auth.FromContext(ctx)), moderation.Select())
	if err != nil {
		return nil, err
	}
	if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT {
		return nil, auth.ErrLobbyRequired
	}
	return a, nil
}

// claimPending claims the membership that waits for the caller's address, and returns the room as it is then.
func (s *Service) claimPending(ctx context.Context, roomID uuid.UUID) (a *auth.Access, err error) {
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		if a, err = auth.LockRoom(ctx, tx, roomID.String()); err != nil {
			return err
		}
		// While this waited, the membership may have been taken away, or the room closed to others.
		if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT {
			return auth.ErrLobbyRequired
		}
		_, err := claim(ctx, tx, a.Room.ID, a.Caller.User)
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
		mine := sql.And(
			sql.ColumnsEQ(t.C(member.FieldRoomID), sel.C(room.FieldID)), sql.EQ(t.C(member.FieldEmail), c.User.Email),
		)
		sel.AppendSelectExprAs(sql.Dialect(sel.Dialect()).Select(sql.Count("*")).From(t).Where(mine), pendingColumn)
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
	switch {
	case sqlgraph.IsForeignKeyConstraintError(err):
		return nil, auth.ErrUnauthenticated.Saying("the account is gone") // deleted since the credential was looked at
	case err != nil:
		return nil, fmt.Errorf("claim membership in %s: %w", roomID, err)
	}
	detail := fmt.Sprintf("member=%s role=%s", pending.ID, auth.RoleName(own.Role))
	return own, audit.Record(ctx, tx, audit.Event{
		Room: roomID, Action: audit.MemberClaimed, Target: audit.User(u.ID), Detail: detail,
	})
}

// connectCaller makes the connection of somebody who joins.
func (s *Service) connectCaller(a *auth.Access, displayName string, state moderation.State) (*usherv1.Connection, error) {
	userID, _ := a.Caller.UserID()
	// Tokens count in whole seconds.
	joined := time.Now().UTC().Truncate(time.Second)
	return s.newConnection(a, auth.ParticipantSession{
		RoomID: a.Room.ID, Identity: s.Keys.NewIdentity(a.Room.ID, userID), UserID: userID,
		DisplayName: s.DisplayName(a.Caller, displayName), Meeting: a.Room.Meeting,
		JoinTime: joined, ExpireTime: joined.Add(s.SessionLife),
	}, state)
}

// renew makes a new connection for a participant, with today's grants. Who would have to wait now may come back to the
// meeting that they were in, and to no later one; and whom an invitation let in, while that stands.
func (s *Service) renew(ctx context.Context, session *auth.ParticipantSession) (*usherv1.Connection, error) {
	a, state, err := s.authorizeParticipant(ctx, session)
	if err != nil {
		return nil, err
	}
	if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT {
		if err := s.stillInvited(ctx, session); err != nil {
			return nil, err
		}
		if err := s.sameMeeting(ctx, a.Room, session); err != nil {
			return nil, err
		}
	}
	return s.newConnection(a, *session, state)
}

// stillInvited refuses a session that an invitation began which was withdrawn since: nothing comes of a link that is dead.
func (s *Service) stillInvited(ctx context.Context, session *auth.ParticipantSession) error {
	if !session.Invited {
		return nil
	}
	ended, err := s.Invitations.Ended(ctx, session.RoomID, session.Identity)
	if _, over := ended[session.Identity]; over {
		return auth.ErrLobbyRequired
	}
	return err
}

// authorizeParticipant returns the present role of a participant and the decisions of hosts about them. It fails with
// moderation.ErrBlocked for those who are kept out.
func (s *Service) authorizeParticipant(
	ctx context.Context, session *auth.ParticipantSession,
) (*auth.Access, moderation.State, error) {
	a, err := auth.FindParticipantRoom(ctx, s.DB.Read, session, moderation.Select())
	if err != nil {
		return nil, moderation.State{}, err
	}
	states, err := moderation.Load(ctx, s.DB.Read, a.Room)
	if err != nil {
		return nil, moderation.State{}, err
	}
	state := states.Of(session.Identity, session.UserID)
	if state.Blocked {
		return nil, state, moderation.ErrBlocked
	}
	return a, state, nil
}

// sameMeeting refuses a session whose meeting is over.
func (s *Service) sameMeeting(ctx context.Context, r *ent.Room, session *auth.ParticipantSession) error {
	if !inMeeting(r, session.Meeting, session.JoinTime) {
		return auth.ErrLobbyRequired
	}
	m, err := s.LiveKit.Meeting(ctx, r.ID)
	switch {
	case errors.Is(err, meeting.ErrNotFound):
		return auth.ErrLobbyRequired
	case err != nil:
		return fault.ErrLiveKit.Because(err)
	case m.StartTime.After(session.JoinTime.Add(s.TokenLife)):
		// Their first token could not have been used to connect to a meeting that began later than that.
		return auth.ErrLobbyRequired
	}
	return nil
}

// newConnection signs what a client needs to connect as session says, with what a's role allows and hosts have decided.
func (s *Service) newConnection(
	a *auth.Access, session auth.ParticipantSession, state moderation.State,
) (*usherv1.Connection, error) {
	grant := meeting.Grant{
		Room: a.Room.ID, Identity: session.Identity,
		// Where the account decides, it may have another name than when they joined.
		DisplayName: cmp.Or(state.Name, s.DisplayName(a.Caller, session.DisplayName)),
		Attributes: map[string]string{
			auth.AttributeRole: auth.RoleAttribute(a.Role),
			attributeMeeting:   meetingAttribute(&session),
			"is_authenticated": fmt.Sprint(session.UserID != uuid.Nil),
			"color":            meeting.Color(session.Identity),
		},
		Sources: s.sources(a.Room, a.Role, state), NoSubscribe: state.NoSubscribe,
	}
	if session.Invited {
		grant.Attributes[meeting.AttributeInvited] = "true"
	}
	// Only a room that LiveKit makes on this join has it from the token, and nothing of that can be recorded before.
	metadata, err := roomMetadata(a.Room, recordingLabel{})
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

// DisplayName is the name that others see of a caller who asks for one.
func (s *Service) DisplayName(c *auth.Caller, asked string) string {
	name := text.Clean(asked, text.MaxPersonName)
	if u := c.User; c.Kind == auth.User && (name == "" || s.Defaults.AccountNames) {
		name = text.PersonName(u.FullName, u.ShortName, u.Email)
	}
	if name == "" {
		return "Guest"
	}
	return name
}

// allSources are the sources that administrators and owners may publish.
var allSources = []usherv1.TrackSource{
	usherv1.TrackSource_TRACK_SOURCE_CAMERA, usherv1.TrackSource_TRACK_SOURCE_MICROPHONE,
	usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE, usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE_AUDIO,
}

// sources are what somebody with a role, about whom hosts have decided state, may publish in a room; empty for nothing.
func (s *Service) sources(r *ent.Room, role usherv1.Role, state moderation.State) []usherv1.TrackSource {
	switch {
	case state.RestrictSources:
		return state.Sources
	case role >= usherv1.Role_ROLE_ADMINISTRATOR:
		return allSources
	case r.Configuration.GetRestrictSources():
		return r.Configuration.GetCanPublishSources()
	}
	return s.Defaults.Sources
}
