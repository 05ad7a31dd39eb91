--[[
Record that a visitor has become a user, and detach what the visitor had begun, so that it can move to the user's row.

KEYS[1]   the visitor's row
KEYS[2]   the timers of its partition      KEYS[3]   the site's users with progress in it: see apply-event-5.lua
ARGV[1]   MessagePack of {site, visitor, user, at, token, done, now, ack_timeout, ruleset, ttl}
          at      when the site said so       token   the name of this move       done   the token of a merged move, or ""
          user    empty: nothing new was said, only finish the move under way
          ruleset the version that the caller knows
Returns   MessagePack of {token, user, triggers, counted, called_off, offers, open, recent, older, time}: the parts for
          the user's row; of false if nothing has to move; of true if the ruleset is older than the row's: reload and repeat
Atomic    because an event of the visitor comes either before, and moves along, or after, and goes to the user:
          detach, event   the event finds that the visitor became the user, and is the user's
          event, detach   what it has changed is part of what moves
          The two rows may be in two slots, so this is one half, and merge-visitor-4.lua is the other. Between them the
          parts wait in this row until they are merged, so a caller that dies in between loses nothing. The next
          identification of this visitor finishes the move first, even one to another user. So does the visitor's next
          event, and a wake, because the move has a timer. Of several identifications, the one with the latest time
          counts, whichever comes first.
]]
--- @include gates
local row, timers, in_progress = KEYS[1], KEYS[2], KEYS[3]
local call = cmsgpack.unpack(ARGV[1])
local timer = cjson.encode({ "move", call.site, call.visitor })

local is_new = redis.call("EXISTS", row) == 0
local stored = redis.call(
  "HMGET", row,
  ROW.moving, ROW.became, ROW.became_at, ROW.targets, ROW.counted, ROW.cancellations, ROW.offers, ROW.open, ROW.recent,
  ROW.older, ROW.time
)
local moving, became, became_at, targets, counted, called_off, offering, open_before, recent, older, time =
  unpack(stored)
became_at = tonumber(became_at or 0)
if moving and cmsgpack.unpack(moving).token ~= call.done then return moving end
if moving then redis.call("HDEL", row, ROW.moving) end
if moving or call.user == "" then redis.call("ZREM", timers, timer) end
if call.user == "" then return cmsgpack.pack(false) end

local ruleset = tonumber(string.match(targets or "", "^%d+:(%d+):") or 0)
if ruleset > call.ruleset then return cmsgpack.pack(true) end
if became_at > call.now + CLOCK.max_ahead then became_at = 0 end -- a clock was wrong
local is_news = became ~= call.user
if is_news and became_at > call.at then return cmsgpack.pack(false) end

local triggers, detached = {}, {}
for _, field in ipairs(redis.call("HKEYS", row)) do
  if string.sub(field, 1, 2) == ROW.progress then
    local key, runs = string.sub(field, 3), redis.call("HGET", row, field)
    triggers[key], detached[#detached + 1] = runs, field
    redis.call("ZREM", in_progress, key .. call.visitor)
    for _, run in ipairs(cmsgpack.unpack(runs)) do
      redis.call("ZREM", timers, cjson.encode({ "absence", call.site, call.visitor, key, run[RUN.per] }))
    end
  end
end
local function detach(packed, field)
  if not packed then return {} end
  detached[#detached + 1] = field
  return cmsgpack.unpack(packed)
end
counted = detach(counted, ROW.counted)
called_off = detach(called_off, ROW.cancellations)
offering = detach(offering, ROW.offers)
-- An activation that waits for its delay stays: it is in this partition, and belongs to the visitor.
local open = {}
if open_before then
  local waiting
  open, waiting = gates.split(cmsgpack.unpack(open_before))
  if next(open) and next(waiting) then
    redis.call("HSET", row, ROW.open, cmsgpack.pack(waiting))
  elseif next(open) then
    detached[#detached + 1] = ROW.open
  end
end

if is_news or call.at > became_at then
  redis.call("HSET", row, ROW.became, call.user, ROW.became_at, tostring(math.max(call.at, became_at)))
end
local answer = cmsgpack.pack(false)
if is_news or #detached > 0 or next(open) then -- even without parts, the user's row must learn of the visitor
  answer = cmsgpack.pack({
    token = call.token,
    user = call.user,
    triggers = triggers,
    counted = counted,
    called_off = called_off,
    offers = offering,
    open = open,
    recent = recent or "",
    older = older or "",
    time = tonumber(time or 0),
  })
  redis.call("HSET", row, ROW.moving, answer)
  redis.call("ZADD", timers, call.now + call.ack_timeout, timer)
  if #detached > 0 then redis.call("HDEL", row, unpack(detached)) end
end
if is_new then
  redis.call("PEXPIRE", row, call.ttl)
else
  redis.call("PEXPIRE", row, call.ttl, "GT")
end
return answer
