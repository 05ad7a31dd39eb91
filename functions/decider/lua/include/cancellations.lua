--[[
Which events called off what a trigger waits for, also where nothing of it waited here: it may wait in the row of a
visitor who has yet to say that he is this user. Pure: no Redis call, no clock.

noted   trigger key -> run -> {when, until}: the newest such event, ms; until when something older may still wait
]]
local cancellations = {
  RUNS = 20, -- of a trigger are noted: as many as have progress
}

--- Note that an event at `at` called off the run `per` of a trigger that waits for `wait` ms.
function cancellations.note(noted, key, per, at, wait)
  local runs = noted[key] or {}
  noted[key] = runs
  if not (runs[per] and runs[per][1] >= at) then runs[per] = { at, at + wait } end
  local count, oldest = 0, nil
  for name, one in pairs(runs) do
    count = count + 1
    if not oldest or one[1] < runs[oldest][1] then oldest = name end
  end
  if count > cancellations.RUNS then runs[oldest] = nil end
end

--- Forget what can call off nothing any more.
function cancellations.tidy(noted, now)
  for key, runs in pairs(noted) do
    for per, one in pairs(runs) do
      if one[2] <= now then runs[per] = nil end
    end
    if not next(runs) then noted[key] = nil end
  end
end

return cancellations
