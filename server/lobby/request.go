package lobby

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/text"
)

// request is RequestEntry: who may enter does, everybody else waits.
func (s *Service) request(ctx context.Context, req *usherv1.RequestEntryRequest) (*usherv1.Entry, error) {
	a, err := auth.FindRoom(ctx, s.DB.Read, req.GetRoom(), moderation.Select())
	if err != nil {
		return nil, err
	}
	if err := s.refuseBlocked(ctx, a); err != nil {
		return nil, err
	}
	var t *auth.LobbyTicket
	if req.GetTicket() != "" {
		if t, err = s.ticket(a, req.GetTicket()); err != nil {
			return nil, err
		}
	}
	if a.JoinMode() == usherv1.JoinMode_JOIN_MODE_DIRECT {
		return s.admitDirectly(ctx, a, t, req.GetDisplayName())
	}
	if req.GetInvitationToken() != "" {
		if e, err := s.joinInvited(ctx, a, t, req); !isOver(err) {
			return e, err
		}
	}
	if t == nil {
		return s.requestFirst(ctx, a, req.GetDisplayName())
	}
	name := text.Clean(req.GetDisplayName(), text.MaxPersonName)
	if name != "" {
		name = s.Rooms.DisplayName(a.Caller, name)
	}
	return s.submit(ctx, a, t, name, false)
}

// joinInvited is for callers whose link lets them in: nothing is stored. Any other token changes nothing.
func (s *Service) joinInvited(
	ctx context.Context, a *auth.Access, t *auth.LobbyTicket, req *usherv1.RequestEntryRequest,
) (*usherv1.Entry, error) {
	connection, err := s.Rooms.JoinInvited(ctx, a, req.GetDisplayName(), req.GetInvitationToken())
	if err != nil {
		return nil, err
	}
	if t != nil {
		// Whoever waited under this ticket does so no more. Should Redis be gone, the entry lapses.
		_, _ = s.Store.finish(ctx, t, whyCancelled, "")
	}
	return s.acceptedEntry(a, connection, req.GetDisplayName()), nil
}

// refuseBlocked refuses accounts that a host keeps out: letting them wait would be in vain. It asks the database nothing in
// rooms where hosts have decided about nobody.
func (s *Service) refuseBlocked(ctx context.Context, a *auth.Access) error {
	user, ok := a.Caller.UserID()
	if !ok {
		return nil // tickets of strangers who were removed are void
	}
	states, err := moderation.Load(ctx, s.DB.Read, a.Room)
	if err == nil && states.Of("", user).Blocked {
		return moderation.ErrBlocked
	}
	return err
}

// admitDirectly is for callers who may enter directly: nothing is stored, and who waited until now keeps their identity.
func (s *Service) admitDirectly(
	ctx context.Context, a *auth.Access, t *auth.LobbyTicket, name string,
) (*usherv1.Entry, error) {
	if t != nil {
		user, _ := a.Caller.UserID()
		out, err := s.Store.admit(ctx, t, user, a.Room.Meeting)
		if err != nil && !errors.Is(err, fault.ErrRedis) {
			return nil, err
		}
		if err == nil && out.word == "ok" {
			e, err := s.guestView(ctx, a, out.entry)
			if err == nil {
				e.Ticket, err = s.Keys.SignTicket(t)
			}
			if !isOver(err) {
				return e, err
			}
		}
		// Whoever waits under this ticket does so no more. Should Redis be gone, the entry lapses.
		_, _ = s.Store.finish(ctx, t, whyCancelled, "")
	}
	connection, err := s.Rooms.Join(ctx, a.Room.ID.String(), name)
	if err != nil {
		return nil, err
	}
	return s.acceptedEntry(a, connection, name), nil
}

// acceptedEntry is the entry of somebody who did not wait.
func (s *Service) acceptedEntry(a *auth.Access, connection *usherv1.Connection, name string) *usherv1.Entry {
	return &usherv1.Entry{
		Status: usherv1.EntryStatus_ENTRY_STATUS_ACCEPTED, Kind: usherv1.EntryKind_ENTRY_KIND_WEB,
		DisplayName: s.Rooms.DisplayName(a.Caller, name), Color: meeting.Color(connection.GetParticipantIdentity()),
		Connection: connection,
	}
}

