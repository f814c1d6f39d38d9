package invitations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
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
		Room:               &usherv1.InvitedRoom{Id: r.ID.String(), Name: r.Name, Slug: r.Slug},
		InviterDisplayName: inviterName(i), Status: i.Status, Response: i.Response, Timezone: i.Timezone, SkipLobby: i.SkipLobby,
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
		n, err := tx.Invitation.Update().Where(invitation.ID(l.invitation.ID), invitation.StatusIn(open...)).
			SetResponse(answer).Save(ctx)
		if err == nil && n == 0 {
			return ErrRevoked // in between
		}
		if err != nil {
			return fmt.Errorf("store answer: %w", err)
		}
		return nil
	})
}

// Invited reports whom a link lets into a room without waiting, now, with the identity of whoever came with it last. It
// returns nil for every other token.
func (s *Service) Invited(ctx context.Context, a *auth.Access, token string) (*meeting.Admission, error) {
	at := now()
	i, err := s.DB.Read.Invitation.Query().
		Where(invitation.TokenHash(hashToken(token)), invitation.RoomID(a.Room.ID)).
		Where(invitation.SkipLobby(true), invitation.StatusIn(open...)).Only(ctx)
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

// Ended tells which of the identities that links gave bring nobody back any more, and since when: those of links that were
// withdrawn, and, with the zero time, those whose link is another account's by now. That a link would admit nobody today,
// because its time is over or they were invited again to wait, throws nobody out.
func (s *Service) Ended(ctx context.Context, room uuid.UUID, identities ...string) (map[string]time.Time, error) {
	found, err := s.DB.Read.Invitation.Query().Where(invitation.RoomID(room), invitation.IdentityIn(identities...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find invitations: %w", err)
	}
	ended := make(map[string]time.Time, len(identities))
	for _, identity := range identities {
		ended[identity] = time.Time{}
	}
	for _, i := range found {
		switch {
		case i.Status != revoked:
			delete(ended, i.Identity)
		case i.RevokeTime != nil:
			ended[i.Identity] = *i.RevokeTime
		default: // before that was written down; nothing changes a row that was revoked
			ended[i.Identity] = i.UpdateTime
		}
	}
	return ended, nil
}

// Admit counts that a link let somebody in, and says in g with which identity. It fails with [auth.ErrLobbyRequired] when
// the invitation was revoked since [Service.Invited] looked, and then nobody is to be let in.
//
// Everybody with that link who has the same account, or none, has one identity, so that LiveKit lets the one before go. The
// identity says whose it is, for everything that is done to them later: so for another account it is another one, and
// g.Replaced is the one before.
func (s *Service) Admit(ctx context.Context, a *auth.Access, g *meeting.Admission) error {
	err := s.DB.Run(ctx, func(tx *ent.Client) error {
		locked, err := auth.LockRoom(ctx, tx, a.Room.ID.String())
		if err != nil {
			return err
		}
		n, err := tx.Invitation.Update().Where(invitation.ID(g.Invitation), invitation.SkipLobby(true)).
			Where(invitation.StatusIn(open...), invitation.ExpireTimeGT(now())).AddAdmissions(1).Save(ctx)
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
		if err := s.identify(ctx, tx, locked.Room, i, g); err != nil {
			return err
		}
		return record(ctx, tx, i, audit.InvitationUsed, fmt.Sprintf("use=%d", i.Admissions))
	})
	if err == nil {
		s.Log.InfoContext(ctx, "admitted by an invitation", "room", a.Room.ID, "invitation", g.Invitation)
	}
	return err
}

// identify says in g with which identity somebody comes in: that of whoever came last if they have the same account, else a
// new one, which takes its place. The room must be locked.
func (s *Service) identify(ctx context.Context, tx *ent.Client, r *ent.Room, i *ent.Invitation, g *meeting.Admission) error {
	g.Identity, g.Replaced = i.Identity, ""
	last, ours := s.Keys.IdentityUser(r.ID, i.Identity)
	if ours && last == g.UserID {
		return nil
	}
	g.Identity = s.Keys.NewIdentity(r.ID, g.UserID)
	if i.Admissions > 1 {
		g.Replaced = i.Identity
	}
	if err := tx.Invitation.UpdateOne(i).SetIdentity(g.Identity).Exec(ctx); err != nil {
		return fmt.Errorf("store identity: %w", err)
	}
	// Nobody gets rid of what hosts decided by signing in or out.
	return moderation.Inherit(ctx, tx, r,
		moderation.Who{User: last, Identity: i.Identity}, moderation.Who{User: g.UserID, Identity: g.Identity})
}
