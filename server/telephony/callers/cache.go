package callers

import (
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"
)

// remembered is for how long a room is known after its last caller.
const remembered = 15 * time.Second

// localCache saves questions to LiveKit and Redis. No decision depends on it.
type localCache struct {
	mu sync.Mutex
	// rooms are those with callers, and when there was one last.
	rooms map[uuid.UUID]time.Time
	// held are the sids of callers who are held, and their rooms. A sid is one connection, so whoever takes over an identity
	// is not among them.
	held map[string]uuid.UUID
	// locks are the identities about which something is being done.
	locks map[lockKey]*keyedMutex
}

type lockKey struct {
	room     uuid.UUID
	identity string
}

type keyedMutex struct {
	mu    sync.Mutex
	users int
}

// lock has one caller settled by one goroutine of this process at a time. It returns what unlocks them.
func (k *localCache) lock(room uuid.UUID, identity string) (unlock func()) {
	key := lockKey{room, identity}
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[lockKey]*keyedMutex{}
	}
	l := k.locks[key]
	if l == nil {
		l = &keyedMutex{}
		k.locks[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.mu.Lock()
	return func() {
		l.mu.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, key)
		}
	}
}

func (k *localCache) addHeld(room uuid.UUID, sid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = map[string]uuid.UUID{}
	}
	k.held[sid] = room
}

func (k *localCache) isHeld(sid string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, held := k.held[sid]
	return held
}

func (k *localCache) forget(sid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, sid)
}

func (k *localCache) addRoom(room uuid.UUID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rooms == nil {
		k.rooms = map[uuid.UUID]time.Time{}
	}
	k.rooms[room] = time.Now()
}

func (k *localCache) hasRoom(room uuid.UUID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, has := k.rooms[room]
	return has
}

// leaveRoom forgets a room some time after its last caller: the entries of calls that ended unseen end after some seconds.
func (k *localCache) leaveRoom(room uuid.UUID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.rooms[room]) <= remembered {
		return
	}
	delete(k.rooms, room)
	maps.DeleteFunc(k.held, func(_ string, in uuid.UUID) bool { return in == room })
}

// allRooms are the rooms that are known.
func (k *localCache) allRooms() []uuid.UUID {
	k.mu.Lock()
	defer k.mu.Unlock()
	rooms := make([]uuid.UUID, 0, len(k.rooms))
	for room := range k.rooms {
		rooms = append(rooms, room)
	}
	return rooms
}
