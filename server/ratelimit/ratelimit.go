// Package ratelimit counts calls in Redis with the generic cell rate algorithm (GCRA): a limit of n calls per period lets n
// through at once and then one every period/n, and each key is one number in Redis.
//
// Limits are shared by all replicas and go by Redis' clock.
package ratelimit

import (
	"context"
	"crypto/sha1" //nolint:gosec // see gcraSHA
	"errors"
	"fmt"
	"strconv"
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
}

// gcra takes the emission interval and the burst tolerance in microseconds, and whether to count: 0, 1, or 2 to count in any
// case. It returns 0, or how many microseconds to wait.
const gcra = `
local interval, burst, count = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = tat + interval - burst - now
if wait > 0 and count ~= '2' then return wait end
if count ~= '0' then
  tat = math.min(tat + interval, now + 10 * burst)
  redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
end
return 0
`

// gcraSHA names the script to Redis, which keeps it after the first use. (rueidis' Lua type would load it again before each
// pipeline, and repeat that for as long as Redis is gone.)
var gcraSHA = fmt.Sprintf("%x", sha1.Sum([]byte(gcra))) //nolint:gosec // Redis' own name for a script, not a secret

// Take counts one call under each of the limits, in one round trip. It fails with [ErrLimited], or with fault.ErrRedis
// when Redis does not answer; callers that can go without the limit let that pass with [Lenient].
//
// Each limit counts by itself: a call that one refuses has still used up the others.
func (l *Limiter) Take(ctx context.Context, calls ...Call) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	used := make([]Call, 0, len(calls))
	for _, c := range calls {
		if c.Limit.Burst > 0 {
			used = append(used, c)
		}
	}
	if len(used) == 0 {
		return nil
	}
	commands := make(rueidis.Commands, len(used))
	for i, c := range used {
		commands[i] = l.Redis.B().Evalsha().Sha1(gcraSHA).Numkeys(1).Key(c.key()).Arg(c.args()...).Build()
	}
	for i, result := range l.Redis.DoMulti(bounded, commands...) {
		wait, err := result.AsInt64()
		if refused, ok := rueidis.IsRedisErr(err); ok && refused.IsNoScript() {
			again := l.Redis.B().Eval().Script(gcra).Numkeys(1).Key(used[i].key()).Arg(used[i].args()...).Build()
			wait, err = l.Redis.Do(bounded, again).AsInt64()
		}
		if err != nil && ctx.Err() != nil {
			// The caller gave up, which says nothing about Redis.
			return fmt.Errorf("limit: %w", ctx.Err())
		}
		if err != nil {
			return fault.ErrRedis.Because(err)
		}
		if wait > 0 {
			return ErrLimited.With("limit", used[i].Limit.Name).After(time.Duration(wait) * time.Microsecond)
		}
	}
	return nil
}

func (c Call) key() string { return "usher:1:limit:" + c.Limit.Name + ":" + c.Key }

// args are those of [gcra].
func (c Call) args() []string {
	interval := max(1, c.Limit.Period.Microseconds()/int64(c.Limit.Burst))
	count := "1"
	switch {
	case c.Peek:
		count = "0"
	case c.Force:
		count = "2"
	}
	return []string{strconv.FormatInt(interval, 10), strconv.FormatInt(interval*int64(c.Limit.Burst), 10), count}
}

// Lenient lets a call pass when Redis does not answer: most limits guard against excess, not against entry.
func Lenient(err error) error {
	if errors.Is(err, fault.ErrRedis) {
		return nil
	}
	return err
}
