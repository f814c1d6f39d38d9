package live

import (
	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// AttributeLobby tells clients of a phone caller whether they are to be heard. A room's dispatch rule sets it from the first
// moment to LobbyWaiting when callers are held; who has no such attribute was never held.
const (
	AttributeLobby = "lobby"
	LobbyWaiting   = "waiting"
	LobbyAdmitted  = "admitted"
)

// PhonePolicy is what happens to people who dial into a room: the room's own policy, else callers wait in its lobby, and
// enter where everybody does.
func PhonePolicy(r *ent.Room) usherv1.PhonePolicy {
	if p := r.Configuration.GetPhonePolicy(); p != usherv1.PhonePolicy_PHONE_POLICY_UNSPECIFIED {
		return p
	}
	if r.AccessLevel == usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC {
		return usherv1.PhonePolicy_PHONE_POLICY_DIRECT
	}
	return usherv1.PhonePolicy_PHONE_POLICY_LOBBY
}

// DispatchRule is what LiveKit does with callers who type a PIN.
type DispatchRule struct {
	// ID is LiveKit's. Empty for one to be made.
	ID string
	// Name tells whose it is; LiveKit lets several rules have one name.
	Name string
	// Room is the name of the meeting that callers enter. Empty for rules of a kind that is not ours.
	Room string
	// PIN is a secret. Empty: callers need none.
	PIN string
	// Trunks are those that it is for. Empty: all.
	Trunks []string
	// Held is true when callers have to wait: their attribute [AttributeLobby] says so.
	Held bool
	// HidesNumbers is true when participants do not see the numbers of callers.
	HidesNumbers bool
}

// Trunk is a connection to the telephone network as LiveKit knows it.
type Trunk struct {
	// ID is LiveKit's.
	ID string
	// Numbers are those that people call, as the operator wrote them in LiveKit.
	Numbers []string
	// Bounded is true when only some addresses may send calls, and Authenticated when a password is needed. Without either
	// anybody on the internet may.
	Bounded, Authenticated bool
}
