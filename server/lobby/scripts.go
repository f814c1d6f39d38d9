package lobby

import (
	"crypto/sha1" //nolint:gosec // see script.sha
	"encoding/hex"
)

// Each transition is one script, so that nothing happens in between, and goes by Redis' clock. The keys of one room are,
// under one hash tag:
//
//	entries  hash: entry id → JSON of a record
//	waiting  sorted set: id → when they asked; those who wait, and nobody else
//	expire   sorted set: id → when the entry ends unless there is a sign of life
//	denials  hash: "entry:"id or "user:"id → how often they were turned away, until when, and for how long that is counted;
//	         "caller:"identity → the meeting in which that phone number was turned away;
//	         "void:"identity → until when tickets of somebody who was removed from the meeting are of no use
//
// Times are microseconds since 1970. In JSON they are text, because cjson keeps 14 digits of a number. Who lapses leaves the
// list at once and is kept for a while, in which a decision or a sign of life still finds them.

// Statuses of a record: those of the contract, and one for entries that were ended, which keeps streams from asking again.
const (
	statusWaiting  = 1
	statusAccepted = 2
	statusDenied   = 3
	statusEnded    = 4
)

// kindPhone is the kind of an entry that stands for a phone call, as in the contract; others have none.
const kindPhone = 2

// prelude is before every script. ARGV[1] are the arguments in JSON.
const prelude = `
local WAITING, ACCEPTED, DENIED, ENDED = 1, 2, 3, 4
local PHONE = 2
local entries, waiting, expire, denials = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local a = cjson.decode(ARGV[1])
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function text(n) return string.format('%.0f', n) end
local function ms(n) return n * 1000 end

` + writes + `
local function forget(id)
  hdel(entries, id)
  zrem(waiting, id)
  zrem(expire, id)
end

local function load(id)
  local raw = redis.call('HGET', entries, id)
  if not raw then return nil end
  local ok, e = pcall(cjson.decode, raw)
  local ends = redis.call('ZSCORE', expire, id)
  if not ok or type(e) ~= 'table' or type(e.status) ~= 'number' or type(e.name) ~= 'string' or type(e.etag) ~= 'string'
    or type(e.ticket) ~= 'string' or type(e.identity) ~= 'string' or type(e.user) ~= 'string'
    or not tonumber(e.asked) or not tonumber(e.meeting) or not ends then
    forget(id)
    return nil
  end
  e.id = id
  return e, tonumber(ends)
end

-- Two clean-ups: who lapsed is not listed any more, and is forgotten after the grace.
local function sweep()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', expire, '-inf', text(now - ms(a.grace)))) do forget(id) end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', expire, '-inf', text(now))) do zrem(waiting, id) end
end

local function store(e, ends)
  hset(entries, e.id, cjson.encode(e))
  zadd(expire, text(ends), e.id)
  if e.status == WAITING then
    zadd(waiting, e.asked, e.id)
  else
    zrem(waiting, e.id)
  end
  keep()
end

local messages = {}
local function news(what) messages[#messages + 1] = what end

-- Answers are the status word, the record, when it ends, its place among those who wait, and the time.
local function answer(word, e, ends)
  local rank = -1
  if e and e.status == WAITING then rank = redis.call('ZRANK', waiting, e.id) or -1 end
  return {word, e and cjson.encode(e) or '', text(ends or 0), rank + 1, text(now)}
end

-- Compares all of two hashes whatever they have in common.
local function same(x, y)
  if #x ~= #y then return false end
  local differ = 0
  for i = 1, #x do differ = differ + math.abs(string.byte(x, i) - string.byte(y, i)) end
  return differ == 0
end

local function blocked(key)
  local raw = redis.call('HGET', denials, key)
  if not raw then return 0, 0 end
  local count, ends, counted = string.match(raw, '^(%d+) (%d+) (%d+)$')
  if not count then
    hdel(denials, key)
    return 0, 0
  end
  if tonumber(counted) < now then
    hdel(denials, key)
    return 0, 0
  end
  return tonumber(count), tonumber(ends)
end

local function keepDenials(last)
  local left = math.ceil((last - now) / 1000)
  if redis.call('PTTL', denials) < left then redis.call('PEXPIRE', denials, left) end
end

-- Whether tickets of an identity are of no use any more. What is no number is dropped.
local function void(identity)
  local field = 'void:' .. identity
  local ends = redis.call('HGET', denials, field)
  if not ends then return false end
  if (tonumber(ends) or 0) > now then return true end
  hdel(denials, field)
  return false
end

local function deny(e)
  local count = blocked('entry:' .. e.id)
  if e.user ~= '' then count = math.max(count, (blocked('user:' .. e.user))) end
  local life = math.min(ms(a.denied) * 2 ^ math.min(count, 30), ms(a.deniedMost))
  local ends = now + math.max(life, ms(a.block or 0))
  local value = text(count + 1) .. ' ' .. text(ends) .. ' ' .. text(ends + ms(a.deniedMost))
  hset(denials, 'entry:' .. e.id, value)
  if e.user ~= '' then hset(denials, 'user:' .. e.user, value) end
  -- All who withhold their number look the same.
  if e.kind == PHONE and not e.withheld then hset(denials, 'caller:' .. e.identity, a.meeting) end
  keepDenials(ends + ms(a.deniedMost))
  return ends
end

local function decide(e, allow)
  e.decided = text(now)
  local ends
  if allow then
    e.status, ends = ACCEPTED, now + ms(a.accepted)
    e.meeting = a.meeting
  else
    e.status = DENIED
    ends = deny(e)
  end
  store(e, ends)
  news('entry ' .. e.id)
  return ends
end
`

