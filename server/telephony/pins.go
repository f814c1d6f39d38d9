package telephony

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/pin"
	"github.com/usher-meet/usher/gen/ent/trunk"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
)

// maxDraws is how often a PIN is drawn before the space counts as full: with half of it taken, one draw in two succeeds.
const maxDraws = 20

// errTaken is a PIN that was drawn and that another room has, or had.
var errTaken = errors.New("PIN is taken")

// currentPIN is the PIN of a room, on whichever line; nil for none.
func currentPIN(ctx context.Context, db *ent.Client, room uuid.UUID) (*ent.Pin, error) {
	p, err := db.Pin.Query().Where(pin.RoomID(room)).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find PIN of %s: %w", room, err)
	}
	return p, nil
}

// ensurePIN is the PIN of a room. A room that has none gets one. One whose line has no trunk now keeps it: it stands in
// mails and calendars, and nobody would tell those who have them.
func (s *Service) ensurePIN(ctx context.Context, room uuid.UUID, trunks []Trunk) (*ent.Pin, error) {
	p, err := currentPIN(ctx, s.DB.Read, room)
	if err != nil {
		return nil, err
	}
	if p != nil {
		return p, nil
	}
	return s.draw(ctx, drawing{room: room.String(), trunks: trunks, keep: func(*ent.Pin) bool { return true }})
}

// drawing is why and for whom a PIN is drawn.
type drawing struct {
	// room is its id or slug.
	room   string
	trunks []Trunk
	// allow refuses callers who may not have a PIN drawn; nil where nobody calls, or that was done before.
	allow func(a *auth.Access) error
	// keep reports whether the PIN that the room has, if any, is good enough.
	keep func(p *ent.Pin) bool
	// then runs in the same transaction after the room got another PIN, to tell the invitations and the audit log; nil for a
	// first PIN.
	then func(tx *ent.Client, a *auth.Access) error
}

// draw gives a room a PIN. Whether it is free is not asked beforehand: the unique index says so, and another one is drawn.
func (s *Service) draw(ctx context.Context, d drawing) (p *ent.Pin, err error) {
	for range maxDraws {
		text, err := s.randomPIN()
		if err != nil {
			return nil, err
		}
		err = s.DB.Run(ctx, func(tx *ent.Client) error {
			p, err = s.drawOnce(ctx, tx, d, text)
			return err
		})
		if !errors.Is(err, errTaken) {
			return p, err
		}
		s.Metrics.collisions.WithLabelValues(p.TrunkID).Inc()
	}
	return nil, ErrPINSpaceExhausted
}

// drawOnce gives a room the PIN text. It fails with errTaken, and then returns no more than the line.
func (s *Service) drawOnce(ctx context.Context, tx *ent.Client, d drawing, text string) (*ent.Pin, error) {
	// Of several who draw for one room, one does: the others find what it drew.
	a, err := auth.LockRoom(ctx, tx, d.room)
	if err != nil {
		return nil, err
	}
	if d.allow != nil {
		if err := d.allow(a); err != nil {
			return nil, err
		}
	}
	was, err := currentPIN(ctx, tx, a.Room.ID)
	if err != nil {
		return nil, err
	}
	if was != nil && d.keep != nil && d.keep(was) {
		return was, nil
	}
	on, err := s.place(ctx, tx, d.trunks, was)
	if err != nil {
		return nil, err
	}
	p, err := tx.Pin.Create().SetTrunkID(on).SetPin(text).SetRoomID(a.Room.ID).Save(ctx)
	switch {
	case sqlgraph.IsUniqueConstraintError(err):
		return &ent.Pin{TrunkID: on}, errTaken
	case err != nil:
		return nil, fmt.Errorf("insert PIN of %s: %w", a.Room.ID, errWithoutPIN(err))
	}
	if d.then != nil {
		return p, d.then(tx, a)
	}
	return p, nil
}

// errWithoutPIN is an error of the database without its text, which may repeat what was to be stored.
func errWithoutPIN(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return hidden{err}
}

