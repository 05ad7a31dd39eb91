--[[
Drives machine.lua over recorded events, with all rows in memory.

Called with (machine, programs, separated: for each trigger whether it has `per`); returns run and finish:
  run(count, numbers, ids, id_lengths, runs, run_lengths)   a batch of entries: what one event is to one trigger.
      numbers: packed native doubles, five for an entry: user (0: the event of the entry before), a number that
      stands for the message id, time, trigger (from 0), bits. Texts are joined, with their lengths packed; ids
      and runs may be nil. Returns the fires, how many events were accepted, how many had an id that was seen
      before, and the place of an entry that is older than its user's last event, or nil
  finish(until)   fires the absences that are due by then: a list of fires
A fire is {user, trigger, at, reason, per, since, ids}.
]]
local machine, programs, separated = ...
collectgarbage("setpause", 400) -- most of what is made stays
local ffi = require("ffi")
local rows = {}

local function ids_of(link)
  local ids = {}
  while link do
    ids[#ids + 1] = link[1]
    link = link[2]
  end
  return ids
end

local function report(user, trigger, per, fire)
  return { user, trigger - 1, fire.at, fire.reason, per, fire.since, ids_of(fire.link) }
end

-- The ids that a live row remembers as text, as numbers in a ring.
local function is_repeated(row, digest, at)
  local seen = row.seen
  for i = 1, #seen do
    if seen[i] == digest then return true end
  end
  if at < row.time then return false end
  local place = row.place % machine.RECENT + 1
  seen[place], row.place = digest, place
  return false
end

local function advance(row, trigger, bits, per, at, id)
  local program, progress = programs[trigger], row[trigger]
  if not progress then
    progress = {}
    row[trigger] = progress
  end
  if separated[trigger] then return machine.advance_run(program, progress, per, bits, at, at, false, id) end
  return machine.advance(program, progress, bits, at, at, false, id)
end

local function doubles(packed) return ffi.cast("const double *", packed) end

-- Read joined texts one after the other; where there are none, each is nil.
local function reader(joined, packed_lengths)
  if not joined then return function() end end
  local text, lengths, at, n = ffi.cast("const char *", joined), doubles(packed_lengths), 0, -1
  return function()
    n = n + 1
    at = at + lengths[n]
    return ffi.string(text + at - lengths[n], lengths[n]), joined, packed_lengths
  end
end

local function run(count, packed, ...)
  local numbers = doubles(packed) -- packed stays in scope: a pointer does not keep what it points to
  local ids, id_lengths, runs, run_lengths = ...
  local next_id, next_run = reader(ids, id_lengths), reader(runs, run_lengths)
  local fires, accepted, repeated = {}, 0, 0
  local user, row
  for i = 0, count - 1 do
    local entry = numbers + 5 * i
    local at, id, per = entry[2], next_id(), next_run() or ""
    if entry[0] ~= 0 then
      user = entry[0]
      row = rows[user]
      if not row then
        row = { time = at, seen = {}, place = 0 }
        rows[user] = row
      end
      if is_repeated(row, entry[1], at) then
        repeated = repeated + 1
        row = nil
      elseif at < row.time then
        return fires, accepted, repeated, i
      else
        accepted = accepted + 1
        row.time = at
      end
    end
    if row then
      local trigger = entry[3] + 1
      local fire = advance(row, trigger, entry[4], per, at, id)
      if fire then fires[#fires + 1] = report(user, trigger, per, fire) end
    end
  end
  return fires, accepted, repeated, nil
end

local function finish(until_)
  local fires = {}
  for user, row in pairs(rows) do
    for trigger, program in ipairs(programs) do
      local runs = row[trigger] or {}
      if not separated[trigger] then runs = { { per = "", state = runs } } end
      for _, run in ipairs(runs) do
        local fire = machine.expire(program, run.state, until_)
        if fire then fires[#fires + 1] = report(user, trigger, run.per, fire) end
      end
    end
  end
  return fires
end

return run, finish
