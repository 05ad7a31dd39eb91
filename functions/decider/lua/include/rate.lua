--[[
How many events one user may send: at most `max` within any `per` ms. Pure: no Redis call, no clock.

times     when the last events were accepted, six bytes each, big-endian ms, the newest last: a string of at most `max`
]]
local rate = { WIDTH = 6 }

local function at(times, nth)
  local value = 0
  for _, byte in ipairs({ string.byte(times, (nth - 1) * rate.WIDTH + 1, nth * rate.WIDTH) }) do
    value = value * 256 + byte
  end
  return value
end

--- Return after how many ms the next event is accepted, or nil if it is accepted now.
function rate.wait(times, now, max, per)
  local oldest = #times / rate.WIDTH - max + 1
  if oldest < 1 then return nil end
  local left = at(times, oldest) + per - now
  return left > 0 and left <= per and left or nil -- more would be of a clock that was ahead
end

--- Return `times` with an event at `now` added.
function rate.add(times, now, max)
  local bytes = {}
  for i = rate.WIDTH, 1, -1 do
    bytes[i], now = now % 256, math.floor(now / 256)
  end
  times = times .. string.char(unpack(bytes))
  return #times > max * rate.WIDTH and string.sub(times, -max * rate.WIDTH) or times
end

return rate
