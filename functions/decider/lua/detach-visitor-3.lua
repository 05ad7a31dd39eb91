--[[
A visitor has become a user: from now on his row says so, and what he had begun is made ready to move.

KEYS[1]   the visitor's row; besides what apply-event-5.lua explains: x what is on its way to the user, k since when he is
          known to be that user, ms
KEYS[2]   the agenda of his partition      KEYS[3]   who of the site is on the way in it: see apply-event-5.lua
ARGV[1]   MessagePack of {site, visitor, user, at, token, done, now, patience, ruleset, ttl}: at when he said so; token
          names this move; done: the token of one that has arrived, or empty; ruleset: the version that the caller
          knows. An empty user says nothing new: only what is on its way is seen to
Returns   MessagePack of {token, user, triggers, counted, noted, offers, open, recent, time}: of which user; progress
          by trigger, what is counted, called off, offered and open, digests of recent message ids, last effective time.
          Of false where nothing is to move, of true where the ruleset is older than the row's: reload, call again
Atomic    because an event of the visitor comes before, and moves along, or after, and goes to the user:
          release, event   the event finds `l`, and is the user's
          event, release   what it has done is part of what moves
          The two rows may lie in two slots, so this is one half. The other is merge-visitor-4.lua; between them the parts lie
          in `x`, and stay there until they have arrived: whoever dies in between has lost nothing. The next one to
          introduce this visitor finishes it first, also where it is to another user; so does his next event, and a
          wake, which the agenda tells of it. Who says later who he is, is right, whoever comes first.
]]
--- @include gates
local row, agenda, on_the_way = KEYS[1], KEYS[2], KEYS[3]
local call = cmsgpack.unpack(ARGV[1])
local appointment = cjson.encode({ "move", call.site, call.visitor })

local is_new = redis.call("EXISTS", row) == 0
local stored = redis.call("HMGET", row, "x", "l", "c", "d", "m", "g", "k", "n", "o", "p")
local moving, became, known_since = stored[1], stored[2], tonumber(stored[7] or 0)
if moving and cmsgpack.unpack(moving).token ~= call.done then return moving end
if moving then redis.call("HDEL", row, "x") end
if moving or call.user == "" then redis.call("ZREM", agenda, appointment) end
if call.user == "" then return cmsgpack.pack(false) end

local ruleset = tonumber(string.match(stored[6] or "", "^%d+:(%d+):") or 0)
if ruleset > call.ruleset then return cmsgpack.pack(true) end
local is_news = became ~= call.user
if is_news and known_since > call.at then return cmsgpack.pack(false) end

local triggers, moved = {}, {}
for _, field in ipairs(redis.call("HKEYS", row)) do
  if string.sub(field, 1, 2) == "t:" then
    local key, runs = string.sub(field, 3), redis.call("HGET", row, field)
    triggers[key], moved[#moved + 1] = runs, field
    redis.call("ZREM", on_the_way, key .. call.visitor)
    for _, run in ipairs(cmsgpack.unpack(runs)) do
      redis.call("ZREM", agenda, cjson.encode({ "absence", call.site, call.visitor, key, run[1] }))
    end
  end
end
local function take(place, field)
  if not stored[place] then return {} end
  moved[#moved + 1] = field
  return cmsgpack.unpack(stored[place])
end
local counted, noted, offering = take(3, "c"), take(8, "n"), take(9, "o")
-- What waits for its delay stays: its message is in this partition, and was the visitor's.
local open = {}
if stored[10] then
  local staying
  open, staying = gates.split(cmsgpack.unpack(stored[10]))
  if next(open) and next(staying) then
    redis.call("HSET", row, "p", cmsgpack.pack(staying))
  elseif next(open) then
    moved[#moved + 1] = "p"
  end
end

if is_news or call.at > known_since then
  redis.call("HSET", row, "l", call.user, "k", tostring(math.max(call.at, known_since)))
end
local answer = cmsgpack.pack(false)
if is_news or #moved > 0 or next(open) then -- news of him alone move, too: the user's row has to know who he was
  answer = cmsgpack.pack({
    token = call.token,
    user = call.user,
    triggers = triggers,
    counted = counted,
    noted = noted,
    offers = offering,
    open = open,
    recent = stored[4] or "",
    time = tonumber(stored[5] or 0),
  })
  redis.call("HSET", row, "x", answer)
  redis.call("ZADD", agenda, call.now + call.patience, appointment)
  if #moved > 0 then redis.call("HDEL", row, unpack(moved)) end
end
if is_new then
  redis.call("PEXPIRE", row, call.ttl)
else
  redis.call("PEXPIRE", row, call.ttl, "GT")
end
return answer
