--[[
Drives machine.lua over recorded events, with all rows in memory.

Called with (machine, programs); returns apply and finish:
  apply(user, digest, at, id, trigger, bits, per, ...)   one event of a user; trigger, bits and per repeat
      for each trigger it concerns. Returns nil, or a list of fires; -1 when it is older than the user's
      last event; 0 when its id was seen before
  finish(until)   fires the absences that are due by then: a list of fires
A fire is {user, trigger, at, reason, per, ids}.
]]
local machine, programs = ...
local rows = {}

local function ids_of(link)
  local ids = {}
  while link do
    ids[#ids + 1] = link[1]
    link = link[2]
  end
  return ids
end

local function report(fires, user, trigger, per, fire)
  fires = fires or {}
  fires[#fires + 1] = { user, trigger, fire.at, fire.reason, per, ids_of(fire.link) }
  return fires
end

local function apply(user, digest, at, id, trigger, bits, per, ...)
  local row = rows[user]
  if not row then
    row = { time = at, seen = "", runs = {} }
    rows[user] = row
  elseif machine.is_seen(row.seen, digest) then
    return 0
  elseif at < row.time then
    return -1
  end
  row.time = at
  row.seen = machine.remember(row.seen, digest)
  local fires, more = nil, 1
  while trigger do
    local runs = row.runs[trigger]
    if not runs then
      runs = {}
      row.runs[trigger] = runs
    end
    local fire = machine.advance_run(programs[trigger], runs, per, bits, at, at, false, id)
    if fire then fires = report(fires, user, trigger, per, fire) end
    trigger, bits, per = select(more, ...)
    more = more + 3
  end
  return fires
end

local function finish(until_)
  local fires
  for user, row in pairs(rows) do
    for trigger, runs in pairs(row.runs) do
      for _, run in ipairs(runs) do
        local fire = machine.expire(programs[trigger], run.state, until_)
        if fire then fires = report(fires, user, trigger, run.per, fire) end
      end
    end
  end
  return fires
end

return apply, finish
