--[[
Popups have been seen: they are offered no more.

KEYS[1]   the user's row
ARGV      ids of activations
Returns   how many of them were still offered
Atomic    because an event that comes at the same time offers one of them, or finds it gone, and never brings it back.
]]
local row = KEYS[1]
local packed = redis.call("HGET", row, "o")
if not packed then return 0 end
local list, seen = cmsgpack.unpack(packed), 0
for _, id in ipairs(ARGV) do
  if offers.see(list, id) then seen = seen + 1 end
end
if #list > 0 then
  redis.call("HSET", row, "o", cmsgpack.pack(list))
else
  redis.call("HDEL", row, "o")
end
return seen
