// Package ratelimit counts calls in Redis with the generic cell rate algorithm (GCRA): a limit of n calls per period lets n
// through at once and then one every period/n, and each key is one number in Redis.
//
// Limits are shared by all replicas and go by Redis' clock.
package ratelimit

import (
	"context"
	"errors"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"github.com/redis/rueidis"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/fault"
)

// ErrLimited is a call over its limit.
var ErrLimited = fault.New(connect.CodeResourceExhausted, usherv1.ErrorReason_ERROR_REASON_RATE_LIMITED, "too many calls: wait and try again")

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
	// Peek only looks whether a call would pass, and does not count it.
	Peek bool
}

// Limiter counts. Every field is required.
type Limiter struct {
	Redis rueidis.Client
}

// gcra takes the emission interval and the burst tolerance in microseconds, and whether to count. It returns 0, or how many
// microseconds to wait.
var gcra = rueidis.NewLuaScript(`
local interval, burst, count = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = tat + interval - burst - now
if wait > 0 then return wait end
if count == '1' then
  tat = tat + interval
  redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
end
return 0
`)

// Take counts one call under each of the limits, in one round trip. It fails with [ErrLimited], or with fault.ErrRedis
// when Redis does not answer; callers that can go without the limit let that pass with [Lenient].
//
// Each limit counts by itself: a call that one refuses has still used up the others.
func (l *Limiter) Take(ctx context.Context, calls ...Call) error {
	scripts := make([]rueidis.LuaExec, 0, len(calls))
	used := make([]Limit, 0, len(calls))
	for _, c := range calls {
		if c.Limit.Burst <= 0 {
			continue
		}
		interval := max(1, c.Limit.Period.Microseconds()/int64(c.Limit.Burst))
		count := "1"
		if c.Peek {
			count = "0"
		}
		used = append(used, c.Limit)
		scripts = append(scripts, rueidis.LuaExec{
			Keys: []string{"usher:1:limit:" + c.Limit.Name + ":" + c.Key},
			Args: []string{strconv.FormatInt(interval, 10), strconv.FormatInt(interval*int64(c.Limit.Burst), 10), count},
		})
	}
	if len(scripts) == 0 {
		return nil
	}
	for i, result := range gcra.ExecMulti(ctx, l.Redis, scripts...) {
		wait, err := result.AsInt64()
		if err != nil {
			return fault.ErrRedis.Because(err)
		}
		if wait > 0 {
			return ErrLimited.With("limit", used[i].Name).After(time.Duration(wait) * time.Microsecond)
		}
	}
	return nil
}

// Lenient lets a call pass when Redis does not answer: most limits guard against excess, not against entry.
func Lenient(err error) error {
	if errors.Is(err, fault.ErrRedis) {
		return nil
	}
	return err
}
