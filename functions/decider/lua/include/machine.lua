--[[
The trigger state machine: what one event does to one user's progress. Pure: no Redis call, no clock, no randomness;
Lua 5.1 as in Redis, and the same in LuaJIT for replays and tests.

One value per stage is enough, because every constraint of the language has the form "an earlier event lies after some
bound that grows with the later event". So of all partial matches at one stage, the newest can stand for the others
(docs/decisions/0001-newest-partial.md). A stage is one *unit step*: a step with `times: 3` is three of them.

program (compiled by definitions/compiler/trigger.py; absent fields are nil)
  steps     {bit, times, consecutive, directly, gap, guard, inner} in order; or
  members   {bit, ...} of an any-order trigger
  units     number of unit steps of `steps`
  within    total window, ms          subject, reset   bits
  absent    {bit, wait = ms, last = true for anchor: last}
  after     "restart" | "overlap" | "every" | "once"
  backdate  ms: an event that is older than this when received is late
  gaps, inners   true if a step has a gap, or an inner window: then these columns are kept
  tracked   true: every event counts a serial number (after == "overlap")
Bits are weights (powers of two below 2^53); `bits` of an event is the sum of the weights that it meets.

state     progress of one run; a fresh state is {}
  start[u], last[u], inner[u], serial[u], link[u]   of the newest partial match that has reached unit u
  due, anchor, since, note, chain   a pending absence
  own       when the event that it waits after happened, if that is not `anchor`
  again     the last match that found the absence pending, if it waits since the first
  count     serial number of the last event      used   serial number up to which matches have used events
  done      the trigger has matched, and matches only once
firing    {at = ms, reason = "match" | "absence", since = ms of its first event, note = what came with the completing
          event, link = list of what was passed as `link`: {link, link before}}
All times are whole milliseconds; windows are half-open: last - first < within.
]]
local machine = {
  RUNS = 20, -- values of `per` with progress in a row
}

local function has(bits, weight)
  return weight ~= nil and bits % (weight + weight) >= weight
end

local function clear_progress(state)
  state.start, state.last, state.inner, state.serial, state.link = nil, nil, nil, nil, nil
end

local function clear_pending(state)
  state.due, state.anchor, state.since, state.note, state.chain = nil, nil, nil, nil, nil
  state.own, state.again = nil, nil
end

machine.clear_progress, machine.clear_pending = clear_progress, clear_pending

local function put(state, name, unit, value)
  local column = state[name]
  if column then
    column[unit] = value
  elseif value ~= nil then
    state[name] = { [unit] = value }
  end
end

machine.put = put

-- Advance a sequence; return first time, serial and link of the match that this event completes, or nil.
local function advance_sequence(program, state, bits, now, late, link)
  local steps, units = program.steps, program.units
  local start = state.start
  if not start then
    if late or not has(bits, steps[1].bit) then return nil end
    start = {}
    if units > 1 then state.start = start end
  end
  local last, inner, serial, chain = state.last, state.inner, state.serial, state.link
  local within = program.within or math.huge
  local subject = has(bits, program.subject)
  local reset = has(bits, program.reset)
  local unit = units
  local first, first_serial, first_link
  -- Downwards, so that an event counts once in a match: unit - 1 is still as it was before the event.
  for k = #steps, 1, -1 do
    local step = steps[k]
    local met = not late and has(bits, step.bit)
    local follower = steps[k + 1]
    for n = step.times, 1, -1 do
      local begun = nil -- first time of the partial match that this event advances to `unit`
      local below = unit - 1
      if met then
        if below == 0 then
          begun = now
        else
          begun = start[below]
          if begun and (
            now - begun >= within
            or (n == 1 and step.gap and now - last[below] >= step.gap)
            or (n > 1 and step.inner and now - inner[below] >= step.inner)
          ) then
            begun = nil
          end
        end
      end
      local begun_serial, begun_link
      if begun then
        if program.tracked then begun_serial = below == 0 and state.count or serial[below] end
        if link then begun_link = { link, below > 0 and chain[below] or nil } end
      end
      if unit == units then
        first, first_serial, first_link = begun, begun_serial, begun_link
      else
        local broken = reset or (start[unit] and now - start[unit] >= within)
        if n == step.times then
          broken = broken or has(bits, follower.guard) or (follower.directly and subject)
        else
          broken = broken or (step.consecutive and subject)
        end
        if begun and not (reset and below > 0) then
          start[unit] = begun
          if program.gaps then put(state, "last", unit, now) end
          if program.inners then put(state, "inner", unit, n == 1 and now or inner[below]) end
          if begun_serial then put(state, "serial", unit, begun_serial) end
          if link then put(state, "link", unit, begun_link) end
        elseif broken and start[unit] then
          start[unit] = nil -- the other columns are not read without it
          if link then put(state, "link", unit, nil) end
        end
      end
      unit = below
    end
  end
  return first, first_serial, first_link
