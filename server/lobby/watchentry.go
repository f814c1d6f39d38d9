package lobby

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/smallstack"
)

// entryStream is one WatchEntry.
type entryStream struct {
	*Service
	send   func(*usherv1.WatchEntryResponse) error
	access *auth.Access
	ticket *auth.LobbyTicket
	watch  *watcher
	// release and leave undo what began with the stream.
	release, leave func()
	// last is the entry as it was last sent.
	last *usherv1.Entry
	// name is the entry's, should it have to be made again.
	name string
}

// watchEntry is WatchEntry.
func (s *Service) watchEntry(
	ctx context.Context, req *usherv1.WatchEntryRequest, send func(*usherv1.WatchEntryResponse) error,
) error {
	e := &entryStream{Service: s, send: send, release: func() {}, leave: func() {}}
	defer func() { e.leave(); e.release() }()
	done, err := step(func() (bool, error) { return e.begin(ctx, req) })
	if done || err != nil {
		return err
	}
	return e.run(ctx)
}

// begin finds the entry and sends it as it is.
func (e *entryStream) begin(ctx context.Context, req *usherv1.WatchEntryRequest) (done bool, err error) {
	if e.access, err = auth.FindRoom(ctx, e.DB.Read, req.GetRoom()); err != nil {
		return false, err
	}
	if e.ticket, err = e.Service.ticket(e.access, req.GetTicket()); err != nil {
		return false, err
	}
	hub, entry := e.hub(), e.ticket.EntryID.String()
	release, err := e.open.take(ctx, e.Streams, e.access.Caller, entry)
	if err != nil {
		return false, err
	}
	e.release, e.name = release, e.ticket.DisplayName
	// Before the first look, so that nothing happens unseen in between.
	e.watch, e.leave = hub.subscribe(ctx, e.access.Room.ID, entry)
	return e.look(ctx, false)
}

// step is one step of the stream, on another stack: this one is kept for as long as the guest waits.
func step(do func() (bool, error)) (done bool, err error) {
	smallstack.Call(func() { done, err = do() })
	return done, err
}

func (e *entryStream) run(ctx context.Context) error {
	end := time.Now().Add(e.Streams.age())
	beat := time.NewTimer(min(e.Streams.Heartbeat, time.Until(end)))
	defer beat.Stop()
	for {
		var done bool
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.Draining:
			return e.close(usherv1.ClosingReason_CLOSING_REASON_SERVER_STOPPING)
		case now := <-beat.C:
			if !now.Before(end) {
				return e.close(usherv1.ClosingReason_CLOSING_REASON_MAX_AGE)
			}
			beat.Reset(min(e.Streams.Heartbeat, time.Until(end)))
			done, err = step(func() (bool, error) { return e.beat(ctx) })
		case <-e.watch.wake:
			done, err = step(func() (bool, error) { return e.wake(ctx) })
		}
		if errors.Is(err, fault.ErrRedis) {
			// It may be back at the next heartbeat; until then the guest is told that this server is here.
			done, err = false, e.send(&usherv1.WatchEntryResponse{Event: heartbeat})
		}
		if done || err != nil {
			return err
		}
	}
}

// wake is for news: about the entry itself, or about others.
func (e *entryStream) wake(ctx context.Context) (done bool, err error) {
	if e.watch.own.Swap(false) {
		return e.look(ctx, true)
	}
	return false, e.move()
}

var heartbeat = &usherv1.WatchEntryResponse_Heartbeat{Heartbeat: &usherv1.Heartbeat{}}

// beat is a sign of life in both directions.
func (e *entryStream) beat(ctx context.Context) (done bool, err error) {
	sent := e.last
	_, signedIn := e.access.Caller.UserID()
	if done, err = e.look(ctx, signedIn); done || err != nil || e.last != sent {
		return done, err
	}
	return false, e.send(&usherv1.WatchEntryResponse{Event: heartbeat})
}

// look reads the entry, which is a sign of life, and sends it if it is news. It is done once a decision was sent. With
// again the room is read again first; guests who just go on waiting need not cost the database anything.
func (e *entryStream) look(ctx context.Context, again bool) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if again {
		now, err := e.accessNow(ctx, e.access)
		if err != nil {
			return false, err
		}
		e.access = now
	}
	a := e.access
	out, err := e.read(ctx, a)
	if err != nil {
		return false, err
	}
	if !again && e.last != nil && (out.word != "ok" || out.entry.Status != statusWaiting) {
		return e.look(ctx, true)
	}
	switch out.word {
	case "ok":
	case "ended":
		if out.entry.Decided == whyCancelled {
			return true, e.close(usherv1.ClosingReason_CLOSING_REASON_ENTRY_CANCELLED)
		}
		return true, e.close(usherv1.ClosingReason_CLOSING_REASON_LOBBY_CLEARED)
	case "gone":
		// Redis lost it, or this process was asleep: the ticket says what the place was.
		if out.entry, err = e.refreshEntry(ctx, a, e.ticket, e.name, false); err != nil {
			return false, err
		}
	case "full":
		return false, ErrFull.After(fullAfter)
	default:
		return false, ErrTicketInvalid
	}
	view, err := e.guestView(ctx, a, out.entry)
	if isOver(err) {
		if out.entry, err = e.recreateEntry(ctx, a, e.ticket, out.entry, e.name); err == nil {
			view, err = e.guestView(ctx, a, out.entry)
		}
	}
	if err != nil {
		return false, err
	}
	e.name = view.GetDisplayName()
	return view.GetStatus() != usherv1.EntryStatus_ENTRY_STATUS_WAITING, e.tell(view)
}

// read is a sign of life; guests who may enter directly by now are let in.
func (e *entryStream) read(ctx context.Context, a *auth.Access) (outcome, error) {
	if a.JoinMode() == usherv1.JoinMode_JOIN_MODE_DIRECT {
		user, _ := a.Caller.UserID()
		if out, err := e.Store.admit(ctx, e.ticket, user, a.Room.Meeting); err != nil || out.word == "ok" {
			return out, err
		}
	}
	return e.Store.touch(ctx, e.ticket, a.Room.Meeting)
}

// tell sends an entry unless it was sent before.
func (e *entryStream) tell(view *usherv1.Entry) error {
	if l := e.last; l != nil && l.GetStatus() == view.GetStatus() && l.GetEtag() == view.GetEtag() &&
		l.GetPosition() == view.GetPosition() && l.GetHostPresent() == view.GetHostPresent() {
		return nil
	}
	if err := e.send(&usherv1.WatchEntryResponse{Event: &usherv1.WatchEntryResponse_Entry{Entry: view}}); err != nil {
		return err
	}
	e.last = view
	return nil
}

// move sends the entry with its new place, if the others moved. The shared list has it, so Redis is not asked.
func (e *entryStream) move() error {
	s := e.watch.snapshot()
	if s == nil {
		return nil
	}
	position := s.position[e.ticket.EntryID.String()]
	if position == 0 || position == int(e.last.GetPosition()) {
		return nil
	}
	view := proto.CloneOf(e.last)
	view.Position = int32(position) //nolint:gosec // at most as many as may wait
	return e.tell(view)
}

func (e *entryStream) close(reason usherv1.ClosingReason) error {
	return e.send(&usherv1.WatchEntryResponse{Event: &usherv1.WatchEntryResponse_Closing{Closing: closing(reason)}})
}
