--[[
What stops a match, and what is remembered of those that passed. Pure: no Redis call, no clock.

counted   name -> times in ms, the newest last: "cap:<channel>", "cap:total", "=<campaign>"
limits    list of {name, keep, {{max, per, gate}...}}: no more than `max` within any `per` ms, or `gate` stops it;
          `keep`: how many times have to be remembered, the largest `max`
          a name that begins with "=" is the campaign's own, all others are caps that campaigns share
open      campaign -> list of {key, per, due, until_, ends, taken, fire}: activations that a later event can cancel
          (`due`, not 0) or convert (before `until_`, not 0), the newest last. One that was `taken` at its due time
          can be called back before `ends`, while its message is held somewhere; `fire` is what is told then
]]
local gates = {
  OPEN = 20, -- activations of a campaign that are remembered for a user
  CANCEL = 1, -- what the bits of a watching event mean
  GOAL = 2,
}

--- Return the name of the gate that stops a match at `now`, or nil.
function gates.stops(limits, counted, now)
  for _, limit in ipairs(limits or {}) do
    local times = counted[limit[1]] or {}
    for _, rule in ipairs(limit[3]) do
      local nth = times[#times - rule[1] + 1]
      if nth and now - nth < rule[2] then return rule[3] end
    end
  end
end

--- Count an activation at `now`; of the holdout, which gets nothing, under its campaign's own limits alone.
--- What is older than `longest` ms means nothing to any limit.
function gates.count(limits, counted, now, longest, is_held_out)
  for _, limit in ipairs(limits or {}) do
    if not is_held_out or string.sub(limit[1], 1, 1) == "=" then
      local times = counted[limit[1]] or {}
      times[#times + 1] = now
      while #times > limit[2] do table.remove(times, 1) end
      counted[limit[1]] = times
    end
  end
  for name, times in pairs(counted) do
    if now - times[#times] > longest then counted[name] = nil end
  end
end

--- Is it still to come?
function gates.waits(entry)
  return entry.due ~= 0 and not entry.taken
end

--- Remember an activation; returns false where the user has too many that still wait.
function gates.remember(open, campaign, entry)
  local entries = open[campaign] or {}
  open[campaign] = entries
  if #entries >= gates.OPEN then
    local place
    for i = #entries, 1, -1 do
      if not gates.waits(entries[i]) then place = i end
    end
    if not place then return false end
    table.remove(entries, place)
  end
  entries[#entries + 1] = entry
  return true
end

local function ends(entry)
  return entry.ends or 0 -- rows may be older than what is kept of them now
end

--- Note that the activation `key` waits no more; `fire` is kept where it can still be called back.
function gates.take(open, key, fire)
  for _, entries in pairs(open) do
    for _, entry in ipairs(entries) do
      if entry.key == key then
        entry.taken = true
        if ends(entry) > 0 then entry.fire = fire end
      end
    end
  end
end

--- Return those of the activations in `open` that wait no more, and the others.
function gates.split(open)
  local past, waiting = {}, {}
  for campaign, entries in pairs(open) do
    for _, entry in ipairs(entries) do
      local place = gates.waits(entry) and waiting or past
      place[campaign] = place[campaign] or {}
      table.insert(place[campaign], entry)
    end
  end
  return past, waiting
end

--- Forget what can no longer be cancelled, called back or converted.
function gates.tidy(open, now)
  for campaign, entries in pairs(open) do
    local kept = {}
    for _, entry in ipairs(entries) do
      if gates.waits(entry) or entry.until_ > now or ends(entry) > now then kept[#kept + 1] = entry end
    end
    open[campaign] = #kept > 0 and kept or nil
  end
end

--- Return the campaign's activations that an event cancels or calls back, a list of {key, "cancelled" or "goal", fire
--- or nil}, and the keys of those that it converts. `per`: the run it belongs to; empty: all of them.
--- Where the message of a taken one is, nobody knows here: called back are those that may be held, and converted too
--- is what the goal calls back, for whoever is held out is converted from the due time on as well.
function gates.watch(open, campaign, per, bits, cancel_on_goal, now)
  local cancelled, converted = {}, {}
  local is_goal, is_cancel = bits >= gates.GOAL, bits % gates.GOAL == gates.CANCEL
  for _, entry in ipairs(open[campaign] or {}) do
    if per == "" or entry.per == per then
      local in_time = is_goal and now < entry.until_
      if gates.waits(entry) then
        if is_cancel or (is_goal and cancel_on_goal) then
          cancelled[#cancelled + 1] = { entry.key, is_cancel and "cancelled" or "goal" }
          entry.due, entry.until_, entry.ends = 0, 0, 0
        end
      elseif is_cancel and now < ends(entry) then
        cancelled[#cancelled + 1] = { entry.key, "cancelled", entry.fire }
        entry.ends, entry.fire = 0, nil
      elseif in_time and cancel_on_goal then
        cancelled[#cancelled + 1] = { entry.key, "goal" }
      end
      if in_time and entry.until_ > 0 and not gates.waits(entry) then
        converted[#converted + 1], entry.until_ = entry.key, 0
      end
    end
  end
  return cancelled, converted
end

return gates
