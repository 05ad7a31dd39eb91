--[[
Run machine.lua over recorded events, with all rows in memory.

Called with
  machine, messages   the modules
  programs      the program of each trigger
  has_per       for each trigger, whether it has `per`
  triggers_of   for each event name that a trigger uses, the numbers of these triggers
Returns two functions:
  run(count, names, users, digests, times, bits, ids, id_lengths, runs, run_lengths)
      Apply a block of events, given as columns of packed native doubles: the number of the name (from 1), the number
      of the user (from 0), a hash of the message id, the time in ms, and one entry of `bits` for each trigger of the
      event's name: the event's roles in it, or 0. Texts are joined, with their lengths packed: the message ids, and
      the run name for each entry of `bits`. Both may be nil.
      Returns the matches, the number of accepted events, the number of repeated events, and the place of an event
      that is older than its user's last one, or nil.
  finish(until)
      Return the matches of absences that are due by `until` (ms).
A match is {user, trigger, at, reason, per, since, ids}.
]]
local machine, messages, programs, has_per, triggers_of = ...
collectgarbage("setpause", 400) -- most objects stay alive, so collect rarely
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

local function packed_match(user, trigger, per, fire)
  return { user, trigger - 1, fire.at, fire.reason, per, fire.since, ids_of(fire.link) }
end

-- A live row keeps ids as text, see messages.lua; here they are numbers in tables. 
local function is_repeated(row, digest, at)
  local known, blocks = row.known, row.blocks
  if known[digest] then return true end
  if at < row.time then return false end
  local block = blocks[row.last]
  if #block == messages.BLOCK then
    row.last, block = row.last + 1, {}
    blocks[row.last] = block
  end
  block[#block + 1], block.at, known[digest] = digest, at, true
  local age = messages.AGE * 1000
  while row.last - row.first >= messages.KEPT / messages.BLOCK and #block == messages.BLOCK do
    local oldest, length = blocks[row.first], (row.last - row.first + 1) * messages.BLOCK
    if at - oldest.at <= age and length <= messages.KEPT + messages.BLOCK + messages.MAX then break end
    for _, id in ipairs(oldest) do known[id] = nil end
    blocks[row.first], row.first = nil, row.first + 1
  end
  return false
end

local function advance(row, trigger, bits, per, at, id)
  local program, progress = programs[trigger], row[trigger]
  if not progress then
    progress = {}
    row[trigger] = progress
  end
  if has_per[trigger] then return machine.advance_run(program, progress, per, bits, at, at, false, id) end
  return machine.advance(program, progress, bits, at, at, false, id)
end

local function doubles(packed) return ffi.cast("const double *", packed) end

-- Return a function that yields the joined texts one by one; nil each time if there are none.
local function reader(joined, packed_lengths)
  if not joined then return function() return nil end end
  local text, lengths, at, n = ffi.cast("const char *", joined), doubles(packed_lengths), 0, -1
  return function()
    n = n + 1
    at = at + lengths[n]
    return ffi.string(text + at - lengths[n], lengths[n]), joined, packed_lengths
  end
end

-- Return the user's row after adding this event; nil if the event is repeated, or (second result true) too old.
local function enter(user, digest, at)
  local row = rows[user]
  if not row then
    row = { time = at, known = {}, blocks = { {} }, first = 1, last = 1 }
    rows[user] = row
  end
  if is_repeated(row, digest, at) then return nil, false end
  if at < row.time then return nil, true end
  row.time = at
  return row
end

local function run(count, ...)
  local columns = { ... } -- in scope to the end: a pointer does not keep its target alive
  local names, users, digests = doubles(columns[1]), doubles(columns[2]), doubles(columns[3])
  local times, bits = doubles(columns[4]), doubles(columns[5])
  local next_id, next_run = reader(columns[6], columns[7]), reader(columns[8], columns[9])
  local matches, accepted, repeated = {}, 0, 0
  local n = 0
  for place = 0, count - 1 do
    local user, at, id = users[place], times[place], next_id()
    local triggers = triggers_of[names[place]]
    local row, known = nil, false
    for i = 1, #triggers do
      local per = next_run() or ""
      if bits[n] ~= 0 and not known then
        if not row then
          local is_old
          row, is_old = enter(user, digests[place], at)
          if is_old then return matches, accepted, repeated, place end
          known = not row
          if known then repeated = repeated + 1 else accepted = accepted + 1 end
        end
        local fire = row and advance(row, triggers[i], bits[n], per, at, id)
        if fire then matches[#matches + 1] = packed_match(user, triggers[i], per, fire) end
      end
      n = n + 1
    end
  end
  return matches, accepted, repeated, nil
end

local function finish(until_)
  local matches = {}
  for user, row in pairs(rows) do
    for trigger, program in ipairs(programs) do
      local runs = row[trigger] or {}
      if not has_per[trigger] then runs = { { per = "", state = runs } } end
      for _, run in ipairs(runs) do
        local fire = machine.expire(program, run.state, until_)
        if fire then matches[#matches + 1] = packed_match(user, trigger, run.per, fire) end
      end
    end
  end
  return matches
end

return run, finish
