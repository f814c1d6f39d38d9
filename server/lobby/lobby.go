// Package lobby owns the waiting rooms: who asks to be let into a room, and what its hosts decide.
//
// Entries are in Redis only, for as long as somebody waits or an admission holds, and every transition is one script, so
// that a sign of life never undoes a decision and two decisions never both count. An entry's ticket is the only key to it;
// its id is public. Nobody gets anything of LiveKit's before a host, or a change of the room, has let them in.
//
// It hands out no tokens itself (server/rooms does) and does not know who is calling (server/auth does). Without Redis it
// refuses with REDIS_UNAVAILABLE, admits nobody, and open streams wait for it to come back; whoever waited keeps their
// place, because the ticket says when they asked. LiveKit is asked for what is nice to know, such as whether a host is
// there, and nothing waits for it.
package lobby

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
)

// What can be refused about an entry.
var (
	ErrTicketInvalid = fault.New(connect.CodeUnauthenticated, usherv1.ErrorReason_ERROR_REASON_TICKET_INVALID,
		"the ticket is not one of this room, or too old: ask for entry without one")
	ErrEntryNotFound = fault.New(connect.CodeNotFound, usherv1.ErrorReason_ERROR_REASON_ENTRY_NOT_FOUND,
		"nobody with that entry id waits here: list who waits again")
	ErrAlreadyDecided = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_ENTRY_ALREADY_DECIDED,
		"another decision was made about this entry: list who waits again")
	ErrNoLobby = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_NO_LOBBY,
		"the room is public: everybody enters, and nobody waits")
	ErrFull = fault.New(connect.CodeResourceExhausted, usherv1.ErrorReason_ERROR_REASON_LOBBY_FULL,
		"as many people wait in this lobby as may: try again later")
)

// errLostRole ends the streams of those who may not watch any more, whatever took the right away.
var errLostRole = auth.ErrInsufficientRole.Saying("you may not watch this lobby any more")

const (
	// ticketLife is for how long a ticket is good: longer than anybody waits and than any admission holds.
	ticketLife = 24 * time.Hour
	// pollAfter is the pause for clients that poll: a tenth of the time to live of an entry.
	pollAfter = 3 * time.Second
	// fullAfter is the pause for clients that find the lobby full.
	fullAfter = 10 * time.Second
)

// Service serves usher.v1.LobbyService. Every field is required.
type Service struct {
	DB    *dbtx.DB
	Keys  *auth.Keys
	Store *Store
	Rooms rooms
	// LiveKit knows who is in the meeting, and takes messages to them.
	LiveKit liveKit
	// Callers makes LiveKit follow what is decided about phone calls.
	Callers callers
	Limiter *ratelimit.Limiter
	// NetworkLimit and RoomLimit are for new entries: of one network in one room, and of one room.
	NetworkLimit, RoomLimit ratelimit.Limit
	Streams                 StreamRules
	// Draining is closed when the server stops, before it waits for calls to end.
	Draining <-chan struct{}
	Log      *slog.Logger

	once     sync.Once
	watching *watching
	open     *openStreams
	hosts    hostCache
	notices  notices
}

// rooms lists the calls to server/rooms that this package makes.
type rooms interface {
	// Join makes the connection of a caller who may enter directly; others it refuses.
	Join(ctx context.Context, ref, displayName string) (*usherv1.Connection, error)
	// JoinInvited makes the connection of a caller who would have to wait, with a link that lets them in. It refuses every
	// other token with LOBBY_REQUIRED.
	JoinInvited(ctx context.Context, a *auth.Access, displayName, token string) (*usherv1.Connection, error)
	// ConnectAdmitted makes the connection of somebody who was let in. It refuses with LOBBY_REQUIRED when that meeting is
	// over.
	ConnectAdmitted(ctx context.Context, r *ent.Room, g meeting.Admission) (*usherv1.Connection, error)
	// DisplayName is the name that others see of a caller who asks for one.
	DisplayName(c *auth.Caller, asked string) string
}

