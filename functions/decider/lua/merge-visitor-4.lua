--[[
A visitor has become this user: what he had begun as a visitor goes on as the user's own.

KEYS[1]   the user's row; besides what apply-event-5.lua explains: v the visitors he was, a list of {visitor, token}
KEYS[2]   the agenda of his partition      KEYS[3]   who of the site is on the way in it: see apply-event-5.lua
KEYS[4]   the partition's counters: what has to go because a user has too many runs counts as `evicted`
ARGV[1]   what detach-visitor-3.lua returned
ARGV[2]   MessagePack of {site, visitor, ttl, grace, now, programs, campaigns, targets}: programs of the live triggers for
          everyone and their campaigns, by key; targets: what `g` says of a user whom nobody has looked up,
          see apply-event-5.lua
Returns   MessagePack of the campaigns that lost a run, a list
Atomic    because an event of the user comes before, and what moves is added to what it has done, or after, and finds
          what has moved. Two that bring the same are one: the token of the last move stands beside the visitor.
]]
--- @include machine
--- @include gates
--- @include offers
--- @include cancellations
--- @include merge
local row, agenda, on_the_way, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local bundle, call = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])
local MOST_VISITORS, MOST_COUNTED = 20, 50

local stored = redis.call("HMGET", row, "v", "c", "d", "m", "r", "n", "o", "p")
local is_new = redis.call("EXISTS", row) == 0
local visitors = stored[1] and cmsgpack.unpack(stored[1]) or {}
for i, each in ipairs(visitors) do
  if each[1] == call.visitor then
    if each[2] == bundle.token then return cmsgpack.pack({}) end
    table.remove(visitors, i)
    break
  end
end
visitors[#visitors + 1] = { call.visitor, bundle.token }
if #visitors > MOST_VISITORS then table.remove(visitors, 1) end
redis.call("HSETNX", row, "g", call.targets)

local writes = { "v", cmsgpack.pack(visitors) }
local function write(field, value)
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end

local function appointment(key, per) return cjson.encode({ "absence", call.site, bundle.user, key, per }) end

local evicted = {}
local function evict(key, per)
  redis.call("ZREM", agenda, appointment(key, per))
  local campaign = call.campaigns[key]
  local day = math.floor(call.now / 86400000)
  redis.call("HINCRBY", counters, cjson.encode({ day, call.site, campaign, "evicted" }), 1)
  evicted[#evicted + 1] = campaign
end

-- What the one has called off, the other waits for no more, whoever of the two was heard first.
local own_noted = stored[6] and cmsgpack.unpack(stored[6]) or {}

local function add_runs(key, program, packed)
  local own = redis.call("HGET", row, "t:" .. key)
  if not (own or packed) then return end
  local runs = {}
  for n, run in ipairs(own and cmsgpack.unpack(own) or {}) do
    runs[n] = { per = run[1], state = machine.thaw(program, run[2]) }
    merge.call_off(program, runs[n].state, merge.when(bundle.noted, key, run[1]))
  end
  for _, run in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    local per, other = run[1], machine.thaw(program, run[2])
    merge.call_off(program, other, merge.when(own_noted, key, per))
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
      redis.call("ZADD", agenda, run.state.due + call.grace, appointment(key, run.per))
    elseif program.absent then
      redis.call("ZREM", agenda, appointment(key, run.per))
    end
    if flat then
      frozen[#frozen + 1] = { run.per, flat }
      ends = math.max(ends, machine.ends(program, run.state))
      if #frozen > machine.RUNS then evict(key, table.remove(frozen, 1)[1]) end
    end
  end
  if #frozen > 0 then
    write("t:" .. key, cmsgpack.pack(frozen))
  else
    redis.call("HDEL", row, "t:" .. key)
  end
  if ends > 0 then
    redis.call("ZADD", on_the_way, ends, key .. bundle.user)
  else
    redis.call("ZREM", on_the_way, key .. bundle.user)
  end
end

for key, program in pairs(call.programs) do
  if bundle.triggers[key] or bundle.noted[key] then add_runs(key, program, bundle.triggers[key]) end
end
if next(bundle.noted) then
  merge.noted(own_noted, bundle.noted)
  cancellations.tidy(own_noted, call.now)
  if next(own_noted) then write("n", cmsgpack.pack(own_noted)) end
end

-- What the visitor got counts for the user: no cap is exceeded because somebody logs in.
if next(bundle.counted) then
  local counted = stored[2] and cmsgpack.unpack(stored[2]) or {}
  for name, times in pairs(bundle.counted) do
    local all = counted[name] or {}
    for _, time in ipairs(times) do all[#all + 1] = time end
    table.sort(all)
    while #all > MOST_COUNTED do table.remove(all, 1) end
    counted[name] = all
  end
  write("c", cmsgpack.pack(counted))
end

-- What the visitor has not seen yet is offered to the user.
if #bundle.offers > 0 then
  local offering = stored[7] and cmsgpack.unpack(stored[7]) or {}
  for _, offer in ipairs(bundle.offers) do offers.add(offering, unpack(offer)) end
  write("o", cmsgpack.pack(offering))
end

-- What the visitor was sent can reach its goal through what the user does.
if next(bundle.open) then
  local open = stored[8] and cmsgpack.unpack(stored[8]) or {}
  for campaign, entries in pairs(bundle.open) do
    for _, entry in ipairs(entries) do gates.remember(open, campaign, entry) end
  end
  gates.tidy(open, call.now)
  if next(open) then write("p", cmsgpack.pack(open)) end
end

-- A tracker that sends an event again says meanwhile who the user is: it counts once all the same. Of two rows that
-- remember much, one half is the visitor's: those are the latest.
local recent, results, added = stored[3] or "", stored[5] or "", ""
local longest = machine.RECENT * machine.DIGEST
local room = math.max(longest - #recent, longest / 2)
for from = #bundle.recent - machine.DIGEST + 1, 1, -machine.DIGEST do
  local digest = string.sub(bundle.recent, from, from + machine.DIGEST - 1)
  if #added < room and not machine.is_seen(recent, digest) then added = digest .. added end
end
if added ~= "" then
  for from = 1, #added, machine.DIGEST do
    local forgotten
    recent, forgotten = machine.remember(recent, string.sub(added, from, from + machine.DIGEST - 1))
    if forgotten then results = machine.forget(results, forgotten) end
  end
  write("d", recent)
  if results ~= "" then
    write("r", results)
  else
    redis.call("HDEL", row, "r")
  end
end
write("m", tostring(math.max(bundle.time, tonumber(stored[4] or 0))))

redis.call("HSET", row, unpack(writes))
redis.call("PEXPIRE", on_the_way, call.ttl)
if is_new then
  redis.call("PEXPIRE", row, call.ttl)
else
  redis.call("PEXPIRE", row, call.ttl, "GT")
end
return cmsgpack.pack(evicted)
