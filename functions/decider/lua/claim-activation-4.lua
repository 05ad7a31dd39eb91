--[[
Claim an unacknowledged activation in order to hand it over: for the first time if it was delayed, or again.

KEYS[1]   the user's row      KEYS[2]   the partition's timers      KEYS[3]   its unacknowledged activations
KEYS[4]   its counters
ARGV      key of the activation, now in ms, ms after which it is handed over again unless it is acknowledged
Returns   MessagePack of {firing or false, state_epoch, is_repeated}
          firing        false if the activation is gone or not due yet      state_epoch   of the counters, or ""
          is_repeated   whether it was to be handed over before; false if its delay has just ended
Atomic    because an event that cancels it must come either before or after:
          cancel, claim   the claimed firing says that it is cancelled
          claim, cancel   the event changes what is not acknowledged yet, and calls back the rest; the ledger has one
                          row for both, and the first to write it decides
]]
--- @include gates
local row, timers, unacknowledged, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local key, now, ack_timeout = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- A row keeps the firing without the attributes that the content uses: it has to stay small.
local function without_attributes(firing)
  local note = cjson.decode(firing[FIRING.note])
  note[NOTE.attributes] = {}
  local kept = { unpack(firing) }
  kept[FIRING.note] = cjson.encode(note)
  return kept
end

local timer = cjson.encode({ "handover", key })

local state_epoch = redis.call("HGET", counters, "state_epoch") or ""
local packed = redis.call("HGET", unacknowledged, key)
if not packed then
  redis.call("ZREM", timers, timer)
  return cmsgpack.pack({ false, state_epoch, false })
end
local firing = cmsgpack.unpack(packed)
local due, gate = firing[FIRING.due], firing[FIRING.gate]
local is_stopped = gate ~= "" and gate ~= "holdout"
if due > now and not is_stopped then return cmsgpack.pack({ false, state_epoch, false }) end
local is_repeated = is_stopped or tonumber(redis.call("ZSCORE", timers, timer)) ~= due

-- If it fails again, it comes after the others, so that it cannot block them for good.
redis.call("ZADD", timers, now + ack_timeout, timer)
local open = redis.call("HGET", row, ROW.open)
if open then
  open = cmsgpack.unpack(open)
  gates.claim(open, key, without_attributes(firing))
  gates.tidy(open, now)
  if next(open) then
    redis.call("HSET", row, ROW.open, cmsgpack.pack(open))
  else
    redis.call("HDEL", row, ROW.open)
  end
end
return cmsgpack.pack({ firing, state_epoch, is_repeated })
