package rooms

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
)

// meetingEditor lists the calls to LiveKit about meetings.
type meetingEditor interface {
	LiveRooms(ctx context.Context) ([]uuid.UUID, error)
	LiveMeetings(ctx context.Context) ([]meeting.Meeting, error)
	// CloseRoom ends a meeting. That there is none is success.
	CloseRoom(ctx context.Context, room uuid.UUID) error
	// SetRoomMetadata fails with meeting.ErrNotFound when there is no meeting.
	SetRoomMetadata(ctx context.Context, room uuid.UUID, metadata string) error
}

// participantEditor lists the calls to LiveKit about participants.
type participantEditor interface {
	// Participants may fail with meeting.ErrNotFound when there is no meeting.
	Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error)
	// UpdateParticipant replaces the permissions, adds the attributes, and leaves the name unless there is one. It fails
	// with meeting.ErrNotFound when they left.
	UpdateParticipant(ctx context.Context, g meeting.Grant) error
	// RemoveParticipant succeeds when they left already.
	RemoveParticipant(ctx context.Context, room uuid.UUID, identity string) error
}

// CloseRoom implements livetasks.Handlers: it ends the lobby and the meeting of a room that is gone, and reports whether
// there was a meeting.
func (s *Service) CloseRoom(ctx context.Context, id uuid.UUID) (changed bool, err error) {
	cleared := s.Lobby.Clear(ctx, id)
	changed, err = s.closeMeetingNow(ctx, id)
	return changed, errors.Join(cleared, err, s.Telephony.Settle(ctx, id))
}

