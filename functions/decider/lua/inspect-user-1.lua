--[[
Read what is stored of one user, for people: nothing is changed.

KEYS[1]   the user's row
ARGV[1]   MessagePack of {trigger key -> program}: the triggers that are live
Returns   MessagePack of {targets, time, recent, lives, runs, counted, open, lost}, or of false where there is no row
          targets   "<generation>:<ruleset>:<key>,<key>,", see apply-event-5.lua       time   last effective time, ms
          recent    how many message ids are remembered       lives   ms until the row ends, unless events come
          runs      list of {trigger, per, of, units, due, anchor, since, done}: `of` events are a match, `units` is a
                    list of {events reached, time of the first, time until which the next one counts or 0, what
                    ends then: within, gap or inner}; due, anchor, since: of a pending absence, or 0
          counted   list of {name, times}       open   list of {campaign, per, due, until}, see gates.lua
          lost      list of {trigger, ms, generation}: whose progress went when the user was no target any more
Atomic    because it is one reading: how far a user is, and which caps are used, at the same instant.
]]
--- @include machine
--- @include gates
local row = KEYS[1]
local programs = cmsgpack.unpack(ARGV[1])

local stored = redis.call("HGETALL", row)
if #stored == 0 then return cmsgpack.pack(false) end
local field = {}
for i = 1, #stored, 2 do field[stored[i]] = stored[i + 1] end

-- The step that the unit step `wanted` belongs to, and its number within that step.
local function place(program, wanted)
  local unit = 0
  for _, step in ipairs(program.steps) do
    if wanted <= unit + step.times then return step, wanted - unit end
    unit = unit + step.times
  end
end

-- The first of the limits that the event after `unit` has to keep, as `machine.advance` tests them.
local function limit(program, state, unit)
  local column = program.members and state.last or state.start
  local ends, what = 0, ""
  local function at_most(time, name)
    if ends == 0 or time < ends then ends, what = time, name end
  end
  if program.within then at_most(column[unit] + program.within, "within") end
  if program.steps then
    local step, n = place(program, unit + 1)
    if n == 1 and step.gap then at_most(state.last[unit] + step.gap, "gap") end
    if n > 1 and step.inner then at_most(state.inner[unit] + step.inner, "inner") end
  end
  return ends, what
end

local runs = {}
for key, program in pairs(programs) do
  local packed = field["t:" .. key]
  for _, run in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    local state = machine.thaw(program, run[2])
    local column = program.members and state.last or state.start
    local of = program.members and #program.members or program.units
    local units = {}
    for unit = 1, of do
      if column and column[unit] then
        units[#units + 1] = { unit, column[unit], limit(program, state, unit) }
      end
    end
    runs[#runs + 1] =
      { key, run[1], of, units, state.due or 0, state.anchor or 0, state.since or 0, state.done == true }
  end
end

local counted, open = {}, {}
for name, times in pairs(field.c and cmsgpack.unpack(field.c) or {}) do counted[#counted + 1] = { name, times } end
for campaign, entries in pairs(field.p and cmsgpack.unpack(field.p) or {}) do
  for _, entry in ipairs(entries) do open[#open + 1] = { campaign, entry.per, gates.waits(entry) and entry.due or 0, entry.until_ } end
end

local lost = {}
for key, when in pairs(field.f and cmsgpack.unpack(field.f) or {}) do lost[#lost + 1] = { key, when[1], when[2] } end

return cmsgpack.pack({
  field.g or "",
  tonumber(field.m or 0),
  #(field.d or "") / machine.DIGEST,
  redis.call("PTTL", row),
  runs,
  counted,
  open,
  lost,
})
