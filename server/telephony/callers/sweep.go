package callers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent/dispatchrule"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
)

const (
	// sweepTimeout bounds one look at one room, and askTimeout what the database is asked for it: who cannot be asked about
	// in time is still to be held.
	sweepTimeout, askTimeout = 10 * time.Second, 2 * time.Second
	// atOnce is how many rooms are looked at at the same time.
	atOnce = 16
	// sweepLease is held by the replica that looks after a room. aloneLease begins when callers are alone: what is left of it
	// says since when.
	sweepLease, aloneLease = "turn", "alone"
	// aloneFor is how long after the grace it is still known since when callers are alone, should nobody look any more.
	aloneFor = time.Hour
)

// Run looks after callers until ctx is done, whatever became of LiveKit's events. Any number of replicas may run it: each
// room is looked at by one of them at a time.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(s.Timing.Sweep)
	defer tick.Stop()
	w := newSweeper(s)
	defer w.running.Wait()
	var searched time.Time
	for {
		search := time.Since(searched) >= s.Timing.Search
		if search {
			searched = time.Now()
		}
		if err := w.begin(ctx, search); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "callers cannot be looked after", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweeper looks at rooms side by side. A room for which something takes long is left out meanwhile, and holds up no other.
type sweeper struct {
	*Service
	running sync.WaitGroup
	free    chan struct{}

	mu   sync.Mutex
	busy map[uuid.UUID]bool
}

func newSweeper(s *Service) *sweeper {
	return &sweeper{Service: s, free: make(chan struct{}, atOnce), busy: map[uuid.UUID]bool{}}
}

// begin begins to look at every meeting of a room that can be dialled or is known to have callers; with search, at every
// meeting.
func (w *sweeper) begin(ctx context.Context, search bool) error {
	rooms, err := w.liveRooms(ctx, search)
	rooms = append(rooms, w.cache.allRooms()...)
	slices.SortFunc(rooms, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	for _, room := range slices.Compact(rooms) {
		if !w.take(room) {
			continue
		}
		w.free <- struct{}{}
		w.running.Go(func() {
			defer func() { <-w.free; w.release(room) }()
			w.visit(ctx, room)
		})
	}
	return err
}

// liveRooms are the rooms that can be dialled and have a meeting; with search, all that have one. LiveKit lists its rooms in
// one call, while a look at a room without a meeting would cost one for each. If it does not list them, every room that can
// be dialled may have callers.
func (w *sweeper) liveRooms(ctx context.Context, search bool) ([]uuid.UUID, error) {
	dialled, err := w.dialled(ctx)
	if len(dialled) == 0 && !search {
		return nil, err
	}
	live, liveErr := w.Meetings.LiveRooms(ctx)
	err = errors.Join(err, liveErr)
	switch {
	case liveErr != nil:
		return dialled, err
	case search:
		return live, err
	}
	can := make(map[uuid.UUID]bool, len(dialled))
	for _, room := range dialled {
		can[room] = true
	}
	return slices.DeleteFunc(live, func(room uuid.UUID) bool { return !can[room] }), err
}

// dialled are the rooms that can be dialled.
func (w *sweeper) dialled(ctx context.Context) ([]uuid.UUID, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	rooms, err := w.DB.Read.DispatchRule.Query().Where(dispatchrule.RuleIDNEQ("")).IDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list rooms that can be dialled: %w", err)
	}
	return rooms, nil
}

func (w *sweeper) take(room uuid.UUID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[room] {
		return false
	}
	w.busy[room] = true
	return true
}

func (w *sweeper) release(room uuid.UUID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.busy, room)
}

// visit looks at one room if it is this replica's turn.
func (w *sweeper) visit(ctx context.Context, room uuid.UUID) {
	bounded, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	// A little less than the period, so that the replica whose turn it is finds it free again. Without Redis all replicas
	// look, which costs no more than calls.
	if taken, _, err := w.Leases.Take(bounded, room, sweepLease, w.Timing.Sweep*3/4); err == nil && !taken {
		return
	}
	if err := w.sweepRoom(bounded, room); err != nil && ctx.Err() == nil {
		w.Log.WarnContext(ctx, "callers of a room cannot be looked after", "room", room, "err", err)
	}
}