end

-- Advance an any-order trigger: keep the newest event of each member. One event may count for several members.
local function advance_members(program, state, bits, now, late, link)
  local members = program.members
  local last, serial, chain = state.last, state.serial, state.link
  if not last then
    last, serial, chain = {}, {}, {}
    state.last, state.serial, state.link = last, serial, chain
  end
  local met, complete = false, true
  local first, first_serial, first_link = now, state.count, nil
  local reset = has(bits, program.reset)
  for i = 1, #members do
    if not late and has(bits, members[i]) then
      met = true
      last[i], serial[i], chain[i] = now, state.count, link
    elseif last[i] and now - last[i] < program.within then
      if last[i] < first then first = last[i] end
      if state.count and serial[i] < first_serial then first_serial = serial[i] end
    else
      complete = false
      last[i], serial[i], chain[i] = nil, nil, nil
    end
  end
  if met and complete and link then
    local order = {}
    for i = 1, #members do order[i] = i end
    table.sort(order, function(a, b) return last[a] < last[b] or (last[a] == last[b] and a < b) end)
    for _, i in ipairs(order) do first_link = { chain[i], first_link } end
  end
  if reset then -- earlier events can no longer be part of a match; this one can
    for i = 1, #members do
      if late or not has(bits, members[i]) then last[i], serial[i], chain[i] = nil, nil, nil end
    end
  end
  if met and complete then return first, first_serial, first_link end
end

-- End the run for good or start it over after a firing, if the trigger says so.
local function finish(program, state)
  if program.after == "restart" then
    clear_progress(state)
  elseif program.after == "once" then
    clear_progress(state)
    state.done = true
  end
end

--- Fire the pending absence if its deadline is not after `now`; return the firing or nil.
function machine.expire(program, state, now)
  if not state.due or now < state.due then return nil end
  local firing = { at = state.due, reason = "absence", since = state.since, note = state.note, link = state.chain }
  clear_pending(state)
  finish(program, state)
  return firing
end

--- Apply one event to one run; return a firing or nil. `now`: its effective time; `at`: its own time; `late`: it was
--- older than `backdate` when received: it can break, reset and cancel, but never advance. `note` comes back in the firing.
--- `ended`: the own time of the newest event before it that ends a wait, or nil: a match that is older begins none.
function machine.advance(program, state, bits, now, at, late, link, note, ended)
  local absent = program.absent
  local firing = absent and machine.expire(program, state, now)
  if state.done then return firing end
  if program.tracked then state.count = (state.count or 0) + 1 end

  if absent and state.due then
    -- An event at the deadline does not cancel: `expire` comes first. One that happened before the wait does not either.
    if has(bits, program.reset) or (has(bits, absent.bit) and (state.own or state.anchor) <= at) then
      clear_pending(state)
    end
  end

  local first, serial, chain
  if program.members then
    first, serial, chain = advance_members(program, state, bits, now, late, link)
  else
    first, serial, chain = advance_sequence(program, state, bits, now, late, link)
  end
  if not first then return firing end
  if program.after == "overlap" then
    if serial <= (state.used or 0) then return firing end
    state.used = serial
  end

  if not absent then
    finish(program, state)
    return { at = now, reason = "match", since = first, note = note, link = chain }
  end
  if ended and at < ended then return firing end
  if absent.last or not state.due then
    state.due, state.anchor, state.since = now + absent.wait, now, first
    state.note, state.chain, state.own = note, chain, at < now and at or nil
  else
    state.again = now
  end
  return firing
end

--- Return whether nothing of this state matters any more: then it is not stored.
function machine.is_empty(state)
  -- `used` alone does not matter: every later match starts after it.
  return not state.done and not state.due and next(state.start or state.last or {}) == nil
end

--[[ For storage, a state is a flat list of small whole numbers:
  {earliest time, has, [due, anchor, since, note], [own], [again], [count, used], {unit, start, last, inner, serial}...}
  Times are offsets from the earliest. Columns that the program never reads are left out. ]]

