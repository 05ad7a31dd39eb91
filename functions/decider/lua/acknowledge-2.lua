--[[
Note that activations were handed over to the Engager, by a call or through the queue.

KEYS[1]   the partition's timers      KEYS[2]   the partition's unacknowledged activations
ARGV      key, gate, key, gate ...: of the activations, as they were handed over
Returns   how many of them were removed
Atomic    because a timer and its activation must go together. An activation that was cancelled after it was claimed
          stays, because its record has yet to be written:
          claim, cancel, hand over, acknowledge   what is stored says "cancelled", what was handed over did not
]]
local timers, unacknowledged = KEYS[1], KEYS[2]
local removed = 0
for i = 1, #ARGV, 2 do
  local key, gate = ARGV[i], ARGV[i + 1]
  local packed = redis.call("HGET", unacknowledged, key)
  if not packed or cmsgpack.unpack(packed)[FIRING.gate] == gate then
    removed = removed + redis.call("HDEL", unacknowledged, key)
    redis.call("ZREM", timers, cjson.encode({ "handover", key }))
  end
end
return removed
