package auth

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/ratelimit"
)

// MissCounter is an interceptor that counts answers which tell that something does not exist, so that a caller or network
// which tries names is soon refused before the look-up ([Authenticator] does). Put it inside fault.Interceptor. Every field
// is required.
type MissCounter struct {
	Limiter *ratelimit.Limiter
	// NotFound is the same limit as the Authenticator's.
	NotFound ratelimit.Limit
}

var _ connect.Interceptor = MissCounter{}

// WrapUnary implements connect.Interceptor.
func (p MissCounter) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		return res, p.count(ctx, err)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (p MissCounter) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return p.count(ctx, next(ctx, conn))
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (MissCounter) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// count returns err. What is over the limit counts too: of many calls at the same time each finds the limit free, and
// together they keep whom they count for out for as long as if they had come one by one.
func (p MissCounter) count(ctx context.Context, err error) error {
	if err == nil || !isNotFound(err) {
		return err
	}
	// The answer is sent all the same: it is the next one that the limit concerns.
	misses := FromContext(ctx).limited(ratelimit.Call{Limit: p.NotFound, Force: true})
	_ = p.Limiter.Allow(context.WithoutCancel(ctx), misses...)
	return err
}

// isNotFound reports whether an answer tells that what was named does not exist.
func isNotFound(err error) bool {
	e, ok := errors.AsType[*fault.Error](err)
	return ok && (e.Code == connect.CodeNotFound || e.Name() == "TICKET_INVALID")
}
