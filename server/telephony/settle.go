package telephony

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

// maxRounds bounds how often one call changes a rule, and looks again, while people come and go.
const maxRounds = 5

// errRestless is for a meeting in which people came or left between every two looks.
var errRestless = fault.ErrConflict.Saying(
	"people come to the meeting and leave faster than the room opens and closes: repeat the call")

// Settle makes the rule of a room what it should be now: for other parts of the server that changed the room.
func (s *Service) Settle(ctx context.Context, id uuid.UUID) error {
	_, err := s.settle(ctx, id)
	return err
}

// settle makes the rule of a room what it should be now, whatever that is. Whoever acts looks again afterwards: another
// server may have acted in between on what it saw, and the last one to act must have seen what is so.
func (s *Service) settle(ctx context.Context, id uuid.UUID) (done outcome, err error) {
	want, err := s.expect(ctx, id)
	if err != nil {
		return done, err
	}
	for range maxRounds {
		did, err := s.follow(ctx, id, want)
		done.add(did)
		if err != nil || !did.acted {
			return done, err
		}
		again, err := s.expect(ctx, id)
		if err != nil || again == want {
			return done, err
		}
		want = again
	}
	return done, errRestless
}

// expectation is what should be so about a room.
type expectation struct {
	// open rooms have a rule.
	open bool
	// deleted is true for a room that was deleted.
	deleted bool
}

// expect works out whether a room should have a rule. It draws no PIN.
func (s *Service) expect(ctx context.Context, id uuid.UUID) (expectation, error) {
	if len(s.Trunks.inUse(ctx)) == 0 {
		return expectation{}, nil
	}
	r, err := s.DB.Read.Room.Get(ctx, id)
	switch {
	case ent.IsNotFound(err):
		return expectation{deleted: true}, nil
	case err != nil:
		return expectation{}, fmt.Errorf("find room: %w", err)
	case !allowed(r):
		return expectation{}, nil
	}
	open, err := s.isLive(ctx, id)
	if err != nil {
		return expectation{}, fault.ErrLiveKit.Because(err)
	}
	return expectation{open: open}, nil
}

// follow opens or closes a room.
func (s *Service) follow(ctx context.Context, id uuid.UUID, want expectation) (outcome, error) {
	deleted := want.deleted
	if want.open {
		// The caller has looked who is in the meeting, and looks again.
		done, err := s.open(ctx, id, believe, func(context.Context, uuid.UUID) error { return nil })
		if errors.Is(err, errNoTrunk) {
			return done, nil // everything stays, and the operator is told with every look at the trunks
		}
		deleted = errors.Is(err, auth.ErrRoomNotFound)
		if !deleted && !errors.Is(err, ErrDisabled) {
			return done, err
		}
	}
	done, err := s.close(ctx, id)
	if deleted && err == nil {
		err = s.deleteRow(ctx, id)
	}
	return done, err
}
