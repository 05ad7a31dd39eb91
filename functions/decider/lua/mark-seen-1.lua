--[[
Stop offering popups that were seen.

KEYS[1]   the user's row
ARGV      ids of activations
Returns   the user that this visitor has become, if some of them were not offered here; otherwise nothing. The visitor's
          tracker may not know yet that the popups came as that user's
Atomic    because an event at the same time either offers one of them, or finds it gone and never brings it back.
]]
--- @include offers
local row = KEYS[1]
local stored = redis.call("HMGET", row, ROW.offers, ROW.became)
local list, seen = stored[1] and cmsgpack.unpack(stored[1]) or {}, 0
for _, id in ipairs(ARGV) do
  if offers.remove(list, id) then seen = seen + 1 end
end
if seen > 0 and #list > 0 then
  redis.call("HSET", row, ROW.offers, cmsgpack.pack(list))
elseif seen > 0 then
  redis.call("HDEL", row, ROW.offers)
end
return seen < #ARGV and stored[2]
