--[[
A visitor has become a user: from now on his row says so, and what he had begun is made ready to move.

KEYS[1]   the visitor's row; besides what decide-5.lua explains: x what is on its way to the user
KEYS[2]   the agenda of his partition      KEYS[3]   who of the site is on the way in it: see decide-5.lua
ARGV[1]   MessagePack of {site, visitor, user, token, done, ttl}: token names this move; done: the token of one that has
          arrived, or empty
Returns   MessagePack of {token, user, triggers, counted, recent, time}, or of false where nothing is to move: of which
          user; progress by trigger, what is counted, digests of recent message ids, last effective time
Atomic    because an event of the visitor comes before, and moves along, or after, and goes to the user:
          release, event   the event finds `l`, and is the user's
          event, release   what it has done is part of what moves
          The two rows may lie in two slots, so this is one half. The other is adopt-3.lua; between them the parts lie
          in `x`, and stay there until they have arrived: whoever dies in between has lost nothing, and the next one to
          introduce this visitor finishes it first, also where it is to another user.
]]
local row, agenda, on_the_way = KEYS[1], KEYS[2], KEYS[3]
local call = cmsgpack.unpack(ARGV[1])

local stored = redis.call("HMGET", row, "x", "l", "c", "d", "m")
if stored[1] then
  if cmsgpack.unpack(stored[1]).token ~= call.done then return stored[1] end
  redis.call("HDEL", row, "x")
end

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
if stored[3] then moved[#moved + 1] = "c" end

local is_news = stored[2] ~= call.user
if is_news then redis.call("HSET", row, "l", call.user) end
local answer = cmsgpack.pack(false)
if is_news or #moved > 0 then -- news of him alone move, too: the user's row has to know who he was
  answer = cmsgpack.pack({
    token = call.token,
    user = call.user,
    triggers = triggers,
    counted = stored[3] and cmsgpack.unpack(stored[3]) or {},
    recent = stored[4] or "",
    time = tonumber(stored[5] or 0),
  })
  redis.call("HSET", row, "x", answer)
  if #moved > 0 then redis.call("HDEL", row, unpack(moved)) end
end
redis.call("PEXPIRE", row, call.ttl)
return answer
