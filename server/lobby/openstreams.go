package lobby

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/ratelimit"
)

const (
	// streamRetry is when those try again who have too many streams open: lost ones are noticed until then.
	streamRetry = 5 * time.Second
	// streamLease is for how long the streams of a process count that says nothing any more, and streamRenewal how often it
	// says that it is there.
	streamLease, streamRenewal = 30 * time.Second, 10 * time.Second
)

// errTooMany is one stream more than may be open.
var errTooMany = ratelimit.ErrLimited.Saying("too many open streams: close one").With("limit", "streams").After(streamRetry)

// openStreams counts the open streams of all replicas. Each counter is a hash: process → how many it has open. A process
// holds a lease, for all its streams together; without it they do not count. So an open stream costs Redis nothing: only
// opening and closing it does, and each process one command every 10 s.
//
// The keys are in one hash slot, because one script looks at all counters of a stream. Without Redis, and for streams that
// were open when it lost its data, nothing is counted.
type openStreams struct {
	redis rueidis.Client
	// process names this one among all that run or ran.
	process string
	lease   time.Duration
	// hangs reports whether Redis hangs; then streams are not counted. Nil: it is asked.
	hangs func() bool
	// here is how many streams this process has counted and not released.
	here atomic.Int64
}

func newOpenStreams(redis rueidis.Client) *openStreams {
	return &openStreams{redis: redis, process: uuid.NewString(), lease: streamLease}
}

const (
	streamKeys      = "usher:1:{streams}:"
	streamProcesses = streamKeys + "processes"
)

// takeStream counts a stream unless that is one too many. KEYS are the leases, a sorted set of processes by the end of their
// lease, and the counters; ARGV the process, its lease, for how long counters are kept (all in milliseconds), and the
// limits. It returns 0, or which limit refuses. Counters that nobody adds to end after the greatest age of a stream. Should
// Redis refuse to end keys, it does so before anything is written that would never end.
var takeStream = rueidis.NewLuaScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
for i = 1, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for i = 2, #KEYS do
  local open, counts = 0, redis.call('HGETALL', KEYS[i])
  for j = 1, #counts, 2 do
    if redis.call('ZSCORE', KEYS[1], counts[j]) then
      open = open + (tonumber(counts[j + 1]) or 0)
    else
      redis.call('HDEL', KEYS[i], counts[j])
    end
  end
  if open >= tonumber(ARGV[i + 2]) then return i - 1 end
end
for i = 2, #KEYS do
  redis.call('HINCRBY', KEYS[i], ARGV[1], 1)
  redis.call('PEXPIRE', KEYS[i], ARGV[3])
end
return 0
`)

// releaseStream counts a stream no more. KEYS are the counters, ARGV the process. What was lost or has lapsed meanwhile
// stays so: nothing counts below nothing.
var releaseStream = rueidis.NewLuaScript(`
for i = 1, #KEYS do
  local open = tonumber(redis.call('HGET', KEYS[i], ARGV[1]) or 0)
  if open > 1 then
    redis.call('HINCRBY', KEYS[i], ARGV[1], -1)
  else
    redis.call('HDEL', KEYS[i], ARGV[1])
  end
end
return 0
`)

// take counts a stream, until release is called. entry is the guest's, empty for hosts. Who is signed in counts by
// themselves, whatever strangers on their network have open. It fails with RATE_LIMITED.
func (o *openStreams) take(
	ctx context.Context, rules StreamRules, c *auth.Caller, entry string,
) (release func(), err error) {
	keys, args := []string{
		streamProcesses,
	}, []string{
		o.process,
		milliseconds(o.lease),
		milliseconds(rules.MaxAge + time.Minute),
	}
	limit := func(key string, most int) {
		if most > 0 {
			keys, args = append(keys, streamKeys+key), append(args, strconv.Itoa(most))
		}
	}
	if entry != "" {
		limit("ticket:"+entry, rules.PerTicket)
	}
	if c.Kind == auth.User {
		limit(c.LimitKey(), rules.PerUser)
	} else {
		limit(c.LimitKey(), rules.PerNetwork)
	}
	if len(keys) == 1 || o.hangs != nil && o.hangs() {
		return func() {}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	refused, err := takeStream.Exec(bounded, o.redis, keys, args).AsInt64()
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("count stream: %w", ctx.Err())
	case err != nil:
		// As with most limits: what guards against excess keeps nobody out when it cannot count.
		return func() {}, ratelimit.Lenient(fault.ErrRedis.Because(err))
	case refused > 0:
		return nil, errTooMany
	}
	o.here.Add(1)
	return sync.OnceFunc(func() {
		o.here.Add(-1)
		// The client is gone and ctx done, which is why this is released.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		defer cancel()
		// One that cannot be released counts until its lease ends, or the counter does.
		_ = releaseStream.Exec(ctx, o.redis, keys[1:], []string{o.process}).Error()
	}), nil
}

// renew says that this process is there: the time is Redis'.
var renewStreams = rueidis.NewLuaScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
`)

// renew keeps the streams of this process counted, if it has any.
func (o *openStreams) renew(ctx context.Context) error {
	if o.here.Load() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return renewStreams.Exec(ctx, o.redis, []string{streamProcesses}, []string{o.process, milliseconds(o.lease)}).Error()
}

// RunStreams keeps the streams of this process counted until ctx is done.
func (s *Service) RunStreams(ctx context.Context) {
	s.hub()
	again := time.NewTicker(streamRenewal)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		if err := s.open.renew(ctx); err != nil && !errors.Is(err, context.Canceled) {
			s.Log.InfoContext(ctx, "the limits of streams do not hold until Redis answers", "err", err)
		}
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
