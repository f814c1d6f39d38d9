package invitations

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	"github.com/usher-meet/usher/gen/ent/invitationletter"
	"github.com/usher-meet/usher/gen/ent/predicate"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/mask"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/ratelimit"
)

// find finds an invitation for somebody who may change its room. lock keeps others from changing it or the room until the
// transaction ends.
func find(ctx context.Context, tx *ent.Client, ref string, lock bool) (*ent.Invitation, error) {
	id, err := uuid.Parse(ref)
	if err != nil {
		return nil, fault.Invalid("invitation_id", "must be a UUID")
	}
	i, err := get(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	look := auth.LockRoom
	if !lock {
		look = func(ctx context.Context, tx *ent.Client, ref string) (*auth.Access, error) {
			return auth.FindRoom(ctx, tx, ref)
		}
	}
	a, err := look(ctx, tx, i.RoomID.String())
	switch {
	case err == nil && a.Role == usherv1.Role_ROLE_UNSPECIFIED, isRoomGone(err):
		return nil, ErrNotFound
	case err != nil:
		return nil, err
	}
	if err := a.RequireAdministrator(); err != nil {
		return nil, err
	}
	if lock {
		// As it was before the lock was got. The sweep, which may end the link at this moment, does not lock rooms.
		i, err = get(ctx, tx, id, dbtx.ForUpdate)
	}
	return i, err
}

func get(ctx context.Context, tx *ent.Client, id uuid.UUID, more ...predicate.Invitation) (*ent.Invitation, error) {
	i, err := tx.Invitation.Query().Where(invitation.ID(id)).Where(more...).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("find invitation: %w", err)
	}
	return i, nil
}

// changeable finds an invitation about which a letter may be sent. The room is locked.
func (s *Service) changeable(ctx context.Context, tx *ent.Client, id string) (*ent.Invitation, error) {
	i, err := find(ctx, tx, id, true)
	if err != nil {
		return nil, err
	}
	if err := requireOpen(i, now()); err != nil {
		return nil, err
	}
	if !s.Rules.Enabled {
		return nil, ErrNoMail
	}
	return i, nil
}

// updatable are the fields of an invitation that can be changed.
var updatable = []string{"message", "start_time", "end_time", "timezone", "recurrence"}

// update changes an invitation as the request says, and has a letter sent that says so.
func (s *Service) update(
	ctx context.Context, user *ent.User, req *usherv1.UpdateInvitationRequest,
) (i *ent.Invitation, err error) {
	asked := req.GetInvitation()
	if _, err := mask.Merge(&usherv1.Invitation{}, asked, req.GetUpdateMask(), updatable...); err != nil {
		return nil, err
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		if i, err = s.changeable(ctx, tx, asked.GetId()); err != nil {
			return err
		}
		before := view(i, now())
		after := proto.CloneOf(before)
		changed, err := mask.Merge(after, asked, req.GetUpdateMask(), updatable...)
		if err != nil {
			return err
		}
		after.Message = clean(after.GetMessage())
		next, err := s.reschedule(i, after, changed)
		if err != nil {
			return err
		}
		after.Recurrence, after.Timezone = next.recurrence, next.timezone
		if proto.Equal(before, after) {
			return nil
		}
		if err := s.takeOne(ctx, tx, user.ID, now()); err != nil {
			return err
		}
		return s.store(ctx, tx, &i, after, next)
	})
	return i, err
}

// reschedule reads what an invitation is to become. What depends on the beginning of the meeting is cleared with it.
func (s *Service) reschedule(i *ent.Invitation, after *usherv1.Invitation, changed []string) (schedule, error) {
	if i.StartTime != nil && after.GetStartTime() == nil {
		if !slices.Contains(changed, "end_time") {
			after.EndTime = nil
		}
		if !slices.Contains(changed, "recurrence") {
			after.Recurrence = ""
		}
	}
	if after.GetTimezone() == "" || !slices.Contains(changed, "timezone") {
		after.Timezone = storedSchedule(i).timezone
	}
	about := slices.ContainsFunc(changed, func(f string) bool { return f != "message" })
	if !about {
		return storedSchedule(i), nil
	}
	next, err := readSchedule(
		"invitation.", after.GetStartTime(), after.GetEndTime(), after.GetTimezone(), after.GetRecurrence(),
	)
	if err != nil {
		return schedule{}, err
	}
	if !next.none() && next.last().Before(now()) {
		return schedule{}, fault.Invalid("invitation.end_time", "must not be over")
	}
	return next, nil
}

