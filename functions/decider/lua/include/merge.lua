--[[
Merge the progress of two rows that belong to one person: a visitor's and a user's. Pure: no Redis call, no clock.
machine.lua and cancellations.lua explain what it works on.
]]
local merge = {}

--- End the pending absence that an event at `time` has called off; a later anchor stays pending.
function merge.call_off(program, state, time)
  if not (state.due and time and (state.own or state.anchor) <= time and time < state.due) then return end
  local again, note, chain = state.again, state.note, state.chain
  machine.clear_pending(state)
  if again and again > time then
    state.due, state.anchor, state.since, state.note = again + program.absent.wait, again, again, note
    state.chain = chain
  end
end

-- Of two pending absences of one run, keep the one that a single row would have: by its first anchor or by its last.
local function merge_pending(program, state, other)
  if not other.due then return end
  local latest
  if state.due then
    latest = math.max(state.again or state.anchor, other.again or other.anchor)
    if (state.anchor < other.anchor) ~= (program.absent.last == true) then other = state end
  end
  state.due, state.anchor, state.since, state.note = other.due, other.anchor, other.since, other.note
  state.own, state.chain, state.again = other.own, other.chain, other.again
  if latest and not program.absent.last and latest > state.anchor then state.again = latest end
end

--- Add the progress of another run to `state`: of each unit the newer partial match, and what is pending. Serial numbers
--- of two runs cannot be compared: if the program counts them, partial matches of the other run are dropped.
function merge.runs(program, state, other)
  if state.done or other.done then
    machine.clear_progress(state)
    machine.clear_pending(state)
    state.done = true
    return
  end
  merge_pending(program, state, other)
  if program.tracked then return end
  local by = program.members and "last" or "start"
  for unit, time in pairs(other[by] or {}) do
    if not (state[by] and state[by][unit] and state[by][unit] >= time) then
      for _, name in ipairs({ "start", "last", "inner", "link" }) do
        machine.put(state, name, unit, other[name] and other[name][unit])
      end
    end
  end
  if program.members and state.last then
    state.serial, state.link = state.serial or {}, state.link or {}
  end
end

--- Add the cancellations of another row.
function merge.called_off(called_off, others)
  for key, runs in pairs(others) do
    for per, one in pairs(runs) do
      cancellations.note(called_off, key, per, one[CANCELLATION.at], one[CANCELLATION.ends] - one[CANCELLATION.at])
    end
  end
end

return merge
