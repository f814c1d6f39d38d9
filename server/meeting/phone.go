package meeting

// DispatchRule sends callers who enter a PIN to a room.
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
	// Bounded is true when only the addresses of a few networks may send calls, and Authenticated when a password is needed.
	// Without either anybody on the internet may.
	Bounded, Authenticated bool
}
