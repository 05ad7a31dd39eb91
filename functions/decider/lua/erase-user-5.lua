--[[
Erase a user: the row, the timers and the unacknowledged activations.

KEYS[1]   the user's row
KEYS[2]   the partition's timers          KEYS[3]   the partition's unacknowledged activations
KEYS[4]   the partition's counters: a delayed activation that is erased counts as `forgotten`
KEYS[5]   the site's users with progress in this partition: see apply-event-5.lua
ARGV[1]   site      ARGV[2]   user
ARGV[3]   erase; anything else only lists what waits
Returns   MessagePack of {waiting, row, timers, activations}: waiting is a list of {key, delay ms} of delayed
          activations, the others are how many of each were erased
Atomic    because an event comes either before, and everything it wrote is erased, or after.
]]
local row, timers, unacknowledged, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local in_progress = KEYS[5]
local site, user, erases = ARGV[1], ARGV[2], ARGV[3] == "erase"

local function is_theirs(names)
  return names[KEY.site] == site and names[KEY.user] == user
end

local keys, waiting = {}, {}
for _, key in ipairs(redis.call("HKEYS", unacknowledged)) do
  if is_theirs(cjson.decode(key)) then
    keys[#keys + 1] = key
    local firing = cmsgpack.unpack(redis.call("HGET", unacknowledged, key))
    local at, gate, due = firing[FIRING.at], firing[FIRING.gate], firing[FIRING.due]
    if (gate == "" or gate == "holdout") and due > at then
      waiting[#waiting + 1] = { key, due - at }
      if erases then
        local day, campaign = math.floor(at / 86400000), firing[FIRING.ref][REF.campaign]
        redis.call("HINCRBY", counters, cjson.encode({ day, site, campaign, "forgotten" }), 1)
      end
    end
  end
end

local erased_timers, rows = 0, 0
if erases then
  for _, member in ipairs(redis.call("ZRANGE", timers, 0, -1)) do
    local kind, first, second = unpack(cjson.decode(member))
    if is_theirs(kind == "handover" and cjson.decode(first) or { first, second }) then
      erased_timers = erased_timers + redis.call("ZREM", timers, member)
    end
  end
  for _, key in ipairs(keys) do redis.call("HDEL", unacknowledged, key) end
  rows = redis.call("DEL", row)
  for _, member in ipairs(redis.call("ZRANGE", in_progress, 0, -1)) do
    if string.sub(member, 9) == user then redis.call("ZREM", in_progress, member) end
  end
end
return cmsgpack.pack({ waiting, rows, erased_timers, erases and #keys or 0 })
