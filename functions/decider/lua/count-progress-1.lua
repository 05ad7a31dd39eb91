--[[
Count the users with progress under each trigger, in one partition.

KEYS[1]   the site's users with progress in this partition: see apply-event-5.lua
ARGV[1]   now in ms
Returns   MessagePack of {trigger key, number of users, trigger key, number of users...}
Atomic    because it is one reading; nothing is changed.
]]
local counts = {}
for _, member in ipairs(redis.call("ZRANGE", KEYS[1], "(" .. ARGV[1], "+inf", "BYSCORE")) do
  local key = string.sub(member, 1, 8)
  counts[key] = (counts[key] or 0) + 1
end
local listed = {}
for key, count in pairs(counts) do
  listed[#listed + 1] = key
  listed[#listed + 1] = count
end
return cmsgpack.pack(listed)
