--[[
Run machine.lua over recorded events, with all rows in memory.

Called with
  modules       {machine, messages, cancellations, merge}: the modules
  programs      the program of each trigger
  has_per       for each trigger, whether it has `per`
  triggers_of   for each event name that a trigger uses, the numbers of these triggers
  load_login    loads login.lua
  grace         ms that a pending absence waits beyond its deadline, as live
Returns two functions:
  run(count, names, users, digests, times, received, bits, ids, id_lengths, runs, run_lengths)
      Apply a block of events, given as columns of packed native doubles: the number of the name (from 1), the number
      of the user (from 0), a hash of the message id, the time in ms, the time of receipt or 0, and one entry of `bits`
      for each trigger of the event's name: the event's roles in it, or 0. Texts are joined, with their lengths packed:
      the message ids, and the run name for each entry of `bits`. Both may be nil.
      A name of 0 is a login: the visitor whose number stands for the hash became the user.
      An event without a time of receipt arrives with the newest event before it of its user.
      Returns the matches, the number of accepted events, the number of repeated events, and the place of an event
      without a time of receipt that is older than that by more than a trigger allows, or nil.
  finish(until)
      Return the matches of absences that are due by `until` (ms).
A match is {user, trigger, at, reason, per, since, ids}. A login is one, too: its `reason` is login, its `per` the visitor.
]]
local modules, programs, has_per, triggers_of, load_login, grace = ...
local machine, messages, cancellations = modules.machine, modules.messages, modules.cancellations
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
local function remember(row, digest, at)
  local known, blocks = row.known, row.blocks
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
end

local merge_row = load_login(modules, programs, has_per, remember)

local function advance(row, trigger, bits, per, at, received, id)
  local program, progress = programs[trigger], row[trigger]
  if not progress then
    progress = {}
    row[trigger] = progress
  end
  local late, ended = received - at > program.backdate, nil
  if program.absent then
    ended = row.called_off and cancellations.last(row.called_off, trigger, per)
    local keep = math.max(program.backdate, program.absent.wait)
    if machine.calls_off(program, bits) and received - at < keep then
      row.called_off = row.called_off or {}
      cancellations.note(row.called_off, trigger, per, at, keep)
    end
  end
  if has_per[trigger] then
    return machine.advance_run(program, progress, per, bits, row.time, at, late, id, nil, ended)
  end
  return machine.advance(program, progress, bits, row.time, at, late, id, nil, ended)
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

local function row_of(user, time)
  local row = rows[user]
  if not row then
    row = { time = time, known = {}, blocks = { {} }, first = 1, last = 1 }
    rows[user] = row
  end
  return row
end

-- Return the row that this event counts in, and its user: the one that a visitor has become. The row is nil if the event
-- is repeated.
local function find_row(user, digest, at)
  local row = row_of(user, at)
  if row.known[digest] then return nil, user end
  if row.became then
    user = row.became
    row = row_of(user, at)
    if row.known[digest] then return nil, user end
  end
  return row, user
end

-- Add the absences of a row that are due by `now` to `matches`.
local function expire(matches, user, row, now)
  for trigger, program in ipairs(programs) do
    local runs = row[trigger] or {}
    if not has_per[trigger] then runs = { { per = "", state = runs } } end
    for _, run in ipairs(runs) do
      local fire = machine.expire(program, run.state, now)
      if fire then
        row.time = math.max(row.time, fire.at)
        matches[#matches + 1] = packed_match(user, trigger, run.per, fire)
      end
    end
  end
end

-- Add an event to a row; return when it arrived. Live, the timers have fired by then what was due before.
local function enter(matches, row, user, digest, at, received)
  received = math.max(received, row.time, at)
  if received - grace > math.max(row.time, at) then expire(matches, user, row, received - grace) end
  row.time = math.max(row.time, at)
  remember(row, digest, received)
  return received
end

-- Return whether an event is older than the newest one of its user by more than one of these triggers allows.
local function is_unsorted(row, at, triggers)
  for _, trigger in ipairs(triggers) do
    if row.time - at > programs[trigger].backdate then return true end
  end
  return false
end

-- Before the login, what is due falls due to the visitor and to the user.
local function login(matches, visitor, user, at, received)
  local row, other = row_of(user, 0), row_of(visitor, 0)
  local now = math.max(at, received - grace)
  expire(matches, visitor, other, now)
  expire(matches, user, row, now)
  if merge_row(row, other, user, at) then matches[#matches + 1] = { user, 0, at, "login", visitor, at, {} } end
end

local function run(count, ...)
  local columns = { ... } -- in scope to the end: a pointer does not keep its target alive
  local names, users, digests = doubles(columns[1]), doubles(columns[2]), doubles(columns[3])
  local times, receipts, bits = doubles(columns[4]), doubles(columns[5]), doubles(columns[6])
  local next_id, next_run = reader(columns[7], columns[8]), reader(columns[9], columns[10])
  local matches, accepted, repeated = {}, 0, 0
  local n = 0
  for place = 0, count - 1 do
    local user, at, id = users[place], times[place], next_id()
    local triggers = triggers_of[names[place]]
    if not triggers then
      login(matches, digests[place], user, at, receipts[place])
      triggers = {}
    end
    local row, known, received = nil, false, receipts[place]
    for i = 1, #triggers do
      local per = next_run() or ""
      if bits[n] ~= 0 and not known then
        if not row then
          row, user = find_row(user, digests[place], at)
          known = not row
          if known then
            repeated = repeated + 1
          else
            if received == 0 and at < row.time and is_unsorted(row, at, triggers) then
              return matches, accepted, repeated, place
            end
            accepted = accepted + 1
            received = enter(matches, row, user, digests[place], at, received)
          end
        end
        local fire = row and advance(row, triggers[i], bits[n], per, at, received, id)
        if fire then matches[#matches + 1] = packed_match(user, triggers[i], per, fire) end
      end
      n = n + 1
    end
  end
  return matches, accepted, repeated, nil
end

local function finish(until_)
  local matches = {}
  for user, row in pairs(rows) do expire(matches, user, row, until_) end
  return matches
end

return run, finish
