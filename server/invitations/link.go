package invitations

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/text"
)

// linked is the invitation that a link names, with its room.
type linked struct {
	invitation *ent.Invitation
	room       *ent.Room
}

func isRoomGone(err error) bool { return errors.Is(err, auth.ErrRoomNotFound) }

// byToken finds the invitation of a link that works.
func (s *Service) byToken(ctx context.Context, token string) (*linked, error) {
	i, err := s.DB.Read.Invitation.Query().Where(invitation.TokenHash(hashToken(token))).WithInviter().Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("find invitation: %w", err)
	}
	if err := requireOpen(i, now()); err != nil {
		return nil, err
	}
	r, err := s.DB.Read.Room.Get(ctx, i.RoomID)
	switch {
	case ent.IsNotFound(err):
		return nil, ErrRevoked // the room was deleted; the sweep will write it down
	case err != nil:
		return nil, fmt.Errorf("find room: %w", err)
	}
	return &linked{i, r}, nil
}

func inviterName(i *ent.Invitation) string {
	u := i.Edges.Inviter
	if u == nil {
		return ""
	}
	return text.PersonName(u.FullName, u.ShortName, "")
}

// resolve tells what a link is about.
func (s *Service) resolve(ctx context.Context, token string) (*usherv1.ResolveInvitationResponse, error) {
	l, err := s.byToken(ctx, token)
	if err != nil {
		return nil, err
	}
	i, r := l.invitation, l.room
	res := &usherv1.ResolveInvitationResponse{
		Room: &usherv1.InvitedRoom{Id: r.ID.String(), Name: r.Name, Slug: r.Slug},
		InviterDisplayName: inviterName(
			i,
		), Status: i.Status, Response: i.Response, Timezone: i.Timezone, SkipLobby: i.SkipLobby,
		DialIn: s.phones(ctx, r), WebUrl: s.PublicURL + "/" + r.Slug, Recurrence: i.Recurrence,
		ExpireTime: timestamppb.New(i.ExpireTime),
	}
	if at := storedSchedule(i); !at.none() {
		start, end := at.current(now())
		res.StartTime, res.EndTime = timestamppb.New(start), timestamppb.New(end)
	}
	return res, nil
}

// phones is how to come by phone, nil where nobody can. Nothing else waits for telephony to be well.
func (s *Service) phones(ctx context.Context, r *ent.Room) *usherv1.DialIn {
	found, err := s.Telephony.DialIns(ctx, r)
	if err != nil {
		s.Log.WarnContext(ctx, "an invitation is shown without phone numbers", "room", r.ID, "err", err)
		return nil
	}
	return found[r.ID]
}

// respond stores an answer.
func (s *Service) respond(ctx context.Context, token string, answer usherv1.Attendance) error {
	l, err := s.byToken(ctx, token)
	if err != nil {
		return err
	}
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		n, err := tx.Invitation.Update().
			Where(invitation.ID(l.invitation.ID), invitation.StatusIn(open...)).
			SetResponse(answer).
			Save(ctx)
		if err == nil && n == 0 {
			return ErrRevoked // in between
		}
		if err != nil {
			return fmt.Errorf("store answer: %w", err)
		}
		return nil
	})
}

// Invited reports whom a link lets into a room without waiting, now: everybody with that link has one identity, so that
// LiveKit lets the one before go. It returns nil for every other token.
func (s *Service) Invited(ctx context.Context, a *auth.Access, token string) (*meeting.Admission, error) {
	at := now()
	i, err := s.DB.Read.Invitation.Query().Where(
		invitation.TokenHash(hashToken(token)),
		invitation.RoomID(a.Room.ID), invitation.SkipLobby(true), invitation.StatusIn(open...),
	).
		Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("find invitation: %w", err)
	case !isOpen(i, at) || !storedSchedule(i).admits(at):
		return nil, nil
	}
	user, _ := a.Caller.UserID()
	return &meeting.Admission{Identity: i.Identity, UserID: user, Time: at, Invitation: i.ID}, nil
}

// Stands reports whether the link that let somebody in may bring them back to the meeting that they were in: it was not
// withdrawn. That it would admit nobody today, because its time is over or they were invited again to wait, throws nobody
// out.
func (s *Service) Stands(ctx context.Context, room uuid.UUID, identity string) (bool, error) {
	stands, err := s.DB.Read.Invitation.Query().Where(
		invitation.RoomID(room), invitation.Identity(identity), invitation.StatusNEQ(revoked),
	).Exist(ctx)
	if err != nil {
		return false, fmt.Errorf("find invitation: %w", err)
	}
	return stands, nil
}

// Admit counts that a link let somebody in. It fails with [auth.ErrLobbyRequired] when the invitation was revoked since
// [Service.Invited] looked, and then nobody is to be let in.
func (s *Service) Admit(ctx context.Context, a *auth.Access, g *meeting.Admission) error {
	err := s.DB.Run(ctx, func(tx *ent.Client) error {
		if _, err := auth.LockRoom(ctx, tx, a.Room.ID.String()); err != nil {
			return err
		}
		n, err := tx.Invitation.Update().Where(
			invitation.ID(g.Invitation),
			invitation.SkipLobby(true), invitation.StatusIn(open...), invitation.ExpireTimeGT(now()),
		).
			AddAdmissions(1).Save(ctx)
		if err == nil && n == 0 {
			return auth.ErrLobbyRequired
		}
		if err != nil {
			return fmt.Errorf("count admission: %w", err)
		}
		i, err := tx.Invitation.Get(ctx, g.Invitation)
		if err != nil {
			return fmt.Errorf("find invitation: %w", err)
		}
		return record(ctx, tx, i, audit.InvitationUsed, fmt.Sprintf("use=%d", i.Admissions))
	})
	if err == nil {
		s.Log.InfoContext(ctx, "admitted by an invitation", "room", a.Room.ID, "invitation", g.Invitation)
	}
	return err
}
