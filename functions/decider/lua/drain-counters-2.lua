--[[
Take a partition's counters away, and keep them until somebody says that they have arrived.

KEYS[1]   the partition's counters, a hash
KEYS[2]   what was taken and has not arrived yet: the same fields, and batch
ARGV[1]   id of the batch, where one is made now      ARGV[2]   id of a batch that has arrived, or empty
Returns   MessagePack of {id of the batch, {name, number, name, number...}}: as long as a batch has not arrived, the
          same one; without `born`, which stays. The id is empty where there is nothing to take
Atomic    so that no counter is in two batches, or in none:
          A takes b1 - A's write times out - B gets b1 too - both write b1, which counts once - A, late: "b1 has
          arrived" - a batch b2 that B has taken since stays
]]
local counters, taken = KEYS[1], KEYS[2]
local id, arrived = ARGV[1], ARGV[2]

if arrived ~= "" then
  if redis.call("HGET", taken, "batch") == arrived then redis.call("DEL", taken) end
  return cmsgpack.pack({ "", {} })
end

local under_way = redis.call("HGET", taken, "batch")
if not under_way then
  local fields, names = { "batch", id }, {}
  local all = redis.call("HGETALL", counters)
  for i = 1, #all, 2 do
    if all[i] ~= "born" then
      names[#names + 1] = all[i]
      fields[#fields + 1] = all[i]
      fields[#fields + 1] = all[i + 1]
    end
  end
  if #names == 0 then return cmsgpack.pack({ "", {} }) end
  for i = 1, #fields, 1000 do
    redis.call("HSET", taken, unpack(fields, i, math.min(i + 999, #fields)))
  end
  for i = 1, #names, 1000 do
    redis.call("HDEL", counters, unpack(names, i, math.min(i + 999, #names)))
  end
  under_way = id
end

local counts = {}
local all = redis.call("HGETALL", taken)
for i = 1, #all, 2 do
  if all[i] ~= "batch" then
    counts[#counts + 1] = all[i]
    counts[#counts + 1] = tonumber(all[i + 1])
  end
end
return cmsgpack.pack({ under_way, counts })
