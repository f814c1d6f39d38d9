package server

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

// redisCommands are all that Usher sends, each with arguments that do little: "string", "hash" and "set" stand for keys. A
// Redis that refuses one of them to its user lets Usher start and fails in the middle of something.
var redisCommands = [][]string{
	{"PING"},
	{"TIME"},
	{"SET", "string", "1", "PX", "1000"},
	{"GET", "string"},
	{"HSET", "hash", "a", "1"},
	{"HGET", "hash", "a"},
	{"HMGET", "hash", "a", "b"},
	{"HGETALL", "hash"},
	{"HKEYS", "hash"},
	{"HINCRBY", "hash", "a", "1"},
	{"HDEL", "hash", "b"},
	{"ZADD", "set", "1", "a"},
	{"ZCARD", "set"},
	{"ZMSCORE", "set", "a"},
	{"ZRANGE", "set", "0", "-1"},
	{"ZRANGEBYSCORE", "set", "-inf", "0"},
	{"ZRANK", "set", "a"},
	{"ZREM", "set", "b"},
	{"ZREMRANGEBYSCORE", "set", "-inf", "0"},
	{"ZREVRANGE", "set", "0", "0"},
	{"ZSCORE", "set", "a"},
	{"PTTL", "set"},
	{"PEXPIRE", "set", "1000"},
	{"PEXPIREAT", "hash", "1"},
	{"PUBLISH", redisProbeChannel, ""},
	{"DEL", "string"},
}

const (
	// redisProbeChannel is one of those that the lobby announces on, and redisNewsPattern what it listens to.
	redisProbeChannel = "usher:1:lobby:{probe}:news"
	redisNewsPattern  = "usher:1:lobby:{*}:news"
)

// redisProbeKeys are the beginnings of keys that are tried: one for each kind of Usher's keys.
var redisProbeKeys = []string{
	"usher:1:lobby:{probe}:probe:", "usher:1:session:{probe}:", "usher:1:sessions:{probe}:", "usher:1:{limit:probe}:",
	"usher:1:{streams}:probe:",
}

// redisProbe runs the commands in ARGV[1] and returns those that Redis refuses, with its words. KEYS are the three keys.
const redisProbe = `
local keys = {string = KEYS[1], hash = KEYS[2], set = KEYS[3]}
local refused = {}
for _, command in ipairs(cjson.decode(ARGV[1])) do
  if keys[command[2]] then command[2] = keys[command[2]] end
  local result = redis.pcall(unpack(command))
  if type(result) == 'table' and result.err then refused[#refused + 1] = command[1] .. ' (' .. result.err .. ')' end
end
redis.pcall('DEL', KEYS[1], KEYS[2], KEYS[3])
return refused
`

var redisProbeBySHA = rueidis.NewLuaScript(redisProbe)

// probeRedis returns what Redis refuses of all that Usher does with it, in words for operators. It fails when Redis does
// not answer.
func probeRedis(ctx context.Context, client rueidis.Client) (refused []string, err error) {
	commands, err := json.Marshal(redisCommands)
	if err != nil {
		return nil, fmt.Errorf("encode commands: %w", err)
	}
	for i, prefix := range redisProbeKeys {
		keys := []string{prefix + "string", prefix + "hash", prefix + "set"}
		if i == 0 {
			// EVALSHA falls back to EVAL only for scripts that Redis has not seen.
			eval := client.B().Eval().Script(redisProbe).Numkeys(int64(len(keys))).Key(keys...).Arg("[]").Build()
			if refused, err = refusal(refused, "EVAL", client.Do(ctx, eval).Error()); err != nil {
				return nil, err
			}
		}
		result := redisProbeBySHA.Exec(ctx, client, keys, []string{string(commands)})
		if refused, err = refusal(refused, "EVALSHA on keys "+prefix+"*", result.Error()); err != nil {
			return nil, err
		}
		some, _ := result.AsStrSlice() // nil after an error
		refused = append(refused, some...)
	}
	for _, node := range client.Nodes() {
		if refused, err = refusal(refused, "PSUBSCRIBE "+redisNewsPattern, trySubscribing(ctx, node)); err != nil {
			return nil, err
		}
		break // a cluster takes news on each of its nodes
	}
	slices.Sort(refused)
	return slices.Compact(refused), nil
}

// refusal adds what Redis refused, and passes on all errors that are not its own.
func refusal(refused []string, what string, err error) ([]string, error) {
	answer, ok := rueidis.IsRedisErr(err)
	switch {
	case err == nil:
		return refused, nil
	case ok && strings.HasPrefix(answer.Error(), "LOADING"), !ok:
		return refused, err
	}
	return append(refused, what+" ("+answer.Error()+")"), nil
}

// trySubscribing subscribes to the lobby's news on a connection of its own, so that it ends no other subscription.
func trySubscribing(ctx context.Context, node rueidis.Client) error {
	return node.Dedicated(func(c rueidis.DedicatedClient) error {
		c.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(rueidis.PubSubMessage) {}})
		if err := c.Do(ctx, c.B().Psubscribe().Pattern(redisNewsPattern).Build()).Error(); err != nil {
			return err
		}
		return c.Do(ctx, c.B().Punsubscribe().Pattern(redisNewsPattern).Build()).Error()
	})
}