local function columns(program)
  if program.members then return { "last", program.tracked and "serial" or nil } end
  local names = { "start" }
  if program.gaps then names[#names + 1] = "last" end
  if program.inners then names[#names + 1] = "inner" end
  if program.tracked then names[#names + 1] = "serial" end
  return names
end

--- Return the list that `thaw` reads, or nil if there is nothing to store.
function machine.freeze(program, state)
  if machine.is_empty(state) then return nil end
  local names = columns(program)
  local rows, earliest = state[names[1]] or {}, state.since or state.anchor or math.huge
  local units = program.members and #program.members or program.units - 1
  for unit = 1, units do
    if rows[unit] and rows[unit] < earliest then earliest = rows[unit] end
  end
  if earliest == math.huge then earliest = 0 end
  local kind = (state.due and 1 or 0) + (state.count and 2 or 0) + (state.done and 4 or 0) + (state.again and 8 or 0)
  if state.own then kind = kind + 16 end
  local flat = { earliest, kind }
  local function add(number) flat[#flat + 1] = number end
  if state.due then
    add(state.due - earliest)
    add(state.anchor - earliest)
    add(state.since - earliest)
    add(state.note or "")
  end
  if state.own then add(state.own - earliest) end
  if state.again then add(state.again - earliest) end
  if state.count then
    add(state.count)
    add(state.used or 0)
  end
  for unit = 1, units do
    if rows[unit] then
      add(unit)
      for _, name in ipairs(names) do
        local value = state[name][unit]
        add(name == "serial" and value or value - earliest)
      end
    end
  end
  return flat
end

--- Return the state that `freeze` turned into the list. `now`: times after it are of a clock that was wrong, and become
--- `now`; a pending absence then waits from `now` on. Without `now`, times stay.
function machine.thaw(program, flat, now)
  local names = columns(program)
  local earliest, kind, i = flat[1], flat[2], 3
  local state = {}
  local function following()
    i = i + 1
    return flat[i - 1]
  end
  if kind % 2 >= 1 then
    state.due = following() + earliest
    state.anchor = following() + earliest
    state.since = following() + earliest
    state.note = following()
  end
  if kind >= 16 then state.own = following() + earliest end
  if kind % 16 >= 8 then state.again = following() + earliest end
  if kind % 4 >= 2 then
    state.count = following()
    local used = following()
    state.used = used > 0 and used or nil
  end
  state.done = kind % 8 >= 4 or nil
  if flat[i] then
    state.start, state.last, state.inner, state.serial, state.link = {}, {}, {}, {}, {}
    if program.members then state.start = nil end
  end
  while flat[i] do
    local unit = following()
    for _, name in ipairs(names) do
      local value = following()
      if name ~= "serial" then
        value = value + earliest
        if now and value > now then value = now end
      end
      state[name][unit] = value
    end
  end
  if now and state.due and state.anchor > now then
    state.due, state.anchor, state.since = state.due - state.anchor + now, now, math.min(state.since, now)
    state.own, state.again = nil, nil
  end
  return state
end

--[[ The runs of a trigger with `per`: an array of {per = , state = }, the one touched last at the end. A trigger without
  `per` has a single run with an empty name. ]]

--- Return the state of the run `per` and its place in `runs`, or nil.
function machine.run(runs, per)
  for i = 1, #runs do
    if runs[i].per == per then return runs[i].state, i end
  end
end

--- Return the time from which on the progress of a run leads nowhere; 0 if there is none.
function machine.ends(program, state)
  local ends = state.due or 0
  for _, since in pairs((program.members and state.last or state.start) or {}) do
    if since + (program.within or 0) > ends then ends = since + program.within end
  end
  return ends
end

--- Apply an event to the run `per` of `runs`; return the firing or nil, and the name of a run that was evicted because
--- there were too many.
function machine.advance_run(program, runs, per, bits, now, at, late, link, note, ended)
  local state, i = machine.run(runs, per)
  state = state or {}
  local firing = machine.advance(program, state, bits, now, at, late, link, note, ended)
  local evicted
  if machine.is_empty(state) then
    if i then table.remove(runs, i) end
  elseif not i then
    if #runs >= machine.RUNS then evicted = table.remove(runs, 1).per end
    runs[#runs + 1] = { per = per, state = state }
  elseif i < #runs then
    table.insert(runs, table.remove(runs, i))
  end
  return firing, evicted
end

--- Fire the pending absence of the run `per` if it is due; drop the run if nothing of it matters any more.
function machine.expire_run(program, runs, per, now)
  local state, i = machine.run(runs, per)
  local firing = state and machine.expire(program, state, now)
  if firing and machine.is_empty(state) then table.remove(runs, i) end
  return firing
end

--- Return whether an event calls off a pending absence: it is the awaited one, or a reset.
function machine.calls_off(program, bits)
  return program.absent ~= nil and (has(bits, program.absent.bit) or has(bits, program.reset))
end

return machine
