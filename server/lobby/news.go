package lobby

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	// hostGap and guestGap are the shortest time between two lists of one room: hosts see newcomers at once, and places
	// in the queue may be a second old.
	hostGap, guestGap = 10 * time.Millisecond, time.Second
	// hostRefresh and guestRefresh are how often a room is listed without news: who lapses says nothing, and news may be
	// lost.
	hostRefresh, guestRefresh = 2 * time.Second, time.Minute
	// resubscribe is the wait after a lost subscription.
	resubscribe = 250 * time.Millisecond
)

// watching holds the subscriptions of the streams of this process. One subscription tells it of all rooms, and one list of a
// room serves all streams that watch it.
type watching struct {
	list func(context.Context, uuid.UUID) ([]*record, time.Time, error)
	log  *slog.Logger

	mu    sync.Mutex
	rooms map[uuid.UUID]*roomWatch
}

// roomWatch is one room that is watched.
type roomWatch struct {
	watchers map[*watcher]bool
	hosts    atomic.Int64
	changed  chan struct{}
	stop     context.CancelFunc
	latest   atomic.Pointer[snapshot]
}

// snapshot is who waits in a room at one moment of Redis' clock.
type snapshot struct {
	time     time.Time
	waiting  []*record
	position map[string]int
}

// watcher is one stream.
type watcher struct {
	// entry is the id of the entry that a guest watches; empty for hosts, who watch the list.
	entry string
	// wake has something in it when there is news: a new snapshot, or, with own, something about the entry itself.
	wake chan struct{}
	own  atomic.Bool
	room *roomWatch
}

// snapshot is the latest list; nil before the first.
func (w *watcher) snapshot() *snapshot { return w.room.latest.Load() }

func (w *watcher) tell(own bool) {
	if own {
		w.own.Store(true)
	}
	poke(w.wake)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

// subscribe watches a room until leave is called. The room is followed for all who watch it, longer than ctx if need be.
func (h *watching) subscribe(ctx context.Context, room uuid.UUID, entry string) (w *watcher, leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[room]
	if r == nil {
		ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		r = &roomWatch{watchers: map[*watcher]bool{}, changed: make(chan struct{}, 1), stop: stop}
		h.rooms[room] = r
		go h.follow(ctx, room, r)
	}
	w = &watcher{entry: entry, wake: make(chan struct{}, 1), room: r}
	r.watchers[w] = true
	if entry == "" {
		r.hosts.Add(1)
		poke(r.changed) // the room was perhaps followed at the pace of guests
	}
	return w, sync.OnceFunc(func() { h.leave(room, w) })
}

func (h *watching) leave(room uuid.UUID, w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := w.room
	delete(r.watchers, w)
	if w.entry == "" {
		r.hosts.Add(-1)
	}
	if len(r.watchers) == 0 {
		r.stop()
		delete(h.rooms, room)
	}
}

// follow lists a room after news, and now and then without.
func (h *watching) follow(ctx context.Context, id uuid.UUID, r *roomWatch) {
	for {
		began := time.Now()
		h.refresh(ctx, id, r)
		gap, pause := guestGap, guestRefresh
		if r.hosts.Load() > 0 {
			gap, pause = hostGap, hostRefresh
		}
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-r.changed:
		case <-again.C:
		}
		again.Stop()
		if r.hosts.Load() > 0 {
			gap = hostGap
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(began.Add(gap))):
		}
	}
}

func (h *watching) refresh(ctx context.Context, id uuid.UUID, r *roomWatch) {
	waiting, now, err := h.list(ctx, id)
	if err != nil {
		if ctx.Err() == nil {
			h.log.DebugContext(ctx, "lobby cannot be listed", "room", id, "err", err)
		}
		return
	}
	s := &snapshot{time: now, waiting: waiting, position: make(map[string]int, len(waiting))}
	for _, e := range waiting {
		s.position[e.ID] = e.position
	}
	r.latest.Store(s)
	h.tell(id, func(*watcher) bool { return false })
}

// tell wakes the watchers of a room; own picks those whose entry the news is about.
func (h *watching) tell(room uuid.UUID, own func(*watcher) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rooms[room]; r != nil {
		for w := range r.watchers {
			w.tell(own(w))
		}
	}
}

// news handles a message of a script: "list", "all", or "entry " and an id.
func (h *watching) news(room uuid.UUID, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[room]
	if r == nil {
		return
	}
	id, one := strings.CutPrefix(what, "entry ")
	for w := range r.watchers {
		if w.entry != "" && (what == "all" || one && w.entry == id) {
			w.tell(true)
		}
	}
	poke(r.changed)
}

// resync has everything read again: news may have been lost.
func (h *watching) resync() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.rooms {
		for w := range r.watchers {
			w.tell(w.entry != "")
		}
		poke(r.changed)
	}
}

// RunNews brings the news of all replicas to the streams of this one, until ctx is done. While Redis is gone the streams
// look for themselves, every few seconds.
func (s *Service) RunNews(ctx context.Context) {
	h := s.hub()
	var lost atomic.Bool
	for ctx.Err() == nil {
		err := s.Store.subscribe(ctx, func() { h.resync(); lost.Store(false) }, h.news)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errSubscription
		}
		if !lost.Swap(true) {
			s.Log.WarnContext(ctx, "the lobby's news are lost until Redis answers", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(resubscribe):
		}
	}
}
