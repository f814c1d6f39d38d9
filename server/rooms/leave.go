package rooms

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
)

// reentry is how long after an invitation was revoked its holder may still enter: whoever was in the meeting stays, and a
// connection that is lost and made again looks to LiveKit like somebody who enters.
const reentry = time.Minute

// attendance is what this server knows of the people in a meeting.
type attendance struct {
	keys *auth.Keys
	room *ent.Room
	// users are the accounts behind the identities of this server's own clients: uuid.Nil for people without one.
	users map[string]uuid.UUID
	// accounts has those accounts that still exist, by id.
	accounts map[uuid.UUID]*ent.User
	roles    map[uuid.UUID]usherv1.Role
	states   moderation.States
	// ended has the identities of links that bring nobody back, and since when.
	ended map[string]time.Time
}

// loadAttendance reads what the database says about the people in a meeting.
func (s *Service) loadAttendance(ctx context.Context, r *ent.Room, people []meeting.Participant) (*attendance, error) {
	a := &attendance{keys: s.Keys, room: r, users: make(map[string]uuid.UUID, len(people))}
	var invited []string
	for _, p := range people {
		id, ours := s.Keys.IdentityUser(r.ID, p.Identity)
		if !ours {
			continue
		}
		a.users[p.Identity] = id
		if p.Attributes[meeting.AttributeInvited] == "true" {
			invited = append(invited, p.Identity)
		}
	}
	var err error
	if a.states, err = moderation.Load(ctx, s.DB.Read, r); err != nil {
		return nil, err
	}
	if a.accounts, err = s.accounts(ctx, a.users); err != nil {
		return nil, err
	}
	if a.roles, err = s.roles(ctx, r.ID, a.accounts); err != nil {
		return nil, err
	}
	if len(invited) > 0 && s.Invitations != nil {
		a.ended, err = s.Invitations.Ended(ctx, r.ID, invited...)
	}
	return a, err
}

// accounts finds the accounts behind identities, by id.
func (s *Service) accounts(ctx context.Context, identities map[string]uuid.UUID) (map[uuid.UUID]*ent.User, error) {
	ids := slices.DeleteFunc(slices.Collect(maps.Values(identities)), func(id uuid.UUID) bool { return id == uuid.Nil })
	return auth.Users(ctx, s.DB.Read, ids)
}

// mustLeave reports whether somebody may not be in the meeting, however they came in: a host keeps them out, their account
// is gone or was deactivated since, or nothing lets them into this meeting any more.
func (a *attendance) mustLeave(p meeting.Participant) bool {
	id, ours := a.users[p.Identity]
	switch {
	case a.blocked(p.Identity, id):
		return true
	case !ours: // a recorder, an agent, a phone caller
		return false
	}
	return a.lostAccount(p, id) || lateGuest(a.room, p, id, a.roles[id]) || a.lostLink(p, id)
}

// blocked reports whether a host keeps somebody out. Decisions about people on the phone are about a pseudonym; rows that a
// release before that wrote are about the identity itself.
func (a *attendance) blocked(identity string, id uuid.UUID) bool {
	return slices.ContainsFunc(append(a.keys.Pseudonyms(identity), identity), func(name string) bool {
		return a.states.Of(name, id).Blocked
	})
}

// lostAccount reports whether somebody came with an account that is gone, is inactive, or was after they came.
func (a *attendance) lostAccount(p meeting.Participant, id uuid.UUID) bool {
	if id == uuid.Nil {
		return false
	}
	u := a.accounts[id]
	if u == nil || !u.Active {
		return true
	}
	_, joined, ok := admittedTo(p)
	return ok && auth.IssuedBeforeDeactivation(u, joined)
}

// lostLink reports whether somebody came in again with a link that was revoked, or is another account's by now, and would
// have to wait without it.
func (a *attendance) lostLink(p meeting.Participant, id uuid.UUID) bool {
	since, over := a.ended[p.Identity]
	return over && !auth.EntersDirectly(a.room.AccessLevel, a.roles[id], id != uuid.Nil) && p.JoinTime.After(since.Add(reentry))
}

// lateGuest reports whether a participant was let into a meeting that is over and would have to wait to be let into this
// one.
func lateGuest(r *ent.Room, p meeting.Participant, user uuid.UUID, role usherv1.Role) bool {
	number, joined, ok := admittedTo(p)
	return ok && !auth.EntersDirectly(r.AccessLevel, role, user != uuid.Nil) && !inMeeting(r, number, joined)
}
