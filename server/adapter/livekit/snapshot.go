package livekit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// maxWait is how long [Client.Live] waits for LiveKit when it has nothing to go by. Counted from the start of the question,
// not from the call, so that a LiveKit that hangs delays only the first callers.
const maxWait = 300 * time.Millisecond

// Live says whether a room has a meeting, as of a moment ago; nil when LiveKit does not answer. The answer is shared: it
// must not be changed. LiveKit's own number of participants is up to 5 s old.
//
// One list of all rooms serves all callers. It is fetched when somebody asks and it is older than SnapshotAge, once at a
// time, while callers go on with the old one up to twice that age. So a call costs one look into a map, whatever LiveKit
// does.
func (c *Client) Live(ctx context.Context, room uuid.UUID) *usherv1.RoomLive {
	s := &c.snapshot
	state := s.current.Load()
	if state.younger(c.config.SnapshotAge) {
		return state.live(room)
	}
	//nolint:contextcheck // the answer is for everybody, so it must not end with this caller
	if asking := s.refresh(c); asking != nil && !state.younger(2*c.config.SnapshotAge) {
		asking.wait(ctx)
	}
	if state = s.current.Load(); !state.younger(2 * c.config.SnapshotAge) {
		return nil
	}
	return state.live(room)
}

// snapshot is LiveKit's latest answer, and the request that is under way.
type snapshot struct {
	current atomic.Pointer[rooms]

	mu     sync.Mutex
	asking *fetch
	closed bool
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// rooms are the live rooms at one moment.
type rooms struct {
	time time.Time
	// byID is nil when LiveKit did not answer, which is remembered as long as an answer is.
	byID map[uuid.UUID]*usherv1.RoomLive
}

// notLive is the answer for rooms that LiveKit does not list.
var notLive = &usherv1.RoomLive{}

func (r *rooms) younger(age time.Duration) bool { return r != nil && time.Since(r.time) < age }

func (r *rooms) live(room uuid.UUID) *usherv1.RoomLive {
	if r.byID == nil {
		return nil
	}
	if l, ok := r.byID[room]; ok {
		return l
	}
	return notLive
}

// fetch is a question to LiveKit.
type fetch struct {
	start time.Time
	done  chan struct{}
}

func (f *fetch) wait(ctx context.Context) {
	timer := time.NewTimer(time.Until(f.start.Add(maxWait)))
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// refresh asks LiveKit unless somebody is asking already, and returns the question. It returns nil when the answer came in
// the meantime, and after close.
func (s *snapshot) refresh(c *Client) *fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking != nil || s.closed || s.current.Load().younger(c.config.SnapshotAge) {
		return s.asking
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &fetch{start: time.Now(), done: make(chan struct{})}
	s.asking, s.cancel = f, cancel
	s.done.Go(func() {
		defer cancel()
		next := c.fetchRooms(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.current.Store(next)
		s.asking = nil
		close(f.done)
	})
	return f
}

// fetchRooms asks for all rooms. It dates the answer at its arrival, so that LiveKit is asked at most once per SnapshotAge
// however slow it is.
func (c *Client) fetchRooms(ctx context.Context) *rooms {
	list, err := c.listRooms(ctx)
	if err != nil {
		// Nothing to tell apart for callers, and not worth a line: Ping feeds the readiness report.
		return &rooms{time: time.Now()}
	}
	byID := make(map[uuid.UUID]*usherv1.RoomLive, len(list))
	for _, r := range list {
		if id, ok := roomID(r.GetName()); ok {
			byID[id] = &usherv1.RoomLive{
				Active: true, ParticipantCount: int32(r.GetNumParticipants()), //nolint:gosec // far below the limit
				StartTime: timestamppb.New(startTime(r)),
			}
		}
	}
	return &rooms{time: time.Now(), byID: byID}
}

// close stops the question that is on its way, and lets no other begin.
func (s *snapshot) close() {
	s.mu.Lock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	s.done.Wait()
}