func (s *Service) store(
	ctx context.Context, tx *ent.Client, i **ent.Invitation, after *usherv1.Invitation, next schedule,
) error {
	was := storedSchedule(*i)
	update := tx.Invitation.UpdateOne(*i).SetMessage(after.GetMessage()).SetTimezone(next.timezone).
		SetRecurrence(next.recurrence).AddSequence(1).SetStatus(pending)
	switch {
	case !next.none():
		update.SetStartTime(next.start).SetEndTime(next.end).SetExpireTime(next.expire((*i).CreateTime, s.Rules.Life))
	case !was.none():
		update.ClearStartTime().ClearEndTime().SetExpireTime(next.expire(now(), s.Rules.Life))
	}
	var err error
	if *i, err = update.Save(ctx); err != nil {
		return fmt.Errorf("update invitation: %w", err)
	}
	if err := record(ctx, tx, *i, audit.InvitationUpdated, ""); err != nil {
		return err
	}
	if next.none() && !was.none() {
		return s.postUnscheduled(ctx, tx, *i, was)
	}
	return s.post(ctx, tx, *i, invitationletter.KindChanged)
}

// resend has the letter sent again.
func (s *Service) resend(ctx context.Context, user *ent.User, id string) (i *ent.Invitation, err error) {
	if i, err = find(ctx, s.DB.Read, id, false); err != nil {
		return nil, err
	}
	call := ratelimit.Call{Limit: s.ResendLimit, Key: i.RoomID.String()}
	if err := s.Limiter.Allow(ctx, call); err != nil {
		return nil, err
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		if i, err = s.changeable(ctx, tx, id); err != nil {
			return err
		}
		if err := s.takeOne(ctx, tx, user.ID, now()); err != nil {
			return err
		}
		if err := record(ctx, tx, i, audit.InvitationResent, ""); err != nil {
			return err
		}
		return s.again(ctx, tx, &i)
	})
	return i, err
}

// again has the letter about an open invitation sent once more.
func (s *Service) again(ctx context.Context, tx *ent.Client, i **ent.Invitation) error {
	var err error
	if *i, err = tx.Invitation.UpdateOne(*i).SetStatus(pending).Save(ctx); err != nil {
		return fmt.Errorf("update invitation: %w", err)
	}
	return s.post(ctx, tx, *i, invitationletter.KindInvited)
}

// revoke withdraws an invitation. One that has ended stays as it is.
func (s *Service) revoke(ctx context.Context, id string) (i *ent.Invitation, room uuid.UUID, err error) {
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		if i, err = find(ctx, tx, id, true); err != nil {
			return err
		}
		room = i.RoomID
		if !isOpen(i, now()) {
			return nil
		}
		if err := record(ctx, tx, i, audit.InvitationRevoked, ""); err != nil {
			return err
		}
		return s.withdraw(ctx, tx, &i)
	})
	return i, room, err
}

// withdraw ends a link, and takes the meeting out of the calendar where it may be.
func (s *Service) withdraw(ctx context.Context, tx *ent.Client, i **ent.Invitation) error {
	at := storedSchedule(*i)
	update := closeLink(tx.Invitation.UpdateOne(*i), revoked).SetRevokeTime(now()).AddSequence(1)
	var err error
	if *i, err = update.Save(ctx); err != nil {
		return fmt.Errorf("revoke invitation: %w", err)
	}
	if at.none() || at.last().Before(now()) || !s.Rules.Enabled {
		return nil
	}
	return s.post(ctx, tx, *i, invitationletter.KindCancelled)
}