// script is one of them, by the name under which Redis keeps it after the first use.
type script struct{ text, sha string }

func newScript(body string) script {
	text := prelude + "local function run()\n" + body + "end\n" + finale
	sum := sha1.Sum([]byte(text)) //nolint:gosec // Redis' own name for a script, not a secret
	return script{text, hex.EncodeToString(sum[:])}
}

// refreshScript makes an entry, or is a sign of life of one that is there. With `touch` it makes and renames nothing.
var refreshScript = newScript(`
sweep()
if void(a.identity) then return answer('invalid') end
local e, ends = load(a.id)
if e and not same(e.ticket, a.ticket) then return answer('invalid') end
if e and e.status == ACCEPTED and ends > now and e.meeting == a.meeting then return answer('ok', e, ends) end
if e and e.status == DENIED and ends > now then return answer('ok', e, ends) end
if e and e.status == WAITING then
  local lapsed = ends <= now
  ends = now + ms(a.waiting)
  local renamed = not a.touch and a.name ~= '' and a.name ~= e.name
  if renamed then e.name, e.etag = a.name, a.etag end
  if lapsed or renamed then
    if lapsed and redis.call('ZCARD', waiting) >= a.most then return answer('full') end
    store(e, ends)
    news('list')
  else
    zadd(expire, text(ends), e.id)
    keep()
  end
  return answer('ok', e, ends)
end
if e and e.status == ENDED and a.touch then return answer('ended', e, ends) end
if a.touch then return answer('gone') end
local ticketCount, ticketEnds = blocked('entry:' .. a.id)
local userEnds = 0
if a.user ~= '' then local _, u = blocked('user:' .. a.user) userEnds = u end
local denied = math.max(ticketEnds, userEnds)
if denied > now then
  return answer('denied', {id = a.id, status = DENIED, name = a.name, ticket = a.ticket, identity = a.identity,
    user = a.user,
    etag = a.etag, asked = text(now), decided = text(now), meeting = a.meeting}, denied)
end
if redis.call('ZCARD', waiting) >= a.most then return answer('full') end
-- Who lost a place gets it back; who was decided about, or gave up, or comes to another meeting, is a newcomer.
local asked = now
if a.asked ~= '' and not e and ticketCount == 0 and a.sameMeeting then
  local before = tonumber(a.asked)
  if before <= now and now - before < ms(a.keepPlace) then asked = before end
end
e = {id = a.id, status = WAITING, name = a.name, ticket = a.ticket, identity = a.identity, user = a.user, etag = a.etag,
  asked = text(asked), decided = '', meeting = a.meeting}
ends = now + ms(a.waiting)
store(e, ends)
news('list')
return answer('new', e, ends)
`)

