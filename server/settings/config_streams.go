package settings

import "time"

// ConnectionsConfig bounds the connections of clients.
type ConnectionsConfig struct {
	// Most is how many there may be; 0 for as many as the descriptors of the process allow.
	Most int
	// PerNetwork is how many one network may have; 0 for no limit. Trusted proxies and this machine are none.
	PerNetwork int
}

// StreamsConfig bounds streams.
type StreamsConfig struct {
	// Heartbeat is how often a stream says that it is alive, and MaxAge when it ends.
	Heartbeat, MaxAge time.Duration
	// PerTicket, PerUser and PerNetwork are how many may be open at the same time, in all servers; 0 for no limit.
	PerTicket, PerUser, PerNetwork int
}

// CallersConfig is about phone callers.
type CallersConfig struct {
	// Grace is how long they may be in a meeting that everybody else has left.
	Grace time.Duration
}