// closeMeetingNow ends whatever LiveKit has of a room, and reports whether there was something.
func (s *Service) closeMeetingNow(ctx context.Context, id uuid.UUID) (changed bool, err error) {
	_, err = s.LiveKit.Meeting(ctx, id)
	if errors.Is(err, meeting.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, s.LiveKit.CloseRoom(ctx, id)
}

// Sync does at once what a task of kind sync_room does.
func (s *Service) Sync(ctx context.Context, id uuid.UUID) error {
	_, err := s.SyncRoom(ctx, id)
	return err
}

// SyncRoom brings what hangs on a room up to date: who waits in its lobby, and its meeting, if there is one: its metadata,
// what its participants may do, and whether it can be dialled. It reports whether something in LiveKit was not.
func (s *Service) SyncRoom(ctx context.Context, id uuid.UUID) (changed bool, err error) {
	r, err := s.DB.Read.Room.Get(ctx, id)
	if ent.IsNotFound(err) {
		return false, nil // deleted since: another task closes it
	}
	if err != nil {
		return false, fmt.Errorf("find room: %w", err)
	}
	// Who waits, who is in the meeting and who may call do not depend on each other: a failure of one does not stop the others.
	admitted := s.Lobby.AdmitEligible(ctx, r)
	changed, err = s.syncMeeting(ctx, r)
	return changed, errors.Join(admitted, err, s.Telephony.Settle(ctx, id))
}

// syncMeeting brings the meeting of a room up to date, if there is one, and reports whether something was not.
func (s *Service) syncMeeting(ctx context.Context, r *ent.Room) (changed bool, err error) {
	present, err := s.LiveKit.Meeting(ctx, r.ID)
	if errors.Is(err, meeting.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var label recordingLabel
	if label.mode, label.status, err = s.Recordings.Label(ctx, r.ID, present.StartTime); err != nil {
		return false, err
	}
	metadata, err := roomMetadata(r, label)
	if err != nil {
		return false, err
	}
	stale := present.Metadata != metadata
	if stale {
		if err := ignoreGone(s.LiveKit.SetRoomMetadata(ctx, r.ID, metadata)); err != nil {
			return true, err
		}
	}
	changed, err = s.syncParticipants(ctx, r)
	return changed || stale, err
}

// syncParticipants gives each of this server's own participants what their role allows today, removes those who must not be
// in the meeting, and reports whether there was something to do. A failure about one participant does not stop the others.
func (s *Service) syncParticipants(ctx context.Context, r *ent.Room) (changed bool, err error) {
	participants, err := s.LiveKit.Participants(ctx, r.ID)
	if errors.Is(err, meeting.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	a, err := s.loadAttendance(ctx, r, participants)
	if err != nil {
		return false, err
	}
	var failures []error
	for _, p := range participants {
		id, ours := a.users[p.Identity]
		switch {
		case a.mustLeave(p):
			changed = true
			failures = append(failures, s.LiveKit.RemoveParticipant(ctx, r.ID, p.Identity))
		case ours: // and not a recorder, an agent, a phone caller
			stale, err := s.syncParticipant(ctx, r, p, a.roles[id], a.states.Of(p.Identity, id))
			changed = changed || stale
			failures = append(failures, err)
		}
	}
	return changed, errors.Join(failures...)
}

// syncParticipant gives one participant what their role allows and hosts have decided, and reports whether they had not.
func (s *Service) syncParticipant(
	ctx context.Context, r *ent.Room, p meeting.Participant, role usherv1.Role, state moderation.State,
) (changed bool, err error) {
	sources := s.sources(r, role, state)
	// Without a name that stays: LiveKit refuses a change that names one of over 256 bytes, though it let them in.
	name := state.Name
	if name == p.DisplayName {
		name = ""
	}
	if sameSources(sources, p.Sources) && p.NoSubscribe == state.NoSubscribe && name == "" &&
		p.Attributes[auth.AttributeRole] == auth.RoleAttribute(role) {
		return false, nil
	}
	return true, ignoreGone(s.LiveKit.UpdateParticipant(ctx, meeting.Grant{
		Room: r.ID, Identity: p.Identity, DisplayName: name,
		Attributes: map[string]string{
			auth.AttributeRole: auth.RoleAttribute(role),
		}, Sources: sources, NoSubscribe: state.NoSubscribe,
	}))
}

// roles are the roles of users in a room; those without one are left out. A membership that waits for somebody's verified
// address counts, as it does when they join.
func (s *Service) roles(
	ctx context.Context, roomID uuid.UUID, people map[uuid.UUID]*ent.User,
) (map[uuid.UUID]usherv1.Role, error) {
	roles := make(map[uuid.UUID]usherv1.Role, len(people))
	if len(people) == 0 {
		return roles, nil
	}
	byAddress := make(map[mailbox.Address][]uuid.UUID, len(people))
	addresses := make([]mailbox.Address, 0, len(people))
	for _, u := range people {
		if u.EmailVerified && u.Email != "" {
			byAddress[u.Email] = append(byAddress[u.Email], u.ID)
			addresses = append(addresses, u.Email)
		}
	}
	ids := slices.Collect(maps.Keys(people))
	members, err := s.DB.Read.Member.Query().
		Where(member.RoomID(roomID), member.Or(member.UserIDIn(ids...), member.EmailIn(addresses...))).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find members: %w", err)
	}
	for _, m := range members {
		whose := []uuid.UUID{}
		if m.UserID != nil {
			whose = append(whose, *m.UserID)
		} else if m.Email != nil {
			whose = byAddress[*m.Email]
		}
		for _, id := range whose {
			roles[id] = max(roles[id], m.Role)
		}
	}
	return roles, nil
}

// RemoveUser implements livetasks.Handlers: it removes a user from every meeting, unless they have become active again, and
// reports whether they were in one.
func (s *Service) RemoveUser(ctx context.Context, id uuid.UUID) (changed bool, err error) {
	active, err := s.DB.Read.User.Query().Where(user.ID(id), user.Active(true)).Exist(ctx)
	if err != nil {
		return false, fmt.Errorf("find user: %w", err)
	}
	if active {
		return false, nil
	}
	rooms, err := s.LiveKit.LiveRooms(ctx)
	if err != nil {
		return false, err
	}
	var failures []error
	for _, room := range rooms {
		removed, err := s.removeFrom(ctx, room, id)
		changed = changed || removed
		failures = append(failures, ignoreGone(err))
	}
	return changed, errors.Join(failures...)
}

// removeFrom removes a user from one meeting, on all their devices, and reports whether they were in it.
func (s *Service) removeFrom(ctx context.Context, room, userID uuid.UUID) (changed bool, err error) {
	participants, err := s.LiveKit.Participants(ctx, room)
	if err != nil {
		return false, err
	}
	var failures []error
	for _, p := range participants {
		if id, ours := s.Keys.IdentityUser(room, p.Identity); ours && id == userID {
			changed = true
			failures = append(failures, s.LiveKit.RemoveParticipant(ctx, room, p.Identity))
		}
	}
	return changed, errors.Join(failures...)
}

func sameSources(a, b []usherv1.TrackSource) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// ignoreGone is nil for what is not there any more: the outcome that was wanted, or nobody to bring up to date.
func ignoreGone(err error) error {
	if errors.Is(err, meeting.ErrNotFound) {
		return nil
	}
	return err
}
