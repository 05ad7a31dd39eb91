--[[
An activation has been handed over: to the Engager, or to the queue of deliveries.

KEYS[1]   the partition's agenda      KEYS[2]   the partition's unacknowledged activations
ARGV      keys of activations, as `decide-4.lua` returned them
Returns   how many of them were still there
Atomic    so that no appointment stays without its activation, or the other way round.
]]
local agenda, unacknowledged = KEYS[1], KEYS[2]
local found = 0
for _, key in ipairs(ARGV) do
  found = found + redis.call("HDEL", unacknowledged, key)
  redis.call("ZREM", agenda, cjson.encode({ "handover", key }))
end
return found
