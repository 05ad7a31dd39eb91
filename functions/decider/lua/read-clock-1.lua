--[[
Tell the state store's time, for a caller that cannot trust its own.

KEYS[1]   any key of the partition
Returns   ms
Atomic    reads only
]]
local s, us = unpack(redis.call("TIME"))
return s * 1000 + math.floor(us / 1000)
