package lobby

import (
	"context"
	"errors"
	"strings"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

const (
	// recheck is how often a stream looks whether its caller may still watch: the contract says within 5 s.
	recheck = 4 * time.Second
	// recheckNews is how old the last look may be when there is something to show.
	recheckNews = time.Second
)

// waitingStream is one WatchWaiting.
type waitingStream struct {
	*Service
	send    func(*usherv1.WatchWaitingResponse) error
	access  *auth.Access
	checked time.Time
	// watch is nil while the room is public.
	watch *watcher
	leave func()
	// sent names what was sent last.
	sent string
	time time.Time
}

// watchWaiting is WatchWaiting.
func (s *Service) watchWaiting(
	ctx context.Context, req *usherv1.WatchWaitingRequest, send func(*usherv1.WatchWaitingResponse) error,
) error {
	a, err := s.host(ctx, req.GetRoom())
	if err != nil {
		return err
	}
	s.hub()
	release, err := s.open.take(ctx, s.Streams, a.Caller, "")
	if err != nil {
		return err
	}
	defer release()
	w := &waitingStream{Service: s, send: send, access: a, checked: time.Now(), leave: func() {}}
	defer func() { w.leave() }()
	w.follow(ctx)
	if err := w.first(ctx); err != nil {
		return err
	}
	return w.run(ctx)
}

func (w *waitingStream) public() bool {
	return !hasLobby(w.access.Room)
}

// follow watches the room while it has a lobby.
func (w *waitingStream) follow(ctx context.Context) {
	switch {
	case w.public() && w.watch != nil:
		w.leave()
		w.watch, w.leave = nil, func() {}
	case !w.public() && w.watch == nil:
		w.watch, w.leave = w.hub().subscribe(ctx, w.access.Room.ID, "")
	}
}

// wake is the channel of news; nil, which is never ready, while there is no lobby.
func (w *waitingStream) wake() <-chan struct{} {
	if w.watch == nil {
		return nil
	}
	return w.watch.wake
}

// first sends the list as it is, at once.
func (w *waitingStream) first(ctx context.Context) error {
	if w.public() {
		return w.tell(ctx, nil)
	}
	list, now, err := w.Store.list(ctx, w.access.Room.ID)
	if err != nil {
		return err
	}
	w.time = now
	return w.tell(ctx, list)
}

func (w *waitingStream) run(ctx context.Context) error {
	beat := time.NewTicker(w.Streams.Heartbeat)
	defer beat.Stop()
	check := time.NewTicker(recheck)
	defer check.Stop()
	end := time.NewTimer(w.Streams.age())
	defer end.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.Draining:
			return w.close(usherv1.ClosingReason_CLOSING_REASON_SERVER_STOPPING)
		case <-end.C:
			return w.close(usherv1.ClosingReason_CLOSING_REASON_MAX_AGE)
		case <-beat.C:
			err = w.send(&usherv1.WatchWaitingResponse{Event: waitingHeartbeat})
		case <-check.C:
			err = w.look(ctx, 0)
		case <-w.wake():
			err = w.look(ctx, recheckNews)
		}
		if errors.Is(err, fault.ErrRedis) {
			// Whether they are signed in is not known. Until it is, they see nothing new, and that this server is here.
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

var waitingHeartbeat = &usherv1.WatchWaitingResponse_Heartbeat{Heartbeat: &usherv1.Heartbeat{}}

// look sends the latest list if it differs. Whether the caller may see it was asked at most maxAge ago.
func (w *waitingStream) look(ctx context.Context, maxAge time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if time.Since(w.checked) > maxAge {
		a, err := w.hostNow(ctx)
		if err != nil {
			return err
		}
		w.access, w.checked = a, time.Now()
		w.follow(ctx)
	}
	if w.public() {
		return w.tell(ctx, nil)
	}
	s := w.watch.snapshot()
	if s == nil || s.time.Before(w.time) {
		return nil // older than what was sent
	}
	w.time = s.time
	return w.tell(ctx, s.waiting)
}

// hostNow reads the caller's present role in the room. It fails when they may not watch any more, and when their credential
// is not good any more.
func (w *waitingStream) hostNow(ctx context.Context) (*auth.Access, error) {
	a, err := w.accessNow(ctx, w.access)
	if err != nil {
		return nil, err
	}
	if a.RequireAdministrator() != nil {
		return nil, errLostRole
	}
	return a, nil
}

// tell sends a list unless it was sent before.
func (w *waitingStream) tell(ctx context.Context, list []*record) error {
	present := w.hostPresent(ctx, w.access.Room.ID)
	var name strings.Builder
	name.WriteString("list")
	if present {
		name.WriteString(" with a host")
	}
	for _, r := range list {
		name.WriteString(" " + r.ID + r.Etag)
	}
	if name.String() == w.sent {
		return nil
	}
	entries, err := w.hostViews(ctx, list)
	if err != nil {
		return err
	}
	snapshot := &usherv1.WaitingSnapshot{Entries: entries, HostPresent: present}
	err = w.send(&usherv1.WatchWaitingResponse{Event: &usherv1.WatchWaitingResponse_Snapshot{Snapshot: snapshot}})
	if err == nil {
		w.sent = name.String()
	}
	return err
}

func (w *waitingStream) close(reason usherv1.ClosingReason) error {
	return w.send(&usherv1.WatchWaitingResponse{Event: &usherv1.WatchWaitingResponse_Closing{Closing: closing(reason)}})
}

// accessNow reads a caller's present role in a room. It fails when the room is gone, and when their credential is not good
// any more.
func (s *Service) accessNow(ctx context.Context, a *auth.Access) (*auth.Access, error) {
	caller, err := a.Caller.Now(ctx)
	if err != nil {
		return nil, err
	}
	return auth.FindRoom(auth.WithCaller(ctx, caller), s.DB.Read, a.Room.ID.String())
}
