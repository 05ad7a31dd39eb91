--[[
Make a visitor a user in a replay, as detach-visitor-3.lua and merge-visitor-4.lua do live, with the same modules.

Called with
  modules       {machine, cancellations, merge}
  programs      the program of each trigger
  has_per       for each trigger, whether it has `per`
  remember      adds the hash of a message id to a row
Returns a function login(row, other, user, at) that merges the visitor's row `other` into the user's `row`. It returns
whether the visitor is the user now.
]]
local modules, programs, has_per, remember = ...
local machine, cancellations, merge = modules.machine, modules.cancellations, modules.merge

local function runs_of(row, trigger)
  local progress = row[trigger]
  if not progress then return {} end
  return has_per[trigger] and progress or { { per = "", state = progress } }
end

local function add_runs(row, other, trigger)
  local program, runs = programs[trigger], {}
  for n, run in ipairs(runs_of(row, trigger)) do
    merge.call_off(program, run.state, cancellations.last(other.called_off or {}, trigger, run.per))
    runs[n] = run
  end
  for _, run in ipairs(runs_of(other, trigger)) do
    merge.call_off(program, run.state, cancellations.last(row.called_off or {}, trigger, run.per))
    local state, i = machine.run(runs, run.per)
    if state then
      merge.runs(program, state, run.state)
      table.remove(runs, i)
    end
    runs[#runs + 1] = { per = run.per, state = state or run.state }
  end
  for i = #runs, 1, -1 do
    if machine.is_empty(runs[i].state) then table.remove(runs, i) end
  end
  while #runs > machine.RUNS do table.remove(runs, 1) end
  if has_per[trigger] then
    row[trigger] = runs
  else
    row[trigger] = runs[1] and runs[1].state or nil
  end
end

return function(row, other, user, at)
  local is_news = other.became ~= user
  if is_news and (other.became_at or 0) > at then return false end
  other.became, other.became_at = user, math.max(at, other.became_at or 0)
  for trigger = 1, #programs do
    if other[trigger] or (other.called_off and other.called_off[trigger]) then add_runs(row, other, trigger) end
    other[trigger] = nil
  end
  if other.called_off then
    row.called_off = row.called_off or {}
    merge.called_off(row.called_off, other.called_off)
    cancellations.tidy(row.called_off, at)
    other.called_off = nil
  end
  for block = other.first, other.last do
    for _, digest in ipairs(other.blocks[block]) do
      if not row.known[digest] then remember(row, digest, other.blocks[block].at) end
    end
  end
  row.time = math.max(row.time, other.time)
  return true
end
