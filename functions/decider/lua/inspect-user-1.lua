--[[
Read what is stored of one user, for the command `why`; change nothing.

KEYS[1]   the user's row
ARGV[1]   MessagePack of {trigger key -> program}: the live triggers
Returns   MessagePack of {targets, time, recent, lives, runs, counted, open, lost}, or of false if there is no row
          targets   "<generation>:<ruleset>:<key>,<key>,", see apply-event-5.lua       time   last effective time, ms
          recent    how many message ids are remembered       lives   ms until the row expires without further events
          runs      list of {trigger, per, of, units, due, anchor, since, done}: `of` events are a match, `units` is a
                    list of {events reached, time of the first, time before which the next one counts or 0, the limit
                    that ends then: within, gap or inner}; due, anchor, since: of a pending absence, or 0
          counted   list of {name, times}       open   list of {campaign, per, due, until}, see gates.lua
          lost      list of {trigger, ms, generation}: progress that went when the user was no longer a target
Atomic    because progress and used caps must be read at the same instant.
]]
--- @include machine
--- @include messages
--- @include gates
local row = KEYS[1]
local programs = cmsgpack.unpack(ARGV[1])

local stored = redis.call("HGETALL", row)
if #stored == 0 then return cmsgpack.pack(false) end
local field = {}
for i = 1, #stored, 2 do field[stored[i]] = stored[i + 1] end

local function unpacked(name) return field[name] and cmsgpack.unpack(field[name]) or {} end

-- Return the step that the unit step `wanted` belongs to, and its number within that step.
local function step_of(program, wanted)
  local unit = 0
  for _, step in ipairs(program.steps) do
    if wanted <= unit + step.times then return step, wanted - unit end
    unit = unit + step.times
  end
end

-- Return the first limit that the event after `unit` must keep, as `machine.advance` tests them.
local function limit(program, state, unit)
  local column = program.members and state.last or state.start
  local ends, name = 0, ""
  local function at_most(time, what)
    if ends == 0 or time < ends then ends, name = time, what end
  end
  if program.within then at_most(column[unit] + program.within, "within") end
  if program.steps then
    local step, n = step_of(program, unit + 1)
    if n == 1 and step.gap then at_most(state.last[unit] + step.gap, "gap") end
    if n > 1 and step.inner then at_most(state.inner[unit] + step.inner, "inner") end
  end
  return ends, name
end

local runs = {}
for key, program in pairs(programs) do
  for _, run in ipairs(unpacked(ROW.progress .. key)) do
    local state = machine.thaw(program, run[RUN.state])
    local column = program.members and state.last or state.start
    local of = program.members and #program.members or program.units
    local units = {}
    for unit = 1, of do
      if column and column[unit] then
        units[#units + 1] = { unit, column[unit], limit(program, state, unit) }
      end
    end
    runs[#runs + 1] =
      { key, run[RUN.per], of, units, state.due or 0, state.anchor or 0, state.since or 0, state.done == true }
  end
end

local counted, open = {}, {}
for name, times in pairs(unpacked(ROW.counted)) do counted[#counted + 1] = { name, times } end
for campaign, entries in pairs(unpacked(ROW.open)) do
  for _, entry in ipairs(entries) do
    local due = gates.is_waiting(entry) and entry[ENTRY.due] or 0
    open[#open + 1] = { campaign, entry[ENTRY.per], due, entry[ENTRY.converts_until] }
  end
end

local lost = {}
for key, one in pairs(unpacked(ROW.lost)) do lost[#lost + 1] = { key, one[LOST.at], one[LOST.generation] } end

return cmsgpack.pack({
  field[ROW.targets] or "",
  tonumber(field[ROW.time] or 0),
  messages.count(field[ROW.recent] or "") + messages.count(field[ROW.older] or ""),
  redis.call("PTTL", row),
  runs,
  counted,
  open,
  lost,
})
