package ratelimit

import (
	"context"
	"crypto/sha1" //nolint:gosec // see script.sha
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/fault"
)

// step is what one script counts at once.
type step []Call

// script is a Lua script. KEYS are those of the calls of a step; ARGV has for each the emission interval and the burst
// tolerance in microseconds, and whether to count: 0, 1, or 2 to count in any case.
type script struct {
	source string
	// sha names the script to Redis, which keeps it after the first use. (rueidis' Lua type would load it again before each
	// pipeline, and repeat that for as long as Redis is gone.)
	sha string
}

func newScript(source string) script {
	return script{source: source, sha: fmt.Sprintf("%x", sha1.Sum([]byte(source)))} //nolint:gosec // Redis' own name for it
}

// count counts all calls if all pass, and else only those that are counted in any case. It returns for each 0, or how many
// microseconds to wait.
var count = newScript(`
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local tats, waits, refused = {}, {}, false
for i = 1, #KEYS do
  local interval, burst = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  tats[i] = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now)
  waits[i] = 0
  if ARGV[3 * i] ~= '2' then waits[i] = math.max(0, tats[i] + interval - burst - now) end
  refused = refused or waits[i] > 0
end
for i = 1, #KEYS do
  local interval, burst, mode = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), ARGV[3 * i]
  if mode == '2' or mode == '1' and not refused then
    local tat = math.min(tats[i] + interval, now + 10 * burst)
    redis.call('SET', KEYS[i], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
  end
end
return waits
`)

// uncount takes one call out of each count. Calls that others made since stay counted.
var uncount = newScript(`
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
for i = 1, #KEYS do
  local tat = tonumber(redis.call('GET', KEYS[i]) or now) - tonumber(ARGV[3 * i - 2])
  if tat > now then
    redis.call('SET', KEYS[i], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
  else
    redis.call('DEL', KEYS[i])
  end
end
return {}
`)

// run runs a script once for each step, all in one round trip.
func run(ctx context.Context, redis rueidis.Client, s script, steps []step) []rueidis.RedisResult {
	commands := make(rueidis.Commands, len(steps))
	for i, of := range steps {
		commands[i] = redis.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(of))).Key(of.keys()...).Arg(of.args()...).Build()
	}
	results := redis.DoMulti(ctx, commands...)
	for i, of := range steps {
		if refused, ok := rueidis.IsRedisErr(results[i].Error()); ok && refused.IsNoScript() {
			again := redis.B().Eval().Script(s.source).Numkeys(int64(len(of))).Key(of.keys()...).Arg(of.args()...).Build()
			results[i] = redis.Do(ctx, again)
		}
	}
	return results
}

// refusal reads the answer of [count]: nil when all calls passed, else the limit with the longest wait.
func (s step) refusal(result rueidis.RedisResult) (*fault.Error, error) {
	waits, err := result.AsIntSlice()
	if err != nil {
		return nil, err
	}
	longest := 0
	for i, wait := range waits {
		if i < len(s) && wait > waits[longest] {
			longest = i
		}
	}
	if len(waits) == 0 || waits[longest] == 0 {
		return nil, nil
	}
	return ErrLimited.With("limit", s[longest].Limit.Name).After(time.Duration(waits[longest]) * time.Microsecond), nil
}

// keys are in one slot of Redis Cluster when the calls have one Key.
func (s step) keys() []string {
	keys := make([]string, len(s))
	for i, c := range s {
		keys[i] = "usher:1:{limit:" + c.Key + "}:" + c.Limit.Name + ":" + c.Part
	}
	return keys
}

func (s step) args() []string {
	args := make([]string, 0, 3*len(s))
	for _, c := range s {
		interval := max(1, c.Limit.Period.Microseconds()/int64(c.Limit.Burst))
		mode := "1"
		switch {
		case c.Peek:
			mode = "0"
		case c.Force:
			mode = "2"
		}
		args = append(args, strconv.FormatInt(interval, 10), strconv.FormatInt(interval*int64(c.Limit.Burst), 10), mode)
	}
	return args
}
