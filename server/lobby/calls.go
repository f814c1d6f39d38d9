package lobby

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
)

// callers lists the calls to server/telephony/callers that this package makes.
type callers interface {
	// Admit lifts the hold of a call that was let in. It fails with meeting.ErrNotFound when the call is over; after any
	// other failure the caller is held as before.
	Admit(ctx context.Context, room uuid.UUID, call meeting.Call) error
	// Refuse ends a call that was turned away, and keeps that number out for a while.
	Refuse(ctx context.Context, room uuid.UUID, call meeting.Call, block time.Duration) error
}

// errNotLifted tells a host what to do about a hold that stays.
var errNotLifted = fault.ErrLiveKit.Saying(
	"the caller cannot be heard yet and waits as before: try again. Should it never work, LiveKit runs without " +
		"room.enable_remote_unmute: ask the operator",
)

// callUnseen is after which time the entry of a call ends that is no longer in LiveKit's list: longer than a list takes to
// arrive.
const callUnseen = 3 * time.Second

// callArguments are those of one call in a script.
type callArguments struct {
	ID       string `json:"id"`
	Call     string `json:"call"`
	Identity string `json:"identity"`
	Name     string `json:"name"`
	Etag     string `json:"etag"`
	Withheld bool   `json:"withheld"`
}

// callEntry is the id of a call's entry.
func callEntry(room uuid.UUID, call meeting.Call) string {
	return uuid.NewSHA1(room, []byte(call.ID)).String()
}

// call is the phone call that an entry stands for.
func (r *record) call() meeting.Call {
	return meeting.Call{ID: r.Call, Identity: r.Identity, Name: r.Name, Withheld: r.Withheld}
}

// hasLobby reports whether anybody ever waits in front of a room.
func hasLobby(r *ent.Room) bool {
	return r.AccessLevel != usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC || phonesWait(r)
}

func phonesWait(r *ent.Room) bool {
	return meeting.PhonePolicy(r.AccessLevel, r.Configuration) == usherv1.PhonePolicy_PHONE_POLICY_LOBBY
}

// Calls says how phone calls stand that are in a room's meeting now, in their order. Those that are new wait from now on,
// or, where phone callers enter directly, are admitted. complete says that no other calls are in the meeting: whoever is
// missing does not wait any more.
func (s *Service) Calls(ctx context.Context, r *ent.Room, calls []meeting.Call, complete bool) ([]meeting.Standing, error) {
	direct := meeting.PhonePolicy(r.AccessLevel, r.Configuration) == usherv1.PhonePolicy_PHONE_POLICY_DIRECT
	words, err := s.Store.calls(ctx, r.ID, r.Meeting, direct, calls, complete)
	if err != nil {
		return nil, err
	}
	standings := make([]meeting.Standing, len(words))
	announced := false
	for i, word := range words {
		switch word {
		case "new":
			if !announced {
				s.announce(ctx, r.ID)
				announced = true
			}
			s.Log.InfoContext(ctx, "phone caller waits", "room", r.ID, "entry", callEntry(r.ID, calls[i]))
			standings[i] = meeting.CallWaiting
		case "waiting":
			standings[i] = meeting.CallWaiting
		case "admitted":
			standings[i] = meeting.CallAdmitted
		case "lifted":
			standings[i] = meeting.CallLifted
		case "full", "refused":
			standings[i] = meeting.CallRefused
		}
	}
	return standings, nil
}

// CallLifted writes down that the hold of an admitted call was lifted.
func (s *Service) CallLifted(ctx context.Context, room uuid.UUID, call meeting.Call) error {
	_, err := s.Store.runOne(ctx, callLiftedScript, room, arguments{ID: callEntry(room, call)})
	return err
}

// CallHeld has a call wait as before whose hold could not be lifted.
func (s *Service) CallHeld(ctx context.Context, room uuid.UUID, call meeting.Call) error {
	_, err := s.Store.runOne(ctx, callHeldScript, room, arguments{ID: callEntry(room, call)})
	return err
}

// CallEnded ends the entry of a call that is over.
func (s *Service) CallEnded(ctx context.Context, room uuid.UUID, call meeting.Call) error {
	_, err := s.Store.runOne(ctx, callEndedScript, room, arguments{ID: callEntry(room, call)})
	return err
}

// decideCalls makes LiveKit follow what was decided, as far as that is about phone calls. It returns the entries for which
// it did, and the others, and why the rest wait as before.
func (s *Service) decideCalls(
	ctx context.Context, room uuid.UUID, block time.Duration, decided ...*record,
) (stand []*record, err error) {
	failures := make([]error, len(decided))
	var wait sync.WaitGroup
	for i, r := range decided {
		if r.Kind == kindPhone {
			wait.Go(func() { failures[i] = s.decideCall(ctx, room, block, r) })
		}
	}
	wait.Wait()
	for i, r := range decided {
		if failures[i] == nil {
			stand = append(stand, r)
		}
	}
	return stand, errors.Join(failures...)
}

func (s *Service) decideCall(ctx context.Context, room uuid.UUID, block time.Duration, r *record) error {
	if r.Status == statusDenied {
		if err := s.Callers.Refuse(ctx, room, r.call(), block); err != nil {
			// They stay held, and the sweep ends the call as soon as LiveKit lets it.
			s.Log.WarnContext(ctx, "a call that was turned away is not over yet", "room", room, "entry", r.ID, "err", err)
		}
		return nil
	}
	if r.Lifted {
		return nil
	}
	err := s.Callers.Admit(ctx, room, r.call())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, meeting.ErrNotFound):
		return ErrEntryNotFound.Saying("the caller has hung up: list who waits again")
	}
	return errNotLifted.Because(err)
}

// calls runs callsScript.
func (s *Store) calls(
	ctx context.Context, room uuid.UUID, meeting int64, direct bool, calls []meeting.Call, complete bool,
) ([]string, error) {
	args := arguments{
		Meeting: strconv.FormatInt(meeting, 10), Allow: direct, Complete: complete, Unseen: callUnseen.Milliseconds(),
	}
	for _, c := range calls {
		args.Calls = append(args.Calls, callArguments{
			ID: callEntry(room, c), Call: c.ID, Identity: c.Identity, Name: c.Name, Etag: newEtag(), Withheld: c.Withheld,
		})
	}
	result, err := s.runScript(ctx, callsScript, room, args)
	if err != nil {
		return nil, err
	}
	words, err := result.AsStrSlice()
	if err != nil || len(words) != len(calls) {
		return nil, fmt.Errorf("lobby script: %d words for %d calls: %w", len(words), len(calls), err)
	}
	return words, nil
}
