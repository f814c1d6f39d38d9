package rooms

import (
	"context"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/live"
)

// Enter is JoinRoom for a caller of another service: it fails with [auth.ErrLobbyRequired] for those who have to wait.
func (s *Service) Enter(ctx context.Context, ref, displayName string) (*usherv1.Connection, error) {
	if err := s.limitJoins(ctx); err != nil {
		return nil, err
	}
	a, state, err := s.enter(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.connectNew(a, displayName, state)
}

// Connect makes the connection of somebody who was let in, with today's grants: every time the same identity, name and
// session. It fails with [auth.ErrLobbyRequired] when the meeting of the admission is over, which LiveKit is asked only after
// the first token has run out.
//
// It counts under the limit of joins as that participant does who renews a connection, not as their network: when a host lets
// a whole class in at once, all of it gets in.
func (s *Service) Connect(ctx context.Context, r *ent.Room, g live.Admission) (*usherv1.Connection, error) {
	joined := g.Time.UTC().Truncate(time.Second)
	session := auth.ParticipantSession{
		RoomID: r.ID, Identity: g.Identity, UserID: g.UserID, DisplayName: g.DisplayName, Meeting: r.Meeting,
		JoinTime: joined, ExpireTime: joined.Add(s.SessionLife),
	}
	if err := s.limitJoinsOf(ctx, &auth.Caller{Kind: auth.Participant, Participant: &session}); err != nil {
		return nil, err
	}
	a, state, err := s.participant(ctx, &session)
	if err != nil {
		return nil, err
	}
	if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT && time.Since(g.Time) > s.TokenLife {
		if err := s.sameMeeting(ctx, a.Room, &session); err != nil {
			return nil, err
		}
	}
	return s.connection(a, session, state)
}