// hidden keeps what an error is and drops what it says.
type hidden struct{ error }

func (hidden) Error() string   { return "the database refused it" }
func (h hidden) Unwrap() error { return h.error }

// place takes a room off the line of the PIN that it had, if any, puts that PIN to rest, and returns the line for the
// next one: the same if a trunk has it, else that with the fewest rooms.
func (s *Service) place(ctx context.Context, tx *ent.Client, trunks []Trunk, was *ent.Pin) (string, error) {
	counts, err := lockTrunks(ctx, tx, lineIDs(trunks), was)
	if err != nil {
		return "", err
	}
	on := fewest(counts, lineIDs(trunks))
	if was != nil {
		if _, ok := find(trunks, was.TrunkID); ok {
			on = was.TrunkID
		}
		if err := s.rest(ctx, tx, was); err != nil {
			return "", err
		}
	}
	return on, count(ctx, tx, on, 1)
}

// lockTrunks locks the rows of trunks, and makes those that are missing. All who draw do it in one order, so nobody waits in
// a circle; and each sees the counts that the others left, so rooms are spread evenly.
func lockTrunks(ctx context.Context, tx *ent.Client, wanted []string, was *ent.Pin) (map[string]int64, error) {
	all := slices.Clone(wanted)
	if was != nil {
		all = append(all, was.TrunkID)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	query := tx.Trunk.Query().Where(trunk.IDIn(all...), dbtx.ForUpdate).Order(ent.Asc(trunk.FieldID))
	rows, err := query.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock trunks: %w", err)
	}
	if len(rows) < len(all) {
		for _, id := range all {
			if err := tx.Trunk.Create().SetID(id).OnConflictColumns(trunk.FieldID).Ignore().Exec(ctx); err != nil {
				return nil, fmt.Errorf("insert trunk %s: %w", id, err)
			}
		}
		query = tx.Trunk.Query().Where(trunk.IDIn(all...), dbtx.ForUpdate).Order(ent.Asc(trunk.FieldID))
		if rows, err = query.All(ctx); err != nil {
			return nil, fmt.Errorf("lock trunks: %w", err)
		}
	}
	counts := make(map[string]int64, len(rows))
	for _, t := range rows {
		counts[t.ID] = t.RoomCount
	}
	return counts, nil
}

// fewest is the trunk with the fewest rooms, and of several the one whose id comes first.
func fewest(counts map[string]int64, trunks []string) string {
	sorted := slices.Sorted(slices.Values(trunks))
	return slices.MinFunc(sorted, func(a, b string) int { return cmp.Compare(counts[a], counts[b]) })
}

// rest takes a PIN from its room. No other room gets it for a while: it stands in mails and on paper.
func (s *Service) rest(ctx context.Context, tx *ent.Client, p *ent.Pin) error {
	if err := tx.Pin.Update().Where(pin.ID(p.ID)).ClearRoomID().SetRestUntil(now().Add(s.Rest)).Exec(ctx); err != nil {
		return fmt.Errorf("put PIN %s to rest: %w", p.ID, err)
	}
	return count(ctx, tx, p.TrunkID, -1)
}

// count changes how many rooms a trunk has, whose row is locked.
func count(ctx context.Context, tx *ent.Client, id string, by int64) error {
	if err := tx.Trunk.Update().Where(trunk.ID(id)).AddRoomCount(by).Exec(ctx); err != nil {
		return fmt.Errorf("count rooms of trunk %s: %w", id, err)
	}
	return nil
}

