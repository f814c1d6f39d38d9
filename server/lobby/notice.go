package lobby

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/meeting"
)

const (
	// noticeGap is the shortest time between two notices into one meeting.
	noticeGap = time.Second
	// noticeTopic is the topic of messages that the server sends. They have no sender: clients drop any that has one.
	noticeTopic = "usher"
	// noticeTimeout bounds the telling of one meeting.
	noticeTimeout = 5 * time.Second
	// hostAge is how old the knowledge may be whether a host is in a meeting, and hostWait how long an answer waits for it.
	hostAge, hostWait = 5 * time.Second, 100 * time.Millisecond
)

var noticeMessage = []byte(`{"type":"participantWaiting"}`)

// notices are the meetings that are being told that somebody waits.
type notices struct {
	mu sync.Mutex
	// running has each meeting that is being told, by room: true when somebody came meanwhile.
	running map[uuid.UUID]bool
}

// announce tells the hosts in a meeting that somebody waits, after the answer was given. Those who come within the gap share
// one notice, which is sent after the last of them.
func (s *Service) announce(ctx context.Context, room uuid.UUID) {
	n := &s.notices
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, running := n.running[room]; running {
		n.running[room] = true
		return
	}
	if n.running == nil {
		n.running = map[uuid.UUID]bool{}
	}
	n.running[room] = false
	// The guest may have gone, which changes nothing for the hosts.
	go s.announceAll(context.WithoutCancel(ctx), room)
}

func (s *Service) announceAll(ctx context.Context, room uuid.UUID) {
	for again := true; again; {
		s.notices.mu.Lock()
		s.notices.running[room] = false
		s.notices.mu.Unlock()
		bounded, cancel := context.WithTimeout(ctx, noticeTimeout)
		err := s.notify(bounded, room)
		cancel()
		if err != nil {
			// Hosts who watch or list see the guest all the same.
			s.Log.InfoContext(ctx, "the meeting was not told that somebody waits", "room", room, "err", err)
		}
		s.notices.mu.Lock()
		if again = s.notices.running[room]; !again {
			delete(s.notices.running, room)
		}
		s.notices.mu.Unlock()
	}
}

// notify sends one notice when it is time for it. That there is no meeting, or no host in it, is fine.
func (s *Service) notify(ctx context.Context, room uuid.UUID) error {
	for {
		ok, again, err := s.Store.takeNotice(ctx, room)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.Draining:
			return nil
		case <-time.After(again):
		}
	}
	hosts, err := s.hostsInMeeting(ctx, room)
	if err != nil || len(hosts) == 0 {
		return err
	}
	if err := s.LiveKit.SendData(ctx, room, hosts, noticeTopic, noticeMessage); !errors.Is(err, meeting.ErrNotFound) {
		return err
	}
	return nil
}

// hostsInMeeting are the identities of the administrators and owners in a meeting. Only the server writes attributes.
func (s *Service) hostsInMeeting(ctx context.Context, room uuid.UUID) ([]string, error) {
	people, err := s.LiveKit.Participants(ctx, room)
	if err != nil && !errors.Is(err, meeting.ErrNotFound) {
		return nil, err
	}
	var hosts []string
	for _, p := range people {
		if slices.Contains([]string{"administrator", "owner"}, p.Attributes["room_role"]) {
			hosts = append(hosts, p.Identity)
		}
	}
	return hosts, nil
}

// hostCache remembers which meetings have a host in them.
type hostCache struct {
	mu    sync.Mutex
	rooms map[uuid.UUID]*hostState
}

type hostState struct {
	present bool
	time    time.Time
	// asking is closed when LiveKit has answered; nil when it is not being asked.
	asking chan struct{}
}

// hostPresent reports whether a host is in the meeting, as of some seconds ago: false when LiveKit does not answer soon. One
// request about a room goes to LiveKit at a time. Callers wait for its answer, a moment, only when none is known yet.
func (s *Service) hostPresent(ctx context.Context, room uuid.UUID) bool {
	c := &s.hosts
	c.mu.Lock()
	state := c.rooms[room]
	if state == nil {
		if c.rooms == nil {
			c.rooms = map[uuid.UUID]*hostState{}
		}
		state = &hostState{}
		c.rooms[room] = state
	}
	known, asking := !state.time.IsZero(), state.asking
	if asking == nil && time.Since(state.time) > hostAge {
		asking = make(chan struct{})
		state.asking = asking
		go s.askForHosts(context.WithoutCancel(ctx), room, state)
	}
	present := state.present
	c.mu.Unlock()
	if known {
		return present
	}
	select {
	case <-asking:
	case <-ctx.Done():
	case <-time.After(hostWait):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return state.present
}

func (s *Service) askForHosts(ctx context.Context, room uuid.UUID, state *hostState) {
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	hosts, err := s.hostsInMeeting(ctx, room)
	c := &s.hosts
	c.mu.Lock()
	defer c.mu.Unlock()
	state.present, state.time = err == nil && len(hosts) > 0, time.Now()
	close(state.asking)
	state.asking = nil
	// Nobody has asked for those for a while.
	for id, other := range c.rooms {
		if other.asking == nil && time.Since(other.time) > 10*hostAge {
			delete(c.rooms, id)
		}
	}
}
