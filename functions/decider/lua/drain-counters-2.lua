--[[
Drain a partition's counters into a batch, and keep the batch until it is confirmed.

KEYS[1]   the partition's counters, a hash
KEYS[2]   the drained batch that is not confirmed yet: the same fields, and batch
ARGV[1]   id of a new batch      ARGV[2]   id of a batch to confirm, or empty
Returns   MessagePack of {id of the batch, {name, number, name, number...}}: the same batch until it is confirmed,
          without `state_epoch`, which stays in the counters. The id is empty if nothing is counted
Atomic    because each counter must be in exactly one batch:
          A drains b1 - A's write times out - B gets b1 too - both write b1, which counts once - A, late: confirms
          b1 - a batch b2 that B has drained since stays
]]
local counters, drained = KEYS[1], KEYS[2]
local id, confirmed = ARGV[1], ARGV[2]

if confirmed ~= "" then
  if redis.call("HGET", drained, "batch") == confirmed then redis.call("DEL", drained) end
  return cmsgpack.pack({ "", {} })
end

local batch = redis.call("HGET", drained, "batch")
if not batch then
  local fields, names = { "batch", id }, {}
  local all = redis.call("HGETALL", counters)
  for i = 1, #all, 2 do
    if all[i] ~= "state_epoch" then
      names[#names + 1] = all[i]
      fields[#fields + 1] = all[i]
      fields[#fields + 1] = all[i + 1]
    end
  end
  if #names == 0 then return cmsgpack.pack({ "", {} }) end
  for i = 1, #fields, 1000 do
    redis.call("HSET", drained, unpack(fields, i, math.min(i + 999, #fields)))
  end
  for i = 1, #names, 1000 do
    redis.call("HDEL", counters, unpack(names, i, math.min(i + 999, #names)))
  end
  batch = id
end

local counts = {}
local all = redis.call("HGETALL", drained)
for i = 1, #all, 2 do
  if all[i] ~= "batch" then
    counts[#counts + 1] = all[i]
    counts[#counts + 1] = tonumber(all[i + 1])
  end
end
return cmsgpack.pack({ batch, counts })
