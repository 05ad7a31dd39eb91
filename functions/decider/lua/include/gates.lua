--[[
The gates that stop a match, and what is remembered of matches that passed. Pure: no Redis call, no clock.

counted   name -> times in ms, the newest last: "cap:<channel>", "cap:total", "=<campaign>"
limits    list of {name, keep, {{max, per, gate}...}}: at most `max` within any `per` ms, or `gate` stops the match;
          `keep`: how many times are remembered, the largest `max`
          a name that begins with "=" is the campaign's own; all others are caps that campaigns share
open      campaign -> list of {key, per, due, converts_until, recall_until, is_claimed, began, firing}, the newest last:
          activations that a later event can cancel (`due` is not 0) or convert (before `converts_until`, unless 0).
          `began`: when the event happened that completed the match; what happened before concerns it no more
          One that was claimed when it was due can be called back before `recall_until`, while its message is held;
          `firing` is what the Engager gets then
]]
local gates = {
  OPEN = 20, -- activations of a campaign that a row remembers
  CANCEL = 1, -- bits of a watching event
  GOAL = 2,
}

--- Return the name of the gate that stops a match at `now`, or nil.
function gates.stops(limits, counted, now)
  for _, limit in ipairs(limits or {}) do
    local times = counted[limit[LIMIT.name]] or {}
    for _, rule in ipairs(limit[LIMIT.rules]) do
      local nth = times[#times - rule[RULE.max] + 1]
      if nth and now - nth < rule[RULE.per] then return rule[RULE.gate] end
    end
  end
end

--- Replace times that are more than `ahead` ms after `now`: a clock was wrong.
function gates.heal(counted, now, ahead)
  for _, times in pairs(counted) do
    for i, time in ipairs(times) do
      if time > now + ahead then times[i] = now end
    end
  end
end

--- Count an activation at `now`. For a held-out user, who gets nothing, only the campaign's own limits count.
--- Times older than `longest` ms matter to no limit and are dropped.
function gates.count(limits, counted, now, longest, is_held_out)
  for _, limit in ipairs(limits or {}) do
    local name = limit[LIMIT.name]
    if not is_held_out or string.sub(name, 1, 1) == "=" then
      local times = counted[name] or {}
      times[#times + 1] = now
      while #times > limit[LIMIT.keep] do table.remove(times, 1) end
      counted[name] = times
    end
  end
  for name, times in pairs(counted) do
    if now - times[#times] > longest then counted[name] = nil end
  end
end

--- Return whether the activation waits for its delay.
function gates.is_waiting(entry)
  return entry[ENTRY.due] ~= 0 and not entry[ENTRY.is_claimed]
end

--- Remember an activation; return false if the user has too many that still wait.
function gates.remember(open, campaign, entry)
  local entries = open[campaign] or {}
  open[campaign] = entries
  if #entries >= gates.OPEN then
    local place
    for i = #entries, 1, -1 do
      if not gates.is_waiting(entries[i]) then place = i end
    end
    if not place then return false end
    table.remove(entries, place)
  end
  entries[#entries + 1] = entry
  return true
end

--- Note that the activation `key` no longer waits; keep `firing` if it can still be called back.
function gates.claim(open, key, firing)
  for _, entries in pairs(open) do
    for _, entry in ipairs(entries) do
      if entry[ENTRY.key] == key then
        entry[ENTRY.is_claimed] = true
        if entry[ENTRY.recall_until] > 0 then entry[ENTRY.firing] = firing end
      end
    end
  end
end

--- Return the activations in `open` that no longer wait, and those that do.
function gates.split(open)
  local past, waiting = {}, {}
  for campaign, entries in pairs(open) do
    for _, entry in ipairs(entries) do
      local place = gates.is_waiting(entry) and waiting or past
      place[campaign] = place[campaign] or {}
      table.insert(place[campaign], entry)
    end
  end
  return past, waiting
end

--- Drop activations that can no longer be cancelled, called back or converted.
function gates.tidy(open, now)
  for campaign, entries in pairs(open) do
    local kept = {}
    for _, entry in ipairs(entries) do
      local is_open = entry[ENTRY.converts_until] > now or entry[ENTRY.recall_until] > now
      if is_open or gates.is_waiting(entry) then kept[#kept + 1] = entry end
    end
    open[campaign] = #kept > 0 and kept or nil
  end
end

--- Return the campaign's activations that an event cancels or calls back, a list of {key, "cancelled" or "goal", firing
--- or nil}, and the keys of those that it converts. `per`: the run that the event belongs to; empty: all runs. `at`: its
--- own time.
--- This row does not know whether the message of a claimed activation was sent. So an event calls back each one that
--- may still be held. A goal that calls back also converts, because held-out users convert from the due time on as well.
function gates.watch(open, campaign, per, bits, cancel_on_goal, at, now)
  local cancelled, converted = {}, {}
  local is_goal, is_cancel = bits >= gates.GOAL, bits % gates.GOAL == gates.CANCEL
  for _, entry in ipairs(open[campaign] or {}) do
    if (per == "" or entry[ENTRY.per] == per) and at >= entry[ENTRY.began] then
      local in_time = is_goal and now < entry[ENTRY.converts_until]
      if gates.is_waiting(entry) then
        if is_cancel or (is_goal and cancel_on_goal) then
          cancelled[#cancelled + 1] = { entry[ENTRY.key], is_cancel and "cancelled" or "goal" }
          entry[ENTRY.due], entry[ENTRY.converts_until], entry[ENTRY.recall_until] = 0, 0, 0
        end
      elseif is_cancel and now < entry[ENTRY.recall_until] then
        cancelled[#cancelled + 1] = { entry[ENTRY.key], "cancelled", entry[ENTRY.firing] }
        entry[ENTRY.recall_until], entry[ENTRY.firing] = 0, nil
      elseif in_time and cancel_on_goal then
        cancelled[#cancelled + 1] = { entry[ENTRY.key], "goal" }
      end
      if in_time and entry[ENTRY.converts_until] > 0 and not gates.is_waiting(entry) then
        converted[#converted + 1], entry[ENTRY.converts_until] = entry[ENTRY.key], 0
      end
    end
  end
  return cancelled, converted
end

return gates
