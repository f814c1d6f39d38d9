package lobby

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/ratelimit"
)

// StreamRules bound the streams of this process. Every field is required; a number of 0 is no limit.
type StreamRules struct {
	// Heartbeat is how often a stream says that it is alive.
	Heartbeat time.Duration
	// MaxAge is when a stream ends, so that streams spread over replicas again after one was gone.
	MaxAge time.Duration
	// PerTicket, PerUser and PerNetwork are how many may be open at the same time.
	PerTicket, PerUser, PerNetwork int
}

// streamRetry is when those try again who have too many streams open: lost ones are noticed until then.
const streamRetry = 5 * time.Second

// lookTimeout bounds one look at an entry or a list, with all that is asked for it. Streams have no deadline.
const lookTimeout = 10 * time.Second

// openStreams counts the streams of this process.
type openStreams struct {
	mu    sync.Mutex
	count map[string]int
}

// take counts a stream, until release is called.
func (o *openStreams) take(rules StreamRules, c *auth.Caller, entry string) (release func(), err error) {
	limits := map[string]int{"network:" + c.AddressPrefix: rules.PerNetwork}
	if entry != "" {
		limits["ticket:"+entry] = rules.PerTicket
	}
	if id, ok := c.UserID(); ok {
		limits["user:"+id.String()] = rules.PerUser
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, most := range limits {
		if most > 0 && o.count[key] >= most {
			return nil, ratelimit.ErrLimited.Saying("too many open streams: close one").With("limit", "streams").After(streamRetry)
		}
	}
	if o.count == nil {
		o.count = map[string]int{}
	}
	for key := range limits {
		o.count[key]++
	}
	return sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for key := range limits {
			if o.count[key]--; o.count[key] == 0 {
				delete(o.count, key)
			}
		}
	}), nil
}

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
