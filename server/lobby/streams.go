package lobby

import (
	"math/rand/v2"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// StreamRules bound the streams. Every field is required; a number of 0 is no limit.
type StreamRules struct {
	// Heartbeat is how often a stream says that it is alive.
	Heartbeat time.Duration
	// MaxAge is when a stream ends, so that streams spread over replicas again after one was gone.
	MaxAge time.Duration
	// PerTicket, PerUser and PerNetwork are how many may be open at the same time, in all replicas together.
	PerTicket, PerUser, PerNetwork int
}

// lookTimeout bounds one look at an entry or a list, with all that is asked for it. Streams have no deadline.
const lookTimeout = 10 * time.Second

// unbuffered keeps proxies from holding messages back.
func unbuffered(h http.Header) { h.Set("X-Accel-Buffering", "no") }

// age is when a new stream ends: a little before the maximum, and not all that were opened together at the same moment.
func (r StreamRules) age() time.Duration {
	return r.MaxAge - rand.N(r.MaxAge/20+1) //nolint:gosec // spreads load, and nothing has to be unguessable
}

func closing(reason usherv1.ClosingReason) *usherv1.Closing {
	c := &usherv1.Closing{Reason: reason}
	switch reason {
	case usherv1.ClosingReason_CLOSING_REASON_SERVER_STOPPING:
		// Not all at the same moment on the servers that stay.
		c.RetryAfter = durationpb.New(500*time.Millisecond + rand.N(1500*time.Millisecond)) //nolint:gosec // spreads load
	case usherv1.ClosingReason_CLOSING_REASON_MAX_AGE:
		c.RetryAfter = durationpb.New(0)
	default: // nothing to connect to again
	}
	return c
}
