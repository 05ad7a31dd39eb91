--[[
Take a partition's counters away.

KEYS[1]   the partition's counters, a hash
ARGV      none
Returns   MessagePack of {name, number, name, number...}, without `born`, which stays
Atomic    so that nothing is counted twice, or lost between reading and deleting.
]]
local counters = KEYS[1]
local drained, names = {}, {}
local all = redis.call("HGETALL", counters)
for i = 1, #all, 2 do
  if all[i] ~= "born" then
    names[#names + 1] = all[i]
    drained[#drained + 1] = all[i]
    drained[#drained + 1] = tonumber(all[i + 1])
  end
end
for _, name in ipairs(names) do redis.call("HDEL", counters, name) end
return cmsgpack.pack(drained)
