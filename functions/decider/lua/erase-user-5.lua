--[[
Erase a user: the row, the appointments, the activations that nobody has acknowledged.

KEYS[1]   the user's row
KEYS[2]   the partition's agenda          KEYS[3]   the partition's unacknowledged activations
KEYS[4]   the partition's counters: a delayed activation that ends here counts as `forgotten`
KEYS[5]   who of the site is on the way in this partition: see apply-event-5.lua
ARGV[1]   site      ARGV[2]   user
ARGV[3]   erase: do it; anything else: only tell what waits
Returns   MessagePack of {waiting, row, appointments, activations}: waiting is a list of {key, delay ms} of delayed
          activations, the rest are numbers of what was erased
Atomic    so that nothing of what an event writes stays half: it comes before, and is erased, or after.
]]
local row, agenda, unacknowledged, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local on_the_way = KEYS[5]
local site, user, erases = ARGV[1], ARGV[2], ARGV[3] == "erase"

local function is_theirs(names)
  return names[1] == site and names[2] == user
end

local keys, waiting = {}, {}
for _, key in ipairs(redis.call("HKEYS", unacknowledged)) do
  if is_theirs(cjson.decode(key)) then
    keys[#keys + 1] = key
    local report = cmsgpack.unpack(redis.call("HGET", unacknowledged, key))
    local ref, at, gate, due = report[2], report[3], report[8], report[9]
    if (gate == "" or gate == "holdout") and due > at then
      waiting[#waiting + 1] = { key, due - at }
      if erases then
        local name = cjson.encode({ math.floor(at / 86400000), site, ref[1], "forgotten" })
        redis.call("HINCRBY", counters, name, 1)
      end
    end
  end
end

local appointments, rows = 0, 0
if erases then
  for _, member in ipairs(redis.call("ZRANGE", agenda, 0, -1)) do
    local kind, first, second = unpack(cjson.decode(member))
    if is_theirs(kind == "handover" and cjson.decode(first) or { first, second }) then
      appointments = appointments + redis.call("ZREM", agenda, member)
    end
  end
  for _, key in ipairs(keys) do redis.call("HDEL", unacknowledged, key) end
  rows = redis.call("DEL", row)
  for _, member in ipairs(redis.call("ZRANGE", on_the_way, 0, -1)) do
    if string.sub(member, 9) == user then redis.call("ZREM", on_the_way, member) end
  end
end
return cmsgpack.pack({ waiting, rows, appointments, erases and #keys or 0 })
