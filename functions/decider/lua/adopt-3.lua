--[[
A visitor has become this user: what he had begun as a visitor goes on as the user's own.

KEYS[1]   the user's row; besides what decide-5.lua explains: v the visitors he was, a list of {visitor, token}
KEYS[2]   the agenda of his partition      KEYS[3]   who of the site is on the way in it: see decide-5.lua
ARGV[1]   what release-3.lua returned
ARGV[2]   MessagePack of {site, visitor, ttl, grace, programs, targets}: programs of the live triggers for everyone, by
          key; targets: what `g` says of a user whom nobody has looked up, see decide-5.lua
Returns   1, or 0 where it had arrived before
Atomic    because an event of the user comes before, and what moves is added to what it has done, or after, and finds
          what has moved. Two that bring the same are one: the token of the last move stands beside the visitor.
]]
local row, agenda, on_the_way = KEYS[1], KEYS[2], KEYS[3]
local bundle, call = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])
local MOST_VISITORS, MOST_COUNTED = 20, 50

local stored = redis.call("HMGET", row, "v", "c", "d", "m")
local is_new = redis.call("EXISTS", row) == 0
redis.call("HSETNX", row, "g", call.targets)
local visitors = stored[1] and cmsgpack.unpack(stored[1]) or {}
for i, each in ipairs(visitors) do
  if each[1] == call.visitor then
    if each[2] == bundle.token then return 0 end
    table.remove(visitors, i)
    break
  end
end
visitors[#visitors + 1] = { call.visitor, bundle.token }
if #visitors > MOST_VISITORS then table.remove(visitors, 1) end

local writes = { "v", cmsgpack.pack(visitors) }
local function write(field, value)
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end

local function appoint(key, per, state)
  if state.due then
    local appointment = cjson.encode({ "absence", call.site, bundle.user, key, per })
    redis.call("ZADD", agenda, state.due + call.grace, appointment)
  end
end

local function add_runs(key, program, packed)
  local own = redis.call("HGET", row, "t:" .. key)
  local runs = {}
  for n, run in ipairs(own and cmsgpack.unpack(own) or {}) do
    runs[n] = { per = run[1], state = machine.thaw(program, run[2]) }
  end
  for _, run in ipairs(cmsgpack.unpack(packed)) do
    local per, other = run[1], machine.thaw(program, run[2])
    local state = machine.run(runs, per)
    if state then
      machine.merge(program, state, other)
      appoint(key, per, state)
    elseif #runs < machine.RUNS then
      table.insert(runs, 1, { per = per, state = other })
      appoint(key, per, other)
    end
  end
  local frozen, ends = {}, 0
  for n, run in ipairs(runs) do
    frozen[n] = { run.per, machine.freeze(program, run.state) }
    ends = math.max(ends, machine.ends(program, run.state))
  end
  write("t:" .. key, cmsgpack.pack(frozen))
  if ends > 0 then redis.call("ZADD", on_the_way, ends, key .. bundle.user) end
end

for key, packed in pairs(bundle.triggers) do
  local program = call.programs[key]
  if program then add_runs(key, program, packed) end
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

-- A tracker that sends an event again says meanwhile who the user is: it counts once all the same.
local recent, added = stored[3] or "", ""
local room = machine.RECENT * machine.DIGEST - #recent
for from = #bundle.recent - machine.DIGEST + 1, 1, -machine.DIGEST do
  local digest = string.sub(bundle.recent, from, from + machine.DIGEST - 1)
  if #added < room and not machine.is_seen(recent, digest) then added = digest .. added end
end
if added ~= "" then write("d", added .. recent) end
write("m", tostring(math.max(bundle.time, tonumber(stored[4] or 0))))

redis.call("HSET", row, unpack(writes))
redis.call("PEXPIRE", on_the_way, call.ttl)
if is_new then
  redis.call("PEXPIRE", row, call.ttl)
else
  redis.call("PEXPIRE", row, call.ttl, "GT")
end
return 1