// liveKit lists the calls to LiveKit that this package makes; server/adapter/livekit implements them.
type liveKit interface {
	// Participants are those in the meeting now: none, or meeting.ErrNotFound, when there is no meeting.
	Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error)
	// SendData sends a message to some participants. It may fail with meeting.ErrNotFound.
	SendData(ctx context.Context, room uuid.UUID, identities []string, topic string, message []byte) error
}

// hub returns the subscriptions of this process.
func (s *Service) hub() *watching {
	s.once.Do(func() {
		s.watching = &watching{rooms: map[uuid.UUID]*roomWatch{}, list: s.Store.list, log: s.Log}
		s.open = newOpenStreams(s.Store.Redis)
		s.open.hangs = s.Limiter.Hangs
	})
	return s.watching
}

// AdmitEligible lets in who waits and would not have to any more: everybody in a public room, signed-in people in a trusted
// one, and members anywhere. It is repeated until it succeeds, so it changes nothing the second time.
func (s *Service) AdmitEligible(ctx context.Context, r *ent.Room) error {
	waiting, _, err := s.Store.list(ctx, r.ID)
	if err != nil {
		return err
	}
	direct := map[uuid.UUID]bool{}
	seen := make([]seenEntry, 0, len(waiting))
	for _, e := range waiting {
		if e.Kind == kindPhone {
			continue // server/telephony/callers looks at the phone policy every second
		}
		user := e.userID()
		enters, known := direct[user]
		if !known {
			if enters, err = s.entersDirectly(ctx, r, user); err != nil {
				return err
			}
			direct[user] = enters
		}
		if enters {
			seen = append(seen, seenEntry{ID: e.ID})
		}
	}
	if len(seen) == 0 {
		return nil
	}
	admitted, err := s.Store.decideAll(ctx, r.ID, seen, true, r.Meeting)
	if err != nil {
		return err
	}
	s.Log.InfoContext(ctx, "entries admitted by a change of the room", "room", r.ID, "entries", entryIDs(admitted))
	return nil
}

// entersDirectly asks for one user, or for people without an account (uuid.Nil), what the room would say to them now.
func (s *Service) entersDirectly(ctx context.Context, r *ent.Room, user uuid.UUID) (bool, error) {
	caller := &auth.Caller{}
	if user != uuid.Nil {
		u, err := s.DB.Read.User.Get(ctx, user)
		if ent.IsNotFound(err) || err == nil && !u.Active {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		caller = &auth.Caller{Kind: auth.User, User: u}
	}
	a, err := auth.FindRoom(auth.WithCaller(ctx, caller), s.DB.Read, r.ID.String())
	if err != nil {
		return false, err
	}
	return a.JoinMode() == usherv1.JoinMode_JOIN_MODE_DIRECT, nil
}

// Clear ends all entries of a room that is gone, admissions too, and tells their streams. Denials stay.
func (s *Service) Clear(ctx context.Context, room uuid.UUID) error {
	return s.Store.clear(ctx, room, 0)
}

// RoomFinished ends the entries of those meetings of a room that are over, admissions too, and tells their streams. It is
// called after the next meeting was counted (Room.meeting), and says nothing about that one: who waits or was let in since
// stays, so it may come late and more than once. Denials stay. It fails with fault.ErrRedis, and may then be repeated.
func (s *Service) RoomFinished(ctx context.Context, room uuid.UUID) error {
	r, err := s.DB.Read.Room.Get(ctx, room)
	if ent.IsNotFound(err) {
		return s.Clear(ctx, room)
	}
	if err != nil {
		return fmt.Errorf("find room: %w", err)
	}
	if r.Meeting == 0 {
		return nil // none has ended yet
	}
	return s.Store.clear(ctx, room, r.Meeting)
}

// ParticipantRemoved voids the tickets of somebody who was put out of the meeting and ends their entry. With user, which may
// be uuid.Nil, the tickets of that account too.
func (s *Service) ParticipantRemoved(ctx context.Context, room uuid.UUID, identity string, user uuid.UUID) error {
	return s.Store.remove(ctx, room, identity, user)
}
