// Package callers decides what people on the phone hear in a meeting, and whether they are heard.
//
// LiveKit lets everybody in who knows the PIN. Where phone callers wait, they are held as soon as LiveKit tells of them:
// they subscribe to nothing and their tracks are muted, until a host lets them in. How a call stands is kept in the lobby
// (server/lobby), by the id that LiveKit gives to each call: never by identity, which the next caller with that number takes
// over, nor by sid, which changes with the connection.
//
// What LiveKit does is brought to what was decided by one rule, [Service.settle], at three times: beside the answer to
// LiveKit's event, in the job that is made of it, and every second for all rooms that can be dialled. It asks for the
// present state and may be repeated. Who holds a caller asks again afterwards how they stand, so that a host who decides
// meanwhile is not overruled. Whoever cannot be held is removed: silence that cannot be had is a call that must end.
//
// It does not know PINs and makes no dispatch rules (server/telephony does), and does not decide who is let in (hosts do, in
// server/lobby). Without Redis nobody is let in, and who was let in stays.
package callers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/lease"
	"github.com/usher-meet/usher/server/meeting"
)

// meetings lists the calls to LiveKit about meetings; server/adapter/livekit implements them.
type meetings interface {
	// LiveRooms are the rooms that have a meeting.
	LiveRooms(ctx context.Context) ([]uuid.UUID, error)
	// Participants are none when there is no meeting.
	Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error)
	// CloseRoom succeeds when there is no meeting.
	CloseRoom(ctx context.Context, room uuid.UUID) error
}

// callControl lists the calls to LiveKit about callers; server/adapter/livekit implements them. All but
// RemoveParticipant, which succeeds then, fail with meeting.ErrNotFound when they are not there.
type callControl interface {
	// HoldCaller and AdmitCaller return the participant as they are then. Their tracks are left alone.
	HoldCaller(ctx context.Context, room uuid.UUID, identity string) (meeting.Participant, error)
	AdmitCaller(ctx context.Context, room uuid.UUID, identity string) (meeting.Participant, error)
	MuteTrack(ctx context.Context, room uuid.UUID, identity, sid string) error
	// UnmuteCaller fails unless LiveKit was told to allow it.
	UnmuteCaller(ctx context.Context, room uuid.UUID, p meeting.Participant, sid string) error
	RemoveParticipant(ctx context.Context, room uuid.UUID, identity string) error
}

// waitingList is where calls wait. server/lobby implements it.
type waitingList interface {
	// Calls says how calls stand and has those wait that are new. complete: there are no others.
	Calls(ctx context.Context, r *ent.Room, calls []meeting.Call, complete bool) ([]meeting.Standing, error)
	// CallLifted writes down that a hold was lifted, CallHeld that it could not be, and CallEnded that the call is over.
	CallLifted(ctx context.Context, room uuid.UUID, call meeting.Call) error
	CallHeld(ctx context.Context, room uuid.UUID, call meeting.Call) error
	CallEnded(ctx context.Context, room uuid.UUID, call meeting.Call) error
}

// Timing is how patient this package is. Every field is required.
type Timing struct {
	// Hold is how long holding a caller may take. After that they are removed.
	Hold time.Duration
	// Sweep is how often all callers are looked at, and Search how often callers are searched for in rooms that cannot be
	// dialled any more.
	Sweep, Search time.Duration
	// Grace is how long callers may be in a meeting that everybody else has left.
	Grace time.Duration
}

// Service holds callers and lets them in. Every field is required.
type Service struct {
	DB       *dbtx.DB
	Keys     *auth.Keys
	Meetings meetings
	LiveKit  callControl
	Lobby    waitingList
	// Leases say which replica looks after a room, and since when callers are alone.
	Leases  lease.Redis
	Timing  Timing
	Metrics *Metrics
	Log     *slog.Logger

	cache localCache
}

// look asks how a caller stands and settles them.
func (s *Service) look(ctx context.Context, room uuid.UUID, p meeting.Participant) error {
	standing, err := s.standing(ctx, room, p.Call())
	if err != nil {
		s.Log.WarnContext(ctx, "a caller is held because nobody can say how they stand", "room", room, "err", err)
	}
	return errors.Join(err, s.settle(ctx, room, p, standing))
}

// standing is how a call stands. It is unknown with every error.
func (s *Service) standing(ctx context.Context, room uuid.UUID, call meeting.Call) (meeting.Standing, error) {
	r, err := s.room(ctx, room)
	if err != nil || r == nil {
		return refusedIf(err == nil), err
	}
	standings, err := s.Lobby.Calls(ctx, r, []meeting.Call{call}, false)
	if err != nil {
		return meeting.CallUnknown, err
	}
	return standings[0], nil
}

// room is a room that phone callers may be in; nil for one that was deleted, or refuses them.
func (s *Service) room(ctx context.Context, id uuid.UUID) (*ent.Room, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := s.DB.Read.Room.Get(ctx, id)
	switch {
	case ent.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("find room: %w", err)
	case meeting.PhonePolicy(r.AccessLevel, r.Configuration) == usherv1.PhonePolicy_PHONE_POLICY_REFUSE:
		return nil, nil
	}
	return r, nil
}

func refusedIf(refused bool) meeting.Standing {
	if refused {
		return meeting.CallRefused
	}
	return meeting.CallUnknown
}

// find finds one participant. It fails with meeting.ErrNotFound.
func (s *Service) find(ctx context.Context, room uuid.UUID, identity string) (meeting.Participant, error) {
	people, err := s.Meetings.Participants(ctx, room)
	if err != nil {
		return meeting.Participant{}, err
	}
	i := slices.IndexFunc(people, func(p meeting.Participant) bool { return p.Identity == identity })
	if i < 0 {
		return meeting.Participant{}, meeting.ErrNotFound
	}
	return people[i], nil
}

// ignoreNotFound is nil for a call that is over: nobody is left to hold or to let in.
func ignoreNotFound(err error) error {
	if errors.Is(err, meeting.ErrNotFound) {
		return nil
	}
	return err
}
