package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/settings"
)

// openStreams is middleware that bounds how many streams somebody has open on this server, from their headers on: whoever
// sends nothing after them holds a connection as well. The lobby counts its streams once more, in all servers together.
type openStreams struct {
	next    http.Handler
	rules   settings.StreamsConfig
	refused func(ctx context.Context, procedure string, caller *auth.Caller, code connect.Code)

	mu   sync.Mutex
	open map[string]int
}

// boundCalls is middleware for what calls may cost before there is a message.
func (b *base) boundCalls(next http.Handler, observed *observer) http.Handler {
	return &openStreams{
		next:  wellFormed(next, observed, clientTimeoutsFor(b.config.RequestTimeout)),
		rules: b.config.Streams, refused: observed.refused, open: map[string]int{},
	}
}

// errTooManyStreams is one stream more than may be open.
var errTooManyStreams = ratelimit.ErrLimited.Saying("too many open streams: close one").With("limit", "streams").
	After(5 * time.Second)

// ServeHTTP implements http.Handler.
func (o *openStreams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isStream(r.URL.Path) {
		o.next.ServeHTTP(w, r)
		return
	}
	caller := auth.FromContext(r.Context())
	key, most := caller.LimitKey(), o.rules.PerNetwork
	if caller.Kind == auth.User {
		most = o.rules.PerUser
	}
	if !o.take(key, most) {
		ce := fault.Connect(errTooManyStreams)
		o.refused(r.Context(), r.URL.Path, caller, ce.Code())
		fault.Write(w, r, ce)
		return
	}
	defer o.release(key)
	o.next.ServeHTTP(w, r)
}

func (o *openStreams) take(key string, most int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if most > 0 && o.open[key] >= most {
		return false
	}
	o.open[key]++
	return true
}

func (o *openStreams) release(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open[key]--; o.open[key] == 0 {
		delete(o.open, key)
	}
}
