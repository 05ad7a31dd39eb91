--[[
Merge into a user's row what the visitor had begun that has become this user.

KEYS[1]   the user's row
KEYS[2]   the timers of its partition      KEYS[3]   the site's users with progress in it: see apply-event-5.lua
KEYS[4]   the partition's counters: a run that goes because the user has too many counts as `evicted`
ARGV[1]   what detach-visitor-3.lua returned
ARGV[2]   MessagePack of {site, visitor, ttl, grace, now, programs, campaigns, targets}
          programs, campaigns   by trigger key: of the live triggers for everyone
          targets               the row's targets while they are not looked up, see apply-event-5.lua
Returns   MessagePack of the campaigns that lost a run, a list
Atomic    because an event of the user comes either before, and the parts are added to its changes, or after, and finds
          the parts. Two calls that bring the same parts are one: the row stores the token of the visitor's last move.
]]
--- @include machine
--- @include messages
--- @include gates
--- @include offers
--- @include cancellations
--- @include merge
local row, timers, in_progress, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local parts, call = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])
local MAX_VISITORS, MAX_COUNTED = 20, 50

local is_new = redis.call("EXISTS", row) == 0
local stored = redis.call(
  "HMGET", row,
  ROW.visitors, ROW.counted, ROW.recent, ROW.older, ROW.time, ROW.results, ROW.cancellations, ROW.offers, ROW.open
)
local own_visitors, own_counted, own_recent, own_older, own_time, own_results = unpack(stored)
local own_cancellations, own_offers, own_open = unpack(stored, 7, 9)
local function unpacked(packed) return packed and cmsgpack.unpack(packed) or {} end

local visitors = unpacked(own_visitors)
for i, each in ipairs(visitors) do
  if each[VISITOR.id] == call.visitor then
    if each[VISITOR.token] == parts.token then return cmsgpack.pack({}) end
    table.remove(visitors, i)
    break
  end
end
visitors[#visitors + 1] = { call.visitor, parts.token }
if #visitors > MAX_VISITORS then table.remove(visitors, 1) end
redis.call("HSETNX", row, ROW.targets, call.targets)

local writes = { ROW.visitors, cmsgpack.pack(visitors) }
local function write(field, value)
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end

local function absence_timer(key, per) return cjson.encode({ "absence", call.site, parts.user, key, per }) end

local evicted = {}
local function evict(key, per)
  redis.call("ZREM", timers, absence_timer(key, per))
  local campaign = call.campaigns[key]
  local day = math.floor(call.now / 86400000)
  redis.call("HINCRBY", counters, cjson.encode({ day, call.site, campaign, "evicted" }), 1)
  evicted[#evicted + 1] = campaign
end

-- What an event of either row has called off ends in the other row too, whichever event came first.
local own_called_off = unpacked(own_cancellations)

local function add_runs(key, program, packed)
  local own = redis.call("HGET", row, ROW.progress .. key)
  if not (own or packed) then return end
  local runs = {}
  for n, run in ipairs(unpacked(own)) do
    runs[n] = { per = run[RUN.per], state = machine.thaw(program, run[RUN.state]) }
    merge.call_off(program, runs[n].state, cancellations.last(parts.called_off, key, run[RUN.per]))
  end
  for _, run in ipairs(unpacked(packed)) do
    local per, other = run[RUN.per], machine.thaw(program, run[RUN.state])
    merge.call_off(program, other, cancellations.last(own_called_off, key, per))
    local state, i = machine.run(runs, per)
    if state then
      merge.runs(program, state, other)
      table.remove(runs, i)
    end
    runs[#runs + 1] = { per = per, state = state or other }
  end
  local frozen, ends = {}, 0
  for _, run in ipairs(runs) do
    local flat = machine.freeze(program, run.state)
    if run.state.due then
      redis.call("ZADD", timers, run.state.due + call.grace, absence_timer(key, run.per))
    elseif program.absent then
      redis.call("ZREM", timers, absence_timer(key, run.per))
    end
    if flat then
      frozen[#frozen + 1] = { run.per, flat }
      ends = math.max(ends, machine.ends(program, run.state))
      if #frozen > machine.RUNS then evict(key, table.remove(frozen, 1)[RUN.per]) end
    end
  end
  if #frozen > 0 then
    write(ROW.progress .. key, cmsgpack.pack(frozen))
  else
    redis.call("HDEL", row, ROW.progress .. key)
  end
  if ends > 0 then
    redis.call("ZADD", in_progress, ends, key .. parts.user)
  else
    redis.call("ZREM", in_progress, key .. parts.user)
  end
end

for key, program in pairs(call.programs) do
  if parts.triggers[key] or parts.called_off[key] then add_runs(key, program, parts.triggers[key]) end
end
if next(parts.called_off) then
  merge.called_off(own_called_off, parts.called_off)
  cancellations.tidy(own_called_off, call.now)
  if next(own_called_off) then write(ROW.cancellations, cmsgpack.pack(own_called_off)) end
end

-- What the visitor got counts for the user too, so a login cannot exceed a cap.
if next(parts.counted) then
  local counted = unpacked(own_counted)
  for name, times in pairs(parts.counted) do
    local all = counted[name] or {}
    for _, time in ipairs(times) do all[#all + 1] = time end
    table.sort(all)
    while #all > MAX_COUNTED do table.remove(all, 1) end
    counted[name] = all
  end
  write(ROW.counted, cmsgpack.pack(counted))
end

-- Popups that the visitor has not seen yet are offered to the user.
if #parts.offers > 0 then
  local offering = unpacked(own_offers)
  for _, offer in ipairs(parts.offers) do offers.add(offering, unpack(offer)) end
  write(ROW.offers, cmsgpack.pack(offering))
end

-- Events of the user can convert activations of the visitor.
if next(parts.open) then
  local open = unpacked(own_open)
  for campaign, entries in pairs(parts.open) do
    for _, entry in ipairs(entries) do gates.remember(open, campaign, entry) end
  end
  gates.tidy(open, call.now)
  if next(open) then write(ROW.open, cmsgpack.pack(open)) end
end

-- A tracker may send an event of the visitor again with the user's id; it must count only once.
if parts.recent ~= "" then
  local recent, older = messages.merge(own_recent or "", own_older or "", parts.recent, parts.older, call.now)
  write(ROW.recent, recent)
  if older ~= "" then write(ROW.older, older) end
  local results = messages.tidy_results(own_results or "", recent)
  if results ~= "" then
    write(ROW.results, results)
  elseif own_results then
    redis.call("HDEL", row, ROW.results)
  end
end
write(ROW.time, tostring(math.max(parts.time, tonumber(own_time or 0))))

redis.call("HSET", row, unpack(writes))
redis.call("PEXPIRE", in_progress, call.ttl)
if is_new then
  redis.call("PEXPIRE", row, call.ttl)
else
  redis.call("PEXPIRE", row, call.ttl, "GT")
end
return cmsgpack.pack(evicted)
