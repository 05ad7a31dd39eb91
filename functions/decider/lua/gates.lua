--[[
What stops a match, and what is remembered of those that passed. Pure: no Redis call, no clock.

counted   name -> times in ms, the newest last: "cap:<channel>", "cap:total", "=<campaign>"
limits    list of {name, keep, {{max, per, gate}...}}: no more than `max` within any `per` ms, or `gate` stops it;
          `keep`: how many times have to be remembered, the largest `max`
open      campaign -> list of {key, per, due, until_}: activations that a later event can cancel (`due`, not 0) or
          convert (before `until_`, not 0), the newest last
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

--- Count an activation at `now`. What is older than `longest` ms means nothing to any limit.
function gates.count(limits, counted, now, longest)
  for _, limit in ipairs(limits or {}) do
    local times = counted[limit[1]] or {}
    times[#times + 1] = now
    while #times > limit[2] do table.remove(times, 1) end
    counted[limit[1]] = times
  end
  for name, times in pairs(counted) do
    if now - times[#times] > longest then counted[name] = nil end
  end
end

--- Remember an activation; returns false where the user has too many that still wait.
function gates.remember(open, campaign, entry)
  local entries = open[campaign] or {}
  open[campaign] = entries
  if #entries >= gates.OPEN then
    local place
    for i = #entries, 1, -1 do
      if entries[i].due == 0 then place = i end
    end
    if not place then return false end
    table.remove(entries, place)
  end
  entries[#entries + 1] = entry
  return true
end

--- Forget what can no longer be cancelled or converted; with `key`: that this one waits, too.
function gates.tidy(open, now, key)
  for campaign, entries in pairs(open) do
    local kept = {}
    for _, entry in ipairs(entries) do
      if entry.key == key then entry.due = 0 end
      if entry.due ~= 0 or entry.until_ > now then kept[#kept + 1] = entry end
    end
    open[campaign] = #kept > 0 and kept or nil
  end
end

--- Return the keys of the campaign's activations that an event cancels, by "cancelled" or "goal", and of those
--- that it converts. `per`: the run it belongs to; empty: all of them.
function gates.watch(open, campaign, per, bits, cancel_on_goal, now)
  local cancelled, converted = {}, {}
  local is_goal, is_cancel = bits >= gates.GOAL, bits % gates.GOAL == gates.CANCEL
  for _, entry in ipairs(open[campaign] or {}) do
    if per == "" or entry.per == per then
      if entry.due == 0 then
        if is_goal and now < entry.until_ then
          converted[#converted + 1], entry.until_ = entry.key, 0
        end
      elseif is_cancel or (is_goal and cancel_on_goal) then
        cancelled[#cancelled + 1] = { entry.key, is_cancel and "cancelled" or "goal" }
        entry.due, entry.until_ = 0, 0
      end
    end
  end
  return cancelled, converted
end

return gates
