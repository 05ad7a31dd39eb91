--[[
Events that have ended what a campaign had begun, even if nothing had begun here: what an older event begins may still
arrive, or may be in the row of a visitor who has not yet been identified as this user. Pure: no Redis call, no clock.

called_off   key -> run -> {at, ends}: the own time of the newest such event, ms; until when it matters
             the key of a trigger: of an absence; after "=" or "+": of a delayed activation, cancelled or by its goal
]]
local cancellations = {
  RUNS = 20, -- remembered per trigger: as many as can have progress
}

--- Note that an event at `at` has ended the run `per`; this matters for `keep` ms.
function cancellations.note(called_off, key, per, at, keep)
  local runs = called_off[key] or {}
  called_off[key] = runs
  if not (runs[per] and runs[per][CANCELLATION.at] >= at) then runs[per] = { at, at + keep } end
  local count, oldest = 0, nil
  for name, one in pairs(runs) do
    count = count + 1
    if not oldest or one[CANCELLATION.at] < runs[oldest][CANCELLATION.at] then oldest = name end
  end
  if count > cancellations.RUNS then runs[oldest] = nil end
end

--- Return when the run `per` was last ended, or nil.
function cancellations.last(called_off, key, per)
  local one = called_off[key] and called_off[key][per]
  return one and one[CANCELLATION.at]
end

--- Drop what no longer matters; return whether there was any.
function cancellations.tidy(called_off, now)
  local dropped = false
  for key, runs in pairs(called_off) do
    for per, one in pairs(runs) do
      if one[CANCELLATION.ends] <= now or one[CANCELLATION.at] > now + CLOCK.max_ahead then
        runs[per], dropped = nil, true
      end
    end
    if not next(runs) then called_off[key] = nil end
  end
  return dropped
end

return cancellations
