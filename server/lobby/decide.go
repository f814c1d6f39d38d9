package lobby

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/text"
)

// host finds a room of which the caller is administrator or owner.
func (s *Service) host(ctx context.Context, ref string) (*auth.Access, error) {
	a, err := auth.FindRoom(ctx, s.DB.Read, ref)
	if err != nil {
		return nil, err
	}
	return a, a.RequireAdministrator()
}

// hostOfLobby is [Service.host] of a room that has a lobby.
func (s *Service) hostOfLobby(ctx context.Context, ref string) (*auth.Access, error) {
	a, err := s.host(ctx, ref)
	if err == nil && !hasLobby(a.Room) {
		return nil, ErrNoLobby
	}
	return a, err
}

// decide is DecideEntry.
func (s *Service) decide(ctx context.Context, req *usherv1.DecideEntryRequest) (*usherv1.Entry, error) {
	a, err := s.hostOfLobby(ctx, req.GetRoom())
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(req.GetEntryId())
	if err != nil {
		return nil, fault.Invalid("entry_id", "is not a UUID")
	}
	allow := req.GetDecision() == usherv1.Decision_DECISION_ALLOW
	block := req.GetBlockDuration().AsDuration()
	if allow && block > 0 {
		return nil, fault.Invalid("block_duration", "is for denials only")
	}
	ctx, cancel := withoutCancel(ctx)
	defer cancel()
	out, err := s.Store.decide(ctx, a.Room.ID, id.String(), req.GetEtag(), allow, block, a.Room.Meeting)
	if err != nil {
		return nil, err
	}
	switch out.word {
	case "gone":
		return nil, ErrEntryNotFound
	case "decided":
		return nil, ErrAlreadyDecided
	case "conflict":
		return nil, fault.ErrConflict.Saying("the guest changed their name in between: look at the list again")
	case "new":
		s.Log.InfoContext(ctx, "entry decided", "room", a.Room.ID, "entry", id, "decision", req.GetDecision().String(),
			"caller", a.Caller.Key())
	}
	held, err := s.decideCalls(ctx, a.Room.ID, block, out.entry)
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, a.Room.ID, block, held...); err != nil {
		return nil, err
	}
	views, err := s.hostViews(ctx, []*record{out.entry})
	if err != nil {
		return nil, err
	}
	return views[0], nil
}

// decisionTimeout bounds a decision with its record, and with what LiveKit is told of it.
const decisionTimeout = 20 * time.Second

// withoutCancel is for decisions: a host who clicks and closes the page has decided. Given up half-way, it would hold in
// Redis and be missing in the audit log.
func withoutCancel(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), decisionTimeout)
}

// decideAll is DecideAllEntries.
func (s *Service) decideAll(
	ctx context.Context, req *usherv1.DecideAllEntriesRequest,
) (decided, skipped []string, err error) {
	a, err := s.hostOfLobby(ctx, req.GetRoom())
	if err != nil {
		return nil, nil, err
	}
	seen, err := readShown(req)
	if err != nil {
		return nil, nil, err
	}
	allow := req.GetDecision() == usherv1.Decision_DECISION_ALLOW
	ctx, cancel := withoutCancel(ctx)
	defer cancel()
	stand, err := s.Store.decideAll(ctx, a.Room.ID, seen, allow, a.Room.Meeting)
	if err != nil {
		return nil, nil, err
	}
	// Callers who could not be let in wait as before.
	stand, err = s.decideCalls(ctx, a.Room.ID, 0, stand...)
	if err != nil {
		s.Log.WarnContext(ctx, "callers were not let in", "room", a.Room.ID, "err", err)
	}
	decided = entryIDs(stand)
	for _, e := range seen {
		if !slices.Contains(decided, e.ID) {
			skipped = append(skipped, e.ID)
		}
	}
	s.Log.InfoContext(ctx, "entries decided", "room", a.Room.ID, "entries", decided, "decision", req.GetDecision().String(),
		"caller", a.Caller.Key())
	return decided, skipped, s.record(ctx, a.Room.ID, 0, stand...)
}

// readShown reads the entries that were shown to a host who decides about all of them.
func readShown(req *usherv1.DecideAllEntriesRequest) ([]seenEntry, error) {
	if len(req.GetEntryIds()) > 0 { //nolint:staticcheck // deprecated, and refused
		return nil, fault.Invalid("entry_ids", "do not say which names were seen: send entries, with id and etag")
	}
	if len(req.GetEntries()) == 0 {
		return nil, fault.Invalid("entries", "must have one at least")
	}
	seen := make([]seenEntry, 0, len(req.GetEntries()))
	known := make(map[string]bool, len(req.GetEntries()))
	for _, e := range req.GetEntries() {
		id, err := uuid.Parse(e.GetId())
		if err != nil {
			return nil, fault.Invalid("entries", "must have UUIDs as ids")
		}
		if known[id.String()] {
			return nil, fault.Invalid("entries", "must not have an entry twice")
		}
		known[id.String()] = true
		seen = append(seen, seenEntry{ID: id.String(), Etag: e.GetEtag()})
	}
	return seen, nil
}

func entryIDs(records []*record) []string {
	ids := make([]string, len(records))
	for i, r := range records {
		ids[i] = r.ID
	}
	return ids
}

// waiting is who waits in a room. Public rooms have no lobby, unless it is for phone callers, and Redis is not asked.
func (s *Service) waiting(ctx context.Context, a *auth.Access) ([]*record, error) {
	if !hasLobby(a.Room) {
		return nil, nil
	}
	list, _, err := s.Store.list(ctx, a.Room.ID)
	return list, err
}

// hostViews are entries as hosts see them, with the names of those who were signed in: one statement, if any.
func (s *Service) hostViews(ctx context.Context, records []*record) ([]*usherv1.Entry, error) {
	ids := make([]uuid.UUID, 0, len(records))
	for _, r := range records {
		if id := r.userID(); id != uuid.Nil {
			ids = append(ids, id)
		}
	}
	users, err := auth.Users(ctx, s.DB.Read, ids)
	if err != nil {
		return nil, err
	}
	views := make([]*usherv1.Entry, 0, len(records))
	for _, r := range records {
		v := s.view(r)
		if id := r.userID(); id != uuid.Nil {
			v.Authenticated = true
			v.User = &usherv1.UserSummary{Id: id.String()}
			if u := users[id]; u != nil {
				v.User.DisplayName = text.PersonName(u.FullName, u.ShortName, u.Email)
			}
		}
		views = append(views, v)
	}
	return views, nil
}
