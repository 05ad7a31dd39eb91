--[[
Popups have been seen: they are offered no more.

KEYS[1]   the user's row
ARGV      ids of activations
Returns   the user that this visitor has become, where not all of them were offered here; else nothing: he may have got
          them as that user, and his tracker does not know it yet
Atomic    because an event that comes at the same time offers one of them, or finds it gone, and never brings it back.
]]
--- @include offers
local row = KEYS[1]
local stored = redis.call("HMGET", row, "o", "l")
local list, seen = stored[1] and cmsgpack.unpack(stored[1]) or {}, 0
for _, id in ipairs(ARGV) do
  if offers.see(list, id) then seen = seen + 1 end
end
if seen > 0 and #list > 0 then
  redis.call("HSET", row, "o", cmsgpack.pack(list))
elseif seen > 0 then
  redis.call("HDEL", row, "o")
end
return seen < #ARGV and stored[2]
