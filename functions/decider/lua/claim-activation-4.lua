--[[
Take an activation that nobody has acknowledged, to hand it over: again, or for the first time where it was delayed.

KEYS[1]   the user's row      KEYS[2]   the partition's agenda      KEYS[3]   its unacknowledged activations
KEYS[4]   its counters
ARGV      key of the activation, now in ms, ms after which it is handed over again if nobody acknowledges it
Returns   MessagePack of {fire or false, born of the counters or "", again}; false too where it is not due yet
          again: whether it was to be handed over before; false where its delay has ended
Atomic    so that an event that cancels it comes either before or after:
          cancel, take   what is taken says that it is cancelled
          take, cancel   the event marks what is not acknowledged yet, and calls back what is: the ledger has one row
                         for both, and whichever comes to it first decides
]]
--- @include gates
local row, agenda, unacknowledged, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local key, now, patience = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- The fire as a row can afford to keep it: what it says of its event, without what the content would use.
local function without_attributes(fire)
  local note = cjson.decode(fire[7])
  note[6] = {}
  local kept = { unpack(fire) }
  kept[7] = cjson.encode(note)
  return kept
end

local appointment = cjson.encode({ "handover", key })

local born = redis.call("HGET", counters, "born") or ""
local packed = redis.call("HGET", unacknowledged, key)
if not packed then
  redis.call("ZREM", agenda, appointment)
  return cmsgpack.pack({ false, born, false })
end
local fire = cmsgpack.unpack(packed)
local due, gate = fire[9], fire[8]
local is_stopped = gate ~= "" and gate ~= "holdout"
if due > now and not is_stopped then return cmsgpack.pack({ false, born, false }) end
local is_again = is_stopped or tonumber(redis.call("ZSCORE", agenda, appointment)) ~= due

-- Behind the others, in case it fails again: nothing may stand in the way for good.
redis.call("ZADD", agenda, now + patience, appointment)
local open = redis.call("HGET", row, "p")
if open then
  open = cmsgpack.unpack(open)
  gates.take(open, key, without_attributes(fire))
  gates.tidy(open, now)
  if next(open) then
    redis.call("HSET", row, "p", cmsgpack.pack(open))
  else
    redis.call("HDEL", row, "p")
  end
end
return cmsgpack.pack({ fire, born, is_again })
