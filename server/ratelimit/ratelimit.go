// Package ratelimit counts calls in Redis with the generic cell rate algorithm (GCRA): a limit of n calls per period lets n
// through at once and then one every period/n, and each key is one number in Redis.
//
// Limits are shared by all replicas and go by Redis' clock.
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/redis/rueidis"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/fault"
)

// ErrLimited is a call over its limit.
var ErrLimited = fault.New(
	connect.CodeResourceExhausted,
	usherv1.ErrorReason_ERROR_REASON_RATE_LIMITED,
	"too many calls: wait and try again",
)

// Limit is how often something may be done.
type Limit struct {
	// Name is shown to the caller and is part of the key, so limits never share a count.
	Name string
	// Burst is how many calls pass at once. 0 or less switches the limit off.
	Burst int
	// Period is in which time as many become free again.
	Period time.Duration
}

// Call is one use of a limit by one key.
type Call struct {
	Limit Limit
	// Key is who or what is limited.
	Key string
	// Part is what of Key is limited, one network in a room for instance. Empty: all of it.
	Part string
	// Peek only looks whether a call would pass, and does not count it.
	Peek bool
	// Force counts the call and lets it pass even over the limit: it has happened already. At most ten periods are held
	// against the key.
	Force bool
}

// timeout bounds the wait for Redis: it answers within a millisecond, or something is wrong.
const timeout = time.Second

// Limiter counts. Every field is required.
type Limiter struct {
	Redis rueidis.Client

	breaker breaker
}

// Take counts one call under each of the limits, or under none when one of them refuses: whoever is refused uses up nothing
// that is meant for others. It fails with [ErrLimited], which tells the longest wait, or with fault.ErrRedis when Redis
// does not answer; callers that can go without the limit use [Limiter.Allow].
//
// It takes one round trip. On Redis Cluster only calls with the same Key are one step: a refusal takes a second round trip,
// which gives back what the other keys counted.
func (l *Limiter) Take(ctx context.Context, calls ...Call) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	steps := l.steps(calls)
	if len(steps) == 0 {
		return nil
	}
	var refusal *fault.Error
	var failure error
	var counted []step
	for i, result := range run(bounded, l.Redis, count, steps) {
		refused, err := steps[i].refusal(result)
		switch {
		case err != nil:
			failure = err
		case refused == nil:
			counted = append(counted, steps[i])
		case refusal == nil || refusal.RetryAfter < refused.RetryAfter:
			refusal = refused
		}
	}
	switch {
	case failure != nil && ctx.Err() != nil:
		// The caller gave up, which says nothing about Redis.
		return fmt.Errorf("limit: %w", ctx.Err())
	case refusal != nil:
		l.giveBack(ctx, counted)
		return refusal
	case failure != nil:
		return fault.ErrRedis.Because(failure)
	}
	return nil
}

// giveBack takes calls out of the counts, whether or not the caller is still there. What cannot be given back becomes free
// with time.
func (l *Limiter) giveBack(ctx context.Context, steps []step) {
	for i := range steps {
		steps[i] = slices.DeleteFunc(steps[i], func(c Call) bool { return c.Peek || c.Force })
	}
	steps = slices.DeleteFunc(steps, func(s step) bool { return len(s) == 0 })
	if len(steps) == 0 {
		return
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	run(bounded, l.Redis, uncount, steps)
}

// steps are the calls that one script can count together: all of them, but on Redis Cluster those with the same key. Limits
// that are off are left out.
func (l *Limiter) steps(calls []Call) []step {
	var steps []step
	of := map[string]int{}
	for _, c := range calls {
		if c.Limit.Burst <= 0 {
			continue
		}
		group := ""
		if l.Redis.Mode() == rueidis.ClientModeCluster {
			group = c.Key
		}
		i, ok := of[group]
		if !ok {
			i = len(steps)
			of[group], steps = i, append(steps, nil)
		}
		steps[i] = append(steps[i], c)
	}
	return steps
}

// Lenient lets a call pass when Redis does not answer: most limits guard against excess, not against entry.
func Lenient(err error) error {
	if errors.Is(err, fault.ErrRedis) {
		return nil
	}
	return err
}
