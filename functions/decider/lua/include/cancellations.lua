--[[
Events that have called off the absence of a trigger, even if none was pending here: one may be pending in the row of a
visitor who has not yet been identified as this user. Pure: no Redis call, no clock.

called_off   trigger key -> run -> {at, ends}: the newest such event, ms; until when an older anchor may still wait
]]
local cancellations = {
  RUNS = 20, -- remembered per trigger: as many as can have progress
}

--- Note that an event at `at` has called off the run `per` of a trigger that waits for `wait` ms.
function cancellations.note(called_off, key, per, at, wait)
  local runs = called_off[key] or {}
  called_off[key] = runs
  if not (runs[per] and runs[per][CANCELLATION.at] >= at) then runs[per] = { at, at + wait } end
  local count, oldest = 0, nil
  for name, one in pairs(runs) do
    count = count + 1
    if not oldest or one[CANCELLATION.at] < runs[oldest][CANCELLATION.at] then oldest = name end
  end
  if count > cancellations.RUNS then runs[oldest] = nil end
end

--- Drop what can no longer call off anything.
function cancellations.tidy(called_off, now)
  for key, runs in pairs(called_off) do
    for per, one in pairs(runs) do
      if one[CANCELLATION.ends] <= now then runs[per] = nil end
    end
    if not next(runs) then called_off[key] = nil end
  end
end

return cancellations