// admit lets in somebody who waits and may enter directly now.
var admitScript = newScript(`
sweep()
local e, ends = load(a.id)
if void(a.identity) then return answer('invalid') end
if not e or not same(e.ticket, a.ticket) or e.user ~= a.user then return answer('gone') end
if e.status == WAITING then
  ends = decide(e, true)
elseif e.status ~= ACCEPTED or ends <= now or e.meeting ~= a.meeting then
  return answer('gone')
end
return answer('ok', e, ends)
`)

// finish ends an entry whose guest gave up, or whose meeting is over. A denial stays.
var finishScript = newScript(`
sweep()
local e, ends = load(a.id)
if not e then return answer('gone') end
if not same(e.ticket, a.ticket) then return answer('invalid') end
if e.status == DENIED or e.status == ENDED then return answer('ok', e, ends) end
if a.decided and a.decided ~= e.decided then return answer('ok', e, ends) end
e.status, e.decided = ENDED, a.why
store(e, now + ms(a.ended))
news('entry ' .. e.id)
return answer('ok', e, ends)
`)

var decideScript = newScript(`
sweep()
local want = a.allow and ACCEPTED or DENIED
local e, ends = load(a.id)
if not e or e.status == ENDED then return answer('gone') end
if e.status ~= WAITING then return answer(e.status == want and 'ok' or 'decided', e, ends) end
if e.etag ~= a.etag then return answer('conflict') end
ends = decide(e, a.allow)
return answer('new', e, ends)
`)

// decideAll returns the records about which the decision stands. Who was shown under another name waits as before; without
// an etag any name will do.
var decideAllScript = newScript(`
sweep()
local want = a.allow and ACCEPTED or DENIED
local stands = {}
for _, seen in ipairs(a.seen) do
  local e = load(seen.id)
  if e and e.status == WAITING then
    if seen.etag == '' or seen.etag == e.etag then
      decide(e, a.allow)
      stands[#stands + 1] = cjson.encode(e)
    end
  elseif e and e.status == want then
    stands[#stands + 1] = cjson.encode(e)
  end
end
return stands
`)

// list returns the time, and then id, record and end of everybody who waits, oldest first. The records are as they are
// stored: looking into 200 of them takes Redis longer than all the rest, so the reader does, and drops what cannot be read.
var listScript = newScript(`
sweep()
local out = {text(now)}
local ids = redis.call('ZRANGE', waiting, 0, -1)
for first = 1, #ids, 1000 do
  local some = {unpack(ids, first, math.min(first + 999, #ids))}
  local records, ends = redis.call('HMGET', entries, unpack(some)), redis.call('ZMSCORE', expire, unpack(some))
  for i, id in ipairs(some) do
    if records[i] and ends[i] then
      out[#out + 1] = id
      out[#out + 1] = records[i]
      out[#out + 1] = ends[i]
    else
      zrem(waiting, id)
    end
  end
end
return out
`)

// clear ends all entries of a room, or, with `before`, those of meetings of a lower number. Denials stay. It is run after
// every event of LiveKit's, so it is news only when there was something to end.
var clearScript = newScript(`
local ended = 0
for _, id in ipairs(redis.call('HKEYS', entries)) do
  local e, ends = load(id)
  local over = e and (a.before == 0 or tonumber(e.meeting) < a.before)
  if over and e.status ~= ENDED and not (e.status == DENIED and ends > now) then
    e.status, e.decided = ENDED, 'cleared'
    store(e, now + ms(a.ended))
    ended = ended + 1
  end
end
if ended > 0 then news('all') end
return ended
`)

// remove voids what somebody holds who was put out of the meeting: the tickets of their identity, and of their account if
// that has to stay out too. There need not be an entry.
var removeScript = newScript(`
local function revoke(identity)
  hset(denials, 'void:' .. identity, text(now + ms(a.ticketLife)))
end
revoke(a.identity)
for _, id in ipairs(redis.call('HKEYS', entries)) do
  local e, ends = load(id)
  if e and (e.identity == a.identity or a.user ~= '' and e.user == a.user) then
    revoke(e.identity)
    if e.status ~= ENDED and not (e.status == DENIED and ends > now) then
      e.status, e.decided = ENDED, 'cleared'
      store(e, now + ms(a.ended))
      news('entry ' .. id)
    end
  end
end
keepDenials(now + ms(a.ticketLife))
return 1
`)