// restLeftBehind puts the PINs of rooms that were deleted to rest. A room is deleted without knowing of its PIN, which the
// database takes from it.
func (s *Service) restLeftBehind(ctx context.Context) error {
	trunks, err := s.DB.Read.Pin.Query().Where(pin.RoomIDIsNil(), pin.RestUntilIsNil()).
		Unique(true).Select(pin.FieldTrunkID).Strings(ctx)
	if err != nil {
		return fmt.Errorf("find PINs of deleted rooms: %w", err)
	}
	for _, id := range trunks {
		err := s.DB.Run(ctx, func(tx *ent.Client) error {
			if _, err := lockTrunks(ctx, tx, []string{id}, nil); err != nil {
				return err
			}
			n, err := tx.Pin.Update().Where(pin.TrunkID(id), pin.RoomIDIsNil(), pin.RestUntilIsNil()).
				SetRestUntil(now().Add(s.Rest)).Save(ctx)
			if err != nil || n == 0 {
				return err
			}
			return count(ctx, tx, id, -int64(n))
		})
		if err != nil {
			return fmt.Errorf("put PINs of deleted rooms to rest: %w", err)
		}
	}
	return nil
}

// CleanUp forgets PINs that have rested long enough. It is for a job once a night; running it twice at once is harmless.
func (s *Service) CleanUp(ctx context.Context) error {
	if err := s.restLeftBehind(ctx); err != nil {
		return err
	}
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		n, err := tx.Pin.Delete().Where(pin.RestUntilLTE(now())).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete PINs: %w", err)
		}
		s.Log.InfoContext(ctx, "cleaned up", "pins", n)
		return nil
	})
}

// randomPIN draws digits, each as likely as the others.
func (s *Service) randomPIN() (string, error) {
	digits := make([]byte, 0, s.PINLength)
	buffer := make([]byte, 2*s.PINLength)
	for len(digits) < s.PINLength {
		if _, err := io.ReadFull(s.Random, buffer); err != nil {
			return "", fmt.Errorf("draw a PIN: %w", err)
		}
		for _, b := range buffer {
			// 250 is the largest multiple of ten that fits: what is above would favour small digits.
			if b < 250 && len(digits) < s.PINLength {
				digits = append(digits, '0'+b%10)
			}
		}
	}
	return string(digits), nil
}

// dialIn is how to reach a room by its PIN; nil when no trunk in use has its line.
func dialIn(p *ent.Pin, trunks []Trunk) *usherv1.DialIn {
	t, ok := find(trunks, p.TrunkID)
	if !ok {
		return nil
	}
	return &usherv1.DialIn{Pin: p.Pin, PinDisplay: displayPIN(p.Pin), Numbers: t.Numbers}
}

// DialIn is how to reach a room by phone, for other parts of the server: nil when it cannot be. A room without a PIN gets
// one.
func (s *Service) DialIn(ctx context.Context, id uuid.UUID) (*usherv1.DialIn, error) {
	trunks := s.Trunks.inUse(ctx)
	if len(trunks) == 0 {
		return nil, nil
	}
	r, err := s.DB.Read.Room.Get(ctx, id)
	if ent.IsNotFound(err) {
		return nil, auth.ErrRoomNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("find room: %w", err)
	}
	if !allowed(r) {
		return nil, nil
	}
	p, err := s.ensurePIN(ctx, id, trunks)
	if err != nil {
		return nil, err
	}
	return dialIn(p, trunks), nil
}

// DialIns are how to reach rooms by phone that have a PIN, in one statement. It draws none, and asks nobody.
func (s *Service) DialIns(ctx context.Context, rooms ...*ent.Room) (map[uuid.UUID]*usherv1.DialIn, error) {
	trunks := s.Trunks.Known()
	var open []uuid.UUID
	for _, r := range rooms {
		if allowed(r) {
			open = append(open, r.ID)
		}
	}
	if len(trunks) == 0 || len(open) == 0 {
		return nil, nil
	}
	pins, err := s.DB.Read.Pin.Query().Where(pin.RoomIDIn(open...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find PINs: %w", err)
	}
	out := make(map[uuid.UUID]*usherv1.DialIn, len(pins))
	for _, p := range pins {
		if d := dialIn(p, trunks); d != nil {
			out[*p.RoomID] = d
		}
	}
	return out, nil
}