// sweepRoom settles all callers of one room.
func (s *Service) sweepRoom(ctx context.Context, room uuid.UUID) error {
	people, err := s.Meetings.Participants(ctx, room)
	if err != nil {
		return ignoreNotFound(err)
	}
	var calls []meeting.Participant
	company := false
	for _, p := range people {
		switch p.Kind {
		case usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE:
			calls = append(calls, p)
		case usherv1.ParticipantKind_PARTICIPANT_KIND_WEB:
			company = true
		default: // recorders and agents are no company
		}
	}
	if len(calls) == 0 && !s.cache.hasRoom(room) {
		return nil
	}
	slices.SortFunc(calls, func(a, b meeting.Participant) int { return a.JoinTime.Compare(b.JoinTime) })
	if len(calls) > 0 {
		s.cache.addRoom(room)
	}
	standings, err := s.standings(ctx, room, calls)
	failures := make([]error, len(calls), len(calls)+2)
	var settling sync.WaitGroup
	for i, p := range calls {
		// Side by side: one for whom LiveKit takes long keeps nobody else from being held.
		settling.Go(func() { failures[i] = s.settleSeen(ctx, room, p, standings[i]) })
	}
	settling.Wait()
	failures = append(failures, err)
	if len(calls) == 0 {
		if err == nil {
			s.cache.leaveRoom(room)
		}
		company = true // of nobody
	}
	return errors.Join(append(failures, s.endAlone(ctx, room, !company))...)
}

// standings are how all calls of a room stand: unknown with an error.
func (s *Service) standings(ctx context.Context, room uuid.UUID, calls []meeting.Participant) ([]meeting.Standing, error) {
	unknown := make([]meeting.Standing, len(calls))
	r, err := s.room(ctx, room)
	if err != nil {
		return unknown, err
	}
	if r == nil {
		return slices.Repeat([]meeting.Standing{meeting.CallRefused}, len(calls)), nil
	}
	ids := make([]meeting.Call, len(calls))
	for i, p := range calls {
		ids[i] = p.Call()
	}
	standings, err := s.Lobby.Calls(ctx, r, ids, true)
	if err != nil {
		return unknown, err
	}
	return standings, nil
}

// settleSeen settles a caller whom a sweep has seen. Whoever was busy with them may have changed everything.
func (s *Service) settleSeen(ctx context.Context, room uuid.UUID, p meeting.Participant, standing meeting.Standing) error {
	defer s.cache.lock(room, p.Identity)()
	if settled(p, standing) {
		if standing == meeting.CallLifted {
			s.cache.forget(p.SID) // perhaps another replica's doing
		}
		return nil
	}
	now, err := s.find(ctx, room, p.Identity)
	if err != nil {
		return ignoreNotFound(err)
	}
	if standing == meeting.CallUnknown {
		return ignoreNotFound(s.settle(ctx, room, now, standing))
	}
	return ignoreNotFound(s.look(ctx, room, now))
}

// settled reports whether somebody is as their call stands.
func settled(p meeting.Participant, standing meeting.Standing) bool {
	admitted := p.Attributes[meeting.AttributeLobby] == meeting.LobbyAdmitted && !p.NoSubscribe
	switch standing {
	case meeting.CallWaiting:
		return isHeld(p)
	case meeting.CallLifted:
		return admitted
	case meeting.CallUnknown:
		return isHeld(p) || admitted
	case meeting.CallAdmitted, meeting.CallRefused:
	}
	return false
}

// endAlone ends a meeting in which nobody is left but callers, to whom nobody would come any more: LiveKit would keep it
// open for them.
func (s *Service) endAlone(ctx context.Context, room uuid.UUID, alone bool) error {
	d, err := s.timeAlone(ctx, room, alone)
	if err != nil || !alone || d < s.Timing.Grace {
		return err
	}
	// LiveKit said so a moment ago. Who comes at this very moment comes to the next meeting.
	s.Log.InfoContext(ctx, "a meeting ends in which only callers are left", "room", room, "alone", d.Round(time.Second))
	if err := s.Meetings.CloseRoom(ctx, room); err != nil {
		return err
	}
	return s.Leases.Release(ctx, room, aloneLease)
}

// timeAlone is how long the callers in a room have been there without anybody else. alone false ends that time.
func (s *Service) timeAlone(ctx context.Context, room uuid.UUID, alone bool) (time.Duration, error) {
	if !alone {
		return 0, s.Leases.Release(ctx, room, aloneLease)
	}
	life := aloneFor + s.Timing.Grace
	begins, left, err := s.Leases.Take(ctx, room, aloneLease, life)
	if begins || err != nil {
		return 0, err
	}
	return life - left, nil
}
