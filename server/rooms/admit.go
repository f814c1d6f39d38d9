package rooms

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/meeting"
)

// Join is JoinRoom for a caller of another service: it fails with [auth.ErrLobbyRequired] for those who have to wait.
func (s *Service) Join(ctx context.Context, ref, displayName string) (*usherv1.Connection, error) {
	if err := s.limitJoins(ctx); err != nil {
		return nil, err
	}
	a, state, err := s.authorizeJoin(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.connectCaller(a, displayName, state)
}

// ConnectAdmitted makes the connection of somebody who was let in, with today's grants: every time the same identity, name
// and session. It fails with [auth.ErrLobbyRequired] when the meeting of the admission is over, which LiveKit is asked only
// after the first token has run out.
//
// It counts under the limit of joins as that participant does who renews a connection, not as their network: when a host
// lets a whole class in at once, all of it gets in.
func (s *Service) ConnectAdmitted(ctx context.Context, r *ent.Room, g meeting.Admission) (*usherv1.Connection, error) {
	joined := g.Time.UTC().Truncate(time.Second)
	session := auth.ParticipantSession{
		RoomID: r.ID, Identity: g.Identity, UserID: g.UserID, DisplayName: g.DisplayName, Meeting: r.Meeting,
		JoinTime: joined, ExpireTime: joined.Add(s.SessionLife),
	}
	if err := s.limitJoinsOf(ctx, &auth.Caller{Kind: auth.Participant, Participant: &session}); err != nil {
		return nil, err
	}
	a, state, err := s.authorizeParticipant(ctx, &session)
	if err != nil {
		return nil, err
	}
	if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT && time.Since(g.Time) > s.TokenLife {
		if err := s.sameMeeting(ctx, a.Room, &session); err != nil {
			return nil, err
		}
	}
	return s.newConnection(a, session, state)
}

// JoinInvited makes the connection of somebody who would have to wait, with a link that lets them in. It fails with
// [auth.ErrLobbyRequired] for every other token, and with moderation.ErrBlocked for those who are kept out, link or not.
func (s *Service) JoinInvited(ctx context.Context, a *auth.Access, displayName, token string) (*usherv1.Connection, error) {
	if token == "" || s.Invitations == nil {
		return nil, auth.ErrLobbyRequired
	}
	g, err := s.Invitations.Invited(ctx, a, token)
	if err != nil {
		return nil, err
	}
	if g == nil {
		return nil, auth.ErrLobbyRequired
	}
	joined := g.Time.UTC().Truncate(time.Second)
	session := auth.ParticipantSession{
		RoomID: a.Room.ID, Identity: g.Identity, UserID: g.UserID, DisplayName: s.DisplayName(a.Caller, displayName),
		Meeting: a.Room.Meeting, Invited: true, JoinTime: joined, ExpireTime: joined.Add(s.SessionLife),
	}
	found, state, err := s.authorizeParticipant(ctx, &session)
	if err != nil {
		return nil, err
	}
	if err := s.Invitations.Admit(ctx, a, g); err != nil {
		return nil, err
	}
	if session.Identity != g.Identity { // that of another account, which has inherited what hosts decided
		session.Identity = g.Identity
		if found, state, err = s.authorizeParticipant(ctx, &session); err != nil {
			return nil, err
		}
	}
	if g.Replaced != "" {
		// Should LiveKit not answer, the event of whoever comes now puts the other one out.
		if err := s.LiveKit.RemoveParticipant(ctx, a.Room.ID, g.Replaced); err != nil {
			s.Log.WarnContext(ctx, "who came with the same link is not out yet", "room", a.Room.ID, "err", err)
		}
	}
	return s.newConnection(found, session, state)
}

// AddInvited makes whoever has a verified address a member, unless they have a role or are to have one. The room must be
// locked.
func (s *Service) AddInvited(ctx context.Context, tx *ent.Client, room uuid.UUID, address mailbox.Address) error {
	same := member.Or(member.Email(address), member.HasUserWith(user.Email(address), user.EmailVerified(true)))
	found, err := tx.Member.Query().Where(member.RoomID(room), same).Exist(ctx)
	if err != nil {
		return fmt.Errorf("find member of %s: %w", room, err)
	}
	if found {
		return nil
	}
	m, err := tx.Member.Create().SetRoomID(room).SetRole(usherv1.Role_ROLE_MEMBER).SetEmail(address).Save(ctx)
	if err != nil {
		return fmt.Errorf("insert member of %s: %w", room, err)
	}
	return recordMember(ctx, tx, audit.MemberAdded, m, "role="+auth.RoleName(m.Role))
}
