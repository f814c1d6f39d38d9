// Package participants keeps order among the people who are in a meeting: it mutes, renames, restricts, promotes and removes
// them.
//
// What outlasts a moment is stored first (server/moderation, and the members of the room), in one transaction with its
// record and the task that makes LiveKit follow; then LiveKit is told at once. So a crash loses nothing, and whoever comes
// back has what was decided. Attributes and metadata of participants are added to and never replaced.
//
// This package does not let people in and does not change rooms. Every method fails with fault.ErrLiveKit when LiveKit does
// not answer, and then nothing was done.
package participants

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
	"github.com/usher-meet/usher/server/ratelimit"
)

// What can be refused about participants.
var (
	ErrNotFound = fault.New(connect.CodeNotFound, usherv1.ErrorReason_ERROR_REASON_PARTICIPANT_NOT_FOUND,
		"nobody with that identity is in the meeting")
	ErrNotAuthenticated = fault.New(connect.CodeFailedPrecondition,
		usherv1.ErrorReason_ERROR_REASON_PARTICIPANT_NOT_AUTHENTICATED,
		"that participant is not signed in: only accounts can have a role")
)

// liveKit lists the calls to LiveKit that this package makes; server/adapter/livekit implements them.
type liveKit interface {
	// Participants are none when there is no meeting.
	Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error)
	// EditParticipant adds attributes. It fails with meeting.ErrNotFound when they left.
	EditParticipant(ctx context.Context, room uuid.UUID, identity string, attributes map[string]string) error
	// MuteTrack fails with meeting.ErrNotFound when they left.
	MuteTrack(ctx context.Context, room uuid.UUID, identity, sid string) error
	// UnmuteCaller is for people on the phone only. It fails with meeting.ErrNotFound when they left.
	UnmuteCaller(ctx context.Context, room uuid.UUID, p meeting.Participant, sid string) error
	// RemoveParticipant succeeds when they left already.
	RemoveParticipant(ctx context.Context, room uuid.UUID, identity string) error
}

// rooms lists the calls to server/rooms that this package makes.
type rooms interface {
	// SetRole gives a role in a locked room to somebody who is no owner, and records it.
	SetRole(ctx context.Context, tx *ent.Client, a *auth.Access, u *ent.User, role usherv1.Role) error
	// Sync has the meeting follow the database now.
	Sync(ctx context.Context, room uuid.UUID) error
}

// liveTasks has the meeting follow what a transaction decides. server/livetasks implements it.
type liveTasks interface {
	SyncRoom(ctx context.Context, tx *ent.Client, room uuid.UUID) error
	// Wake is to be called after the commit.
	Wake()
}

// lobby lists the calls to server/lobby that this package makes.
type lobby interface {
	// ParticipantRemoved voids the tickets of an identity, and those of an account unless that is uuid.Nil.
	ParticipantRemoved(ctx context.Context, room uuid.UUID, identity string, user uuid.UUID) error
}

// Service serves usher.v1.ParticipantsService. Every field is required.
type Service struct {
	DB      *dbtx.DB
	Keys    *auth.Keys
	LiveKit liveKit
	Rooms   rooms
	Tasks   liveTasks
	Lobby   lobby
	Log     *slog.Logger
	// SessionLife is how long a participant could renew a connection, so for how long one who was removed is refused.
	SessionLife time.Duration
	Limiter     *ratelimit.Limiter
	// RaiseHandLimit and RenameLimit are by person.
	RaiseHandLimit, RenameLimit ratelimit.Limit
	// AccountNames fixes the display name of signed-in people to that of their account.
	AccountNames bool
}

// hosted finds a room whose meeting the caller may run.
func (s *Service) hosted(ctx context.Context, ref string) (*auth.Access, error) {
	a, err := auth.FindRoom(ctx, s.DB.Read, ref)
	if err != nil {
		return nil, err
	}
	return a, a.RequireAdministrator()
}

// meeting are the participants of a room's meeting. It fails with [fault.ErrNotLive].
func (s *Service) meeting(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error) {
	people, err := s.LiveKit.Participants(ctx, room)
	if err != nil && !errors.Is(err, meeting.ErrNotFound) {
		return nil, fault.ErrLiveKit.Because(err)
	}
	if len(people) == 0 {
		return nil, fault.ErrNotLive
	}
	return people, nil
}

// find finds one participant of a room's meeting. It fails with [fault.ErrNotLive] or [ErrNotFound].
func (s *Service) find(ctx context.Context, room uuid.UUID, identity string) (meeting.Participant, error) {
	people, err := s.meeting(ctx, room)
	if err != nil {
		return meeting.Participant{}, err
	}
	i := slices.IndexFunc(people, func(p meeting.Participant) bool { return p.Identity == identity })
	if i < 0 {
		return meeting.Participant{}, ErrNotFound
	}
	return people[i], nil
}

// self finds the room of the participant who calls, and what was decided about them. It fails with [moderation.ErrBlocked]
// for somebody who was removed.
func (s *Service) self(ctx context.Context) (*auth.Access, *auth.ParticipantSession, moderation.State, error) {
	session := auth.FromContext(ctx).Participant
	if session == nil {
		return nil, nil, moderation.State{}, auth.ErrUnauthenticated
	}
	a, err := auth.FindParticipantRoom(ctx, s.DB.Read, session, moderation.Select())
	if err != nil {
		return nil, nil, moderation.State{}, err
	}
	states, err := moderation.Load(ctx, s.DB.Read, a.Room)
	if err != nil {
		return nil, nil, moderation.State{}, err
	}
	state := states.Of(session.Identity, session.UserID)
	if state.Blocked {
		return nil, nil, state, moderation.ErrBlocked
	}
	return a, session, state, nil
}

// follow has LiveKit do what was committed. Should it not, the task that was committed too does it later.
func (s *Service) follow(ctx context.Context, room uuid.UUID) (synced bool) {
	err := s.Rooms.Sync(ctx, room)
	if err != nil {
		s.Log.WarnContext(ctx, "meeting does not follow yet", "room", room, "err", err)
	}
	s.Tasks.Wake()
	return err == nil
}

// now is the present moment as the database keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