// requestFirst makes an entry. Its limits are not lenient: without Redis there is no lobby either.
func (s *Service) requestFirst(ctx context.Context, a *auth.Access, name string) (*usherv1.Entry, error) {
	err := s.Limiter.Take(ctx,
		ratelimit.Call{Limit: s.NetworkLimit, Key: a.Room.ID.String(), Part: a.Caller.LimitKey()},
		ratelimit.Call{Limit: s.RoomLimit, Key: a.Room.ID.String()})
	if err != nil {
		return nil, err
	}
	user, _ := a.Caller.UserID()
	now := time.Now().UTC()
	return s.submit(ctx, a, &auth.LobbyTicket{
		RoomID: a.Room.ID, EntryID: uuid.New(), UserID: user, Identity: s.Keys.NewIdentity(a.Room.ID, user),
		Meeting: a.Room.Meeting, RequestTime: now, Secret: auth.NewTicketSecret(), ExpireTime: now.Add(ticketLife),
	}, s.Rooms.DisplayName(a.Caller, name), true)
}

// submit asks for entry, or shows a sign of life, and answers with the ticket.
func (s *Service) submit(
	ctx context.Context, a *auth.Access, t *auth.LobbyTicket, name string, isNew bool,
) (*usherv1.Entry, error) {
	r, err := s.refreshEntry(ctx, a, t, name, isNew)
	if err != nil {
		return nil, err
	}
	e, err := s.guestView(ctx, a, r)
	if isOver(err) {
		// The meeting of the admission is over: they wait for the next one.
		if r, err = s.recreateEntry(ctx, a, t, r, name); err != nil {
			return nil, err
		}
		e, err = s.guestView(ctx, a, r)
	}
	if err != nil {
		return nil, err
	}
	// The ticket says what the entry does, should that be lost.
	t.DisplayName, t.RequestTime = r.Name, e.GetRequestTime().AsTime()
	if r.Status == statusWaiting {
		t.Meeting = a.Room.Meeting
	}
	e.Ticket, err = s.Keys.SignTicket(t)
	return e, err
}

// refreshEntry is a sign of life, makes the entry if it is not there, and tells the meeting about those who are new.
func (s *Service) refreshEntry(
	ctx context.Context, a *auth.Access, t *auth.LobbyTicket, name string, isNew bool,
) (*record, error) {
	if name == "" {
		// Used only when there is no entry that has a name.
		if out, err := s.Store.touch(ctx, t, a.Room.Meeting); err != nil || out.word == "ok" {
			return out.entry, err
		}
		name = t.DisplayName
	}
	out, err := s.Store.refresh(ctx, t, name, a.Room.Meeting, isNew)
	if err != nil {
		return nil, err
	}
	switch out.word {
	case "new":
		s.announce(ctx, a.Room.ID)
		s.Log.InfoContext(ctx, "entry requested", "room", a.Room.ID, "entry", out.entry.ID)
		return out.entry, nil
	case "ok", "denied":
		return out.entry, nil
	case "full":
		return nil, ErrFull.After(fullAfter)
	}
	return nil, ErrTicketInvalid
}

// recreateEntry ends an admission whose meeting is over and asks again.
func (s *Service) recreateEntry(
	ctx context.Context, a *auth.Access, t *auth.LobbyTicket, over *record, name string,
) (*record, error) {
	if _, err := s.Store.finish(ctx, t, whyCleared, over.Decided); err != nil {
		return nil, err
	}
	if name == "" {
		name = over.Name
	}
	return s.refreshEntry(ctx, a, t, name, false)
}

var errTicketOfOther = ErrTicketInvalid.Saying(
	"the ticket is another account's, or from before it was deactivated: ask for entry without one")

// ticket reads a ticket of a's room. That of somebody who was signed in is good for as long as they are: an admission is the
// account's, and not of whoever has the ticket.
func (s *Service) ticket(a *auth.Access, text string) (*auth.LobbyTicket, error) {
	t, err := s.Keys.VerifyTicket(text)
	if err != nil {
		return nil, ErrTicketInvalid.Because(err)
	}
	if t.RoomID != a.Room.ID {
		return nil, ErrTicketInvalid
	}
	if t.UserID != uuid.Nil {
		user, ok := a.Caller.UserID()
		if !ok || user != t.UserID || auth.IssuedBeforeDeactivation(a.Caller.User, t.RequestTime) {
			return nil, errTicketOfOther
		}
	}
	return t, nil
}

// isOver reports whether an admission does not count any more.
func isOver(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && f.Reason == usherv1.ErrorReason_ERROR_REASON_LOBBY_REQUIRED
}

// cancel is CancelEntry.
func (s *Service) cancel(ctx context.Context, req *usherv1.CancelEntryRequest) error {
	a, err := auth.FindRoom(ctx, s.DB.Read, req.GetRoom())
	if err != nil {
		return err
	}
	t, err := s.ticket(a, req.GetTicket())
	if err != nil {
		return err
	}
	out, err := s.Store.finish(ctx, t, whyCancelled, "")
	if err == nil && out.word == "invalid" {
		return ErrTicketInvalid
	}
	return err
}
