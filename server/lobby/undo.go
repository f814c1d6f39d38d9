package lobby

// A script that fails changes nothing. Redis keeps what was written before a command that it refuses, so the scripts write
// by four functions that remember what was there, and what they say on the channel is said last.

// writes are the functions with which scripts write.
const writes = `
-- The keys end with the last entry in them: nothing is kept of a lobby that nobody comes to any more.
local function keep()
  local last = redis.call('ZREVRANGE', expire, 0, 0, 'WITHSCORES')
  if not last[2] then return end
  local ends = text(math.ceil((tonumber(last[2]) + ms(a.grace)) / 1000))
  redis.call('PEXPIREAT', entries, ends)
  redis.call('PEXPIREAT', waiting, ends)
  redis.call('PEXPIREAT', expire, ends)
end

-- The commands that take back what was written, the last one first. Those that may be needed are tried before the first
-- write, since Redis may refuse them, too.
local undo = {}
local function remember(...)
  if #undo == 0 then
    redis.call('HDEL', entries, '')
    redis.call('ZREM', waiting, '')
    keep()
  end
  undo[#undo + 1] = {...}
end

local function hset(key, field, value)
  local before = redis.call('HGET', key, field)
  if before then remember('HSET', key, field, before) else remember('HDEL', key, field) end
  redis.call('HSET', key, field, value)
end

local function hdel(key, field)
  local before = redis.call('HGET', key, field)
  if not before then return end
  remember('HSET', key, field, before)
  redis.call('HDEL', key, field)
end

local function zadd(key, score, member)
  local before = redis.call('ZSCORE', key, member)
  if before then remember('ZADD', key, before, member) else remember('ZREM', key, member) end
  redis.call('ZADD', key, score, member)
end

local function zrem(key, member)
  local before = redis.call('ZSCORE', key, member)
  if not before then return end
  remember('ZADD', key, before, member)
  redis.call('ZREM', key, member)
end
`

// finale is after every script.
const finale = `
local ok, result = pcall(function()
  local result = run()
  for _, what in ipairs(messages) do redis.call('PUBLISH', a.channel, what) end
  return result
end)
if ok then return result end
for i = #undo, 1, -1 do redis.pcall(unpack(undo[i])) end
-- A key that had ended with its last member, and is there again, has lost its end.
pcall(keep)
pcall(function()
  if redis.call('PTTL', denials) == -1 then keepDenials(now + ms(a.deniedMost)) end
end)
return redis.error_reply(type(result) == 'table' and result.err or tostring(result))
`
