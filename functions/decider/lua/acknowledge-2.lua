--[[
An activation has been handed over: to the Engager, or to the queue of deliveries.

KEYS[1]   the partition's agenda      KEYS[2]   the partition's unacknowledged activations
ARGV      key, gate, key, gate ...: of activations, as they were handed over
Returns   how many of them were still there
Atomic    so that no appointment stays without its activation, or the other way round. One that was cancelled after it
          had been taken to be handed over stays, for its record has yet to be written:
          take, cancel, hand over, acknowledge   what waits says "cancelled", what was handed over did not
]]
local agenda, unacknowledged = KEYS[1], KEYS[2]
local found = 0
for i = 1, #ARGV, 2 do
  local key, gate = ARGV[i], ARGV[i + 1]
  local packed = redis.call("HGET", unacknowledged, key)
  if not packed or cmsgpack.unpack(packed)[8] == gate then
    found = found + redis.call("HDEL", unacknowledged, key)
    redis.call("ZREM", agenda, cjson.encode({ "handover", key }))
  end
end
return found
