--[[
The messages that a row remembers, so that each counts once and gets the same result again. Pure: no Redis call, no
clock.

A row remembers the newest KEPT ids, and every id for at least AGE, but no more than MAX of these. Of an id's digest it
stores the first WIDTH bytes. Ids are in blocks of BLOCK. A full block ends with the second in which it was filled.

recent    blocks of the newest ids, the newest last: KEPT ids and up to one block more; the last block may have room
older     full blocks that have left `recent` before they were AGE old: only a busy user has any
results   of recent messages that fired, the newest last: digest (8 bytes), length (3 bytes, big-endian), packed firings
]]
local messages = {
  KEPT = 128,
  AGE = 900, -- s
  MAX = 10000,
  RESULTS = 32768, -- bytes of results; the newest one stays in any case
  WIDTH = 7,
  BLOCK = 8,
}

local DIGEST = 8
local IDS = messages.BLOCK * messages.WIDTH -- bytes of a block before its time
local BYTES = IDS + 4
local FULL = (messages.KEPT / messages.BLOCK + 1) * BYTES
local MOST = messages.MAX / messages.BLOCK * BYTES

local function stamp(now)
  local s = math.ceil(now / 1000)
  return string.char(math.floor(s / 16777216) % 256, math.floor(s / 65536) % 256, math.floor(s / 256) % 256, s % 256)
end

-- Return whether the full block that begins at `from` is too old; a time far ahead is of a clock that was wrong.
local function is_old(blocks, from, now)
  local a, b, c, d = string.byte(blocks, from + IDS, from + BYTES - 1)
  return math.abs(math.floor(now / 1000) - (((a * 256 + b) * 256 + c) * 256 + d)) > messages.AGE
end

local function contains(blocks, id)
  local from = 1
  while true do
    local found = string.find(blocks, id, from, true)
    if not found then return false end
    local offset = (found - 1) % BYTES
    if offset < IDS and offset % messages.WIDTH == 0 then return true end
    from = found + 1
  end
end

--- Return whether the message `digest` is remembered.
function messages.is_known(recent, older, digest)
  local id = string.sub(digest, 1, messages.WIDTH)
  return contains(recent, id) or (older ~= "" and contains(older, id))
end

--- Return `older` without the blocks that are too old.
function messages.prune(older, now)
  local from = math.max(1, #older - MOST + 1)
  while from < #older and is_old(older, from, now) do from = from + BYTES end
  return from == 1 and older or string.sub(older, from)
end

local function add(recent, older, id, now)
  recent = recent .. id
  if #recent % BYTES == IDS then recent = recent .. stamp(now) end
  if #recent < FULL then return recent, older, false end
  if not is_old(recent, 1, now) then older = older .. string.sub(recent, 1, BYTES) end
  return string.sub(recent, BYTES + 1), messages.prune(older, now), true
end

--- Return `recent` and `older` with the message `digest` added, and whether ids have left `recent` for it.
function messages.remember(recent, older, digest, now)
  return add(recent, older, string.sub(digest, 1, messages.WIDTH), now)
end

--- Return how many ids are in `recent` or `older`.
function messages.count(blocks)
  return math.floor(#blocks / BYTES) * messages.BLOCK + #blocks % BYTES / messages.WIDTH
end

local function each_block(blocks, visit)
  for from = 1, #blocks, BYTES do visit(string.sub(blocks, from, from + BYTES - 1)) end
end

--- Return `recent` and `older` with the ids of another row added. If both rows remember many, the other's newest get
--- half of the room in `recent`. The rest of its ids, and this row's ids that have to leave, are kept for AGE.
function messages.merge(recent, older, theirs, their_older, now)
  local new = {}
  each_block(theirs, function(block)
    for at = 1, math.min(#block, IDS), messages.WIDTH do
      local id = string.sub(block, at, at + messages.WIDTH - 1)
      if not contains(recent, id) then new[#new + 1] = id end
    end
  end)
  local room = math.max(messages.KEPT - messages.count(recent), messages.KEPT / 2)
  local rest = math.max(0, #new - room)
  local blocks = {}
  local function keep(block) blocks[#blocks + 1] = block end
  for at = 1, rest, messages.BLOCK do
    local block = table.concat(new, "", at, math.min(at + messages.BLOCK - 1, rest))
    keep(block .. string.rep(new[at], messages.BLOCK - #block / messages.WIDTH) .. stamp(now))
  end
  for i = rest + 1, #new do recent, older = add(recent, older, new[i], now) end
  each_block(older, keep)
  each_block(their_older, keep)
  table.sort(blocks, function(a, b) return string.sub(a, IDS + 1) < string.sub(b, IDS + 1) end)
  return recent, messages.prune(table.concat(blocks), now)
end

local function result_at(results, from)
  local body = from + DIGEST + 3
  local high, middle, low = string.byte(results, from + DIGEST, body - 1)
  return body, body + high * 65536 + middle * 256 + low
end

--- Return the packed firings of the message `digest`, or nil.
function messages.result(results, digest)
  local from = 1
  while from <= #results do
    local body, after = result_at(results, from)
    if string.sub(results, from, from + DIGEST - 1) == digest then return string.sub(results, body, after - 1) end
    from = after
  end
end

--- Return `results` with the packed firings of the message `digest` added; the oldest go if there are too many bytes.
function messages.add_result(results, digest, firings)
  local size = #firings
  local added = digest .. string.char(math.floor(size / 65536), math.floor(size / 256) % 256, size % 256) .. firings
  local from, most = 1, messages.RESULTS - #added
  while from <= #results and #results - from + 1 > most do
    local _, after = result_at(results, from)
    from = after
  end
  return string.sub(results, from) .. added
end

--- Return the results whose messages are still in `recent`.
function messages.tidy_results(results, recent)
  local kept, from = {}, 1
  while from <= #results do
    local _, after = result_at(results, from)
    if contains(recent, string.sub(results, from, from + messages.WIDTH - 1)) then
      kept[#kept + 1] = string.sub(results, from, after - 1)
    end
    from = after
  end
  return table.concat(kept)
end

return messages
