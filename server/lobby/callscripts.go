package lobby

// Phone calls have entries too, which nobody holds a ticket for: LiveKit says who calls. The id comes from the call, so that
// each call has one, whichever replica hears of it first. A sweep that sees the call is its sign of life.

// calls says how calls stand: one word for each, in their order. It makes entries of those that are new. With `complete`, no
// other calls are in the room, and the entries of those that nobody has seen for a while end.
var callsScript = newScript(`
sweep()
local changed = false

-- Those that are new at the same moment wait in the order in which they came.
local function enter(c, place)
  return {id = c.id, kind = PHONE, status = WAITING, name = c.name, ticket = 'none', identity = c.identity, user = '',
    etag = c.etag, asked = text(now + place), decided = '', meeting = a.meeting, call = c.call, withheld = c.withheld}
end

local function stand(c, place)
  local e, ends = load(c.id)
  -- What was decided in one meeting does not count in the next.
  if e and (e.status == ENDED or e.status == ACCEPTED and e.meeting ~= a.meeting) then e = nil end
  if e and e.status == DENIED then return 'refused' end
  if e and e.status == ACCEPTED then
    if ends - now < ms(a.accepted) / 2 then store(e, now + ms(a.accepted)) end
    return e.lifted and 'lifted' or 'admitted'
  end
  if redis.call('HGET', denials, 'caller:' .. c.identity) == a.meeting then
    forget(c.id)
    return 'refused'
  end
  if a.allow then
    changed = changed or e ~= nil
    e = e or enter(c, place)
    e.status, e.decided, e.meeting = ACCEPTED, text(now), a.meeting
    store(e, now + ms(a.accepted))
    return 'admitted'
  end
  if e then
    changed = changed or ends <= now
    store(e, now + ms(a.waiting))
    return 'waiting'
  end
  if redis.call('ZCARD', waiting) >= a.most then return 'full' end
  changed = true
  store(enter(c, place), now + ms(a.waiting))
  return 'new'
end

local words, here = {}, {}
for i, c in ipairs(a.calls or {}) do
  here[c.id] = true
  words[i] = stand(c, i)
end
if a.complete then
  for _, id in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do
    if not here[id] then
      local e, ends = load(id)
      -- Somebody else may have seen the call begin since this list of calls was made.
      if e and e.kind == PHONE and now - (ends - ms(a.waiting)) > ms(a.unseen) then
        forget(id)
        changed = true
      end
    end
  end
end
if changed then news('list') end
return words
`)

// callEnded ends the entry of a call that is over.
var callEndedScript = newScript(`
local e = load(a.id)
if not e then return answer('gone') end
forget(a.id)
news('list')
return answer('ok')
`)

// callLifted writes down that the hold of a call was lifted.
var callLiftedScript = newScript(`
local e, ends = load(a.id)
if not e or e.status ~= ACCEPTED then return answer('gone') end
e.lifted = true
store(e, ends)
return answer('ok', e, ends)
`)

// callHeld undoes an admission whose hold could not be lifted.
var callHeldScript = newScript(`
local e = load(a.id)
if not e or e.status ~= ACCEPTED or e.lifted then return answer('gone') end
e.status, e.decided = WAITING, ''
local ends = now + ms(a.waiting)
store(e, ends)
news('list')
return answer('ok', e, ends)
`)
