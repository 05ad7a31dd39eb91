--[[
Apply one event to one user's row: duplicates, effective time, targets, every trigger it concerns, and the gates
that a match has to pass. Or, as a tick: let the pending absence of one run fall due.

KEYS[1]   the user's row, a hash: g targets, m last effective time, d digests of recent message ids,
          r stored results of those that fired, t:<trigger> progress, c what is counted and p what is open
          (`counted` and `open` of gates.lua), e times of events (rate.lua), o offers (offers.lua), n what was called
          off (cancellations.lua), l the user that a visitor has become, f what was lost when a user was no target any more:
          {trigger -> {ms, generation}}
KEYS[2]   the partition's agenda, a sorted set: due ms of ["absence", site, user, trigger, per] and of
          ["handover", key of an activation], both in JSON
KEYS[3]   the partition's activations that nobody has acknowledged, a hash: key -> fire
KEYS[4]   the partition's counters, a hash: [day, site, campaign, what] in JSON -> number; born: when it was made
KEYS[5]   who of the site is on the way in this partition, a sorted set: trigger key and user, one after the other ->
          the time from which on his progress leads nowhere any more
ARGV[1]   MessagePack of {
            site, user
            at, received ms; history: at counts as received, and must not lie before the row's last time
            tick         true: no event; an absence due at `at` fires, and the rest of the row stays
            patience     ms after which a fire that nobody acknowledged is handed over again
            grace        ms that a pending absence waits beyond its deadline for events still on their way
            generation, ruleset   versions the caller knows
            targets      list of trigger keys the user is a target of, or nil: the caller has not looked
            keep         with targets: the keys of all triggers whose progress may stay
            live         with targets: {key -> campaign} of all triggers that are live
            ttl          ms the row lives on
            limit        {max, per}: how many events are taken, or nil
            follows      true: where the visitor has become a user, the event is the user's
            fresh        true: its answer can hold a popup
            triggers     list of {key, everyone, bits, per, program, ref, note, watch, closed, policy, offer}
          }
          of a trigger:  ref = {campaign, ruleset, channel, trigger} and note come back; watch: what the event is to
          earlier activations (bits of gates.lua); closed: the gate that the caller found closed, or nil: `holdout`
          only where none of the others is, here or there;
          policy = {priority, delay, goal, cancel_on_goal, recall, limits, until_seen}, each may be nil;
          offer: the id of the activation, where it is offered until it is seen.
          A tick has one trigger; without a program: the caller knows no such trigger any more.
ARGV[2]   8 bytes that stand for the message id; empty for a tick
Returns   MessagePack of {code, at, fires = {[key, ref, at, reason, since, per, note, gate, due, born,
          expires]...}, evicted, offer, wait, user, moving};
          reason: match, absence, or goal (no match: the activation of `key` is converted, and with gate `goal` called
          back where it is held);
          gate: what stopped it, or empty; due: when it is to be delivered, later than `at` where it is delayed;
          born: of the counters; expires: when it is offered no more, or 0; evicted: campaigns that lost a run
          because a user had too many; offer: an earlier fire that is offered again, or nil.
          code 0 decided    1 seen before: the stored fires    2 user is no target: nothing was done
          3 the visitor has become `user`: the event is his, call again; `moving`: first finish what is half done
          -1 targets unknown: look and call again         -2 ruleset older than the row's: reload, call again
          -3 history before the row's last time: refused
          -4 more events than the limit: refused, until `wait` ms have passed
Atomic    because a message must be counted once, and of two completing events only one may fire, however
          many callers there are:  A reads 2 wins, B reads 2 wins, A fires, B fires - cannot happen here; nor
          A reads "2 of 3 popups", B reads "2 of 3 popups", A shows, B shows.
          A match, its place in the caps and its note in the agenda are one: a caller that dies afterwards has
          lost nothing.
]]
--- @include machine
--- @include gates
--- @include rate
--- @include offers
--- @include cancellations
local row, agenda, unacknowledged, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local on_the_way = KEYS[5]
local event, digest = cmsgpack.unpack(ARGV[1]), ARGV[2]
local triggers = event.triggers

local fields = { "g", "m", "d", "r", "e", "o", "l" }
local OTHERS = #fields
for i, trigger in ipairs(triggers) do fields[OTHERS + i] = "t:" .. trigger.key end
local stored = redis.call("HMGET", row, unpack(fields))
local targets, time, seen, results = stored[1], tonumber(stored[2] or 0), stored[3] or "", stored[4] or ""

local evicted_from, offered = {}, nil
local function answer(code, fires)
  return cmsgpack.pack({ code = code, fires = fires or {}, at = time, evicted = evicted_from, offer = offered })
end

local function hex(bytes)
  return (string.gsub(bytes, ".", function(byte) return string.format("%02x", string.byte(byte)) end))
end

if not event.tick and machine.is_seen(seen, digest) then
  local _, body = machine.result(results, digest)
  return answer(1, body and cmsgpack.unpack(body))
end

local became = stored[7]
if became and event.follows then
  redis.call("PEXPIRE", row, event.ttl, "GT") -- whoever is here is this user still
  local is_moving = redis.call("HEXISTS", row, "x") == 1
  return cmsgpack.pack({ code = 3, fires = {}, at = time, user = became, moving = is_moving })
end

local writes, gone = {}, {}
local function write(field, value)
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end

local limit = event.limit
if limit then
  local wait = rate.wait(stored[5] or "", event.received, limit[1], limit[2])
  if wait then return cmsgpack.pack({ code = -4, fires = {}, at = time, wait = wait }) end
  write("e", rate.take(stored[5] or "", event.received, limit[1]))
end

local offering = stored[6] and cmsgpack.unpack(stored[6]) or {}
local function offer()
  if event.fresh then offered = offers.turn(offering, event.received) end
  if #offering > 0 then
    write("o", cmsgpack.pack(offering))
  elseif stored[6] then
    gone[#gone + 1] = "o"
  end
end

-- Longer, never shorter: what still waits was promised under a ruleset that may have had longer delays.
local function live_on()
  if targets then
    redis.call("PEXPIRE", row, event.ttl, "GT")
  else -- GT takes a key that never expires, as a new one, for one that lives longest
    redis.call("PEXPIRE", row, event.ttl)
  end
end

-- The end for an event that means nothing to the user.
local function pass_by()
  if not event.tick then offer() end
  if #gone > 0 then redis.call("HDEL", row, unpack(gone)) end
  if #writes > 0 then
    redis.call("HSET", row, unpack(writes))
    live_on()
  end
  return answer(2)
end

-- An event that could only cancel or convert means nothing to a user of whom nothing is open.
local is_about_a_trigger = event.tick
for _, trigger in ipairs(triggers) do is_about_a_trigger = is_about_a_trigger or trigger.bits > 0 end
if not is_about_a_trigger and redis.call("HEXISTS", row, "p") == 0 then return pass_by() end

-- Targets: "<generation>:<ruleset>:<key>,<key>,", or with "?" in place of the keys while nobody has looked.
local generation, ruleset, keys
if targets then
  generation, ruleset, keys = string.match(targets, "^(%d+):(%d+):(.*)$")
  generation, ruleset = tonumber(generation), tonumber(ruleset)
  if ruleset > event.ruleset then return answer(-2) end
end

local function appointment(trigger, per)
  return cjson.encode({ "absence", event.site, event.user, trigger.key, per })
end

if event.tick and not (targets and triggers[1].program) then
  -- No row, or no such trigger any more: nothing is pending, whatever the agenda says.
  redis.call("HDEL", row, fields[OTHERS + 1])
  redis.call("ZREM", agenda, appointment(triggers[1], triggers[1].per))
  return answer(2)
end

local function tally(campaign, what)
  local day = math.floor(event.received / 86400000)
  redis.call("HINCRBY", counters, cjson.encode({ day, event.site, campaign, what }), 1)
end

-- Drop progress of triggers that changed or ended, and of those that are live but this user's no longer: that is
-- written down, until he is their target again.
local function drop_progress()
  local kept, live, lost = {}, event.live or {}, {}
  for _, key in ipairs(event.keep) do kept[key] = true end
  local before = redis.call("HGET", row, "f")
  for key, when in pairs(before and cmsgpack.unpack(before) or {}) do
    if live[key] and not kept[key] then lost[key] = when end
  end
  for _, field in ipairs(redis.call("HKEYS", row)) do
    local key = string.sub(field, 1, 2) == "t:" and string.sub(field, 3)
    if key and not kept[key] then
      redis.call("HDEL", row, field)
      redis.call("ZREM", on_the_way, key .. event.user)
      if live[key] then
        lost[key] = { event.received, event.generation }
        tally(live[key], "target")
      end
    end
  end
  for i, trigger in ipairs(triggers) do
    if not kept[trigger.key] then stored[OTHERS + i] = false end
  end
  if next(lost) then
    write("f", cmsgpack.pack(lost))
  elseif before then
    redis.call("HDEL", row, "f")
  end
end

local for_everyone = true
for _, trigger in ipairs(triggers) do for_everyone = for_everyone and trigger.everyone end
local outdated = targets and (ruleset < event.ruleset or generation < event.generation)
if not targets or outdated or (keys == "?" and not for_everyone) then
  if event.targets then
    keys = table.concat(event.targets, ",") .. ","
    if outdated then drop_progress() end
  elseif targets or not for_everyone then
    return answer(-1)
  else
    keys = "?"
  end
  write("g", event.generation .. ":" .. event.ruleset .. ":" .. keys)
end

local concerned = {}
for i, trigger in ipairs(triggers) do
  if trigger.everyone or string.find("," .. keys, "," .. trigger.key .. ",", 1, true) then
    concerned[#concerned + 1] = i
  end
end

-- Earlier activations can be cancelled and converted whether or not the user is a target still.
local is_watched = false
for _, trigger in ipairs(triggers) do is_watched = is_watched or (trigger.watch or 0) > 0 end
is_watched = is_watched and redis.call("HEXISTS", row, "p") == 1

if #concerned == 0 and not is_watched then
  if event.tick then redis.call("ZREM", agenda, appointment(triggers[1], triggers[1].per)) end
  return pass_by()
end

if event.history and event.at < time then return answer(-3) end
local received = event.history and event.at or event.received
if not event.tick and is_about_a_trigger then time = math.max(event.at, time) end

local fires, passed = {}, {}
local counted, open, noted -- read when they are needed: most events need none

local function count(trigger, what) tally(trigger.ref[1], what) end

local function stored_map(field)
  local packed = redis.call("HGET", row, field)
  return packed and cmsgpack.unpack(packed) or {}
end

-- Write a fire down to be handed over, unless it is acknowledged before.
local function promise(report, due)
  fires[#fires + 1] = report
  redis.call("HSET", unacknowledged, report[1], cmsgpack.pack(report))
  redis.call("ZADD", agenda, due or event.received + event.patience, cjson.encode({ "handover", report[1] }))
end

-- The names of a key under which something of the activation `key` is told: of this user, though it was of the visitor
-- that he was, who stands at their end then. `what`: nil, or goal.
local function told_as(key, what)
  local names = cjson.decode(key)
  if names[2] ~= event.user then
    names[2], names[6], names[7] = event.user, what or "", names[2]
  else
    names[6] = what
  end
  return names
end

-- What the event is to activations before it: their goal, or the reason to cancel them.
local function watch(trigger)
  open = open or stored_map("p")
  local campaign = trigger.ref[1]
  local cancelled, converted =
    gates.watch(open, campaign, trigger.per, trigger.watch, trigger.policy.cancel_on_goal, event.received)
  for _, each in ipairs(cancelled) do
    local packed = redis.call("HGET", unacknowledged, each[1])
    local report = packed and cmsgpack.unpack(packed) or each[3]
    if report then
      report[1], report[8] = cjson.encode(told_as(each[1])), each[2]
      promise(report)
      if packed then count(trigger, each[2]) end -- else the ledger knows whether it came in time
    end
  end
  for _, key in ipairs(converted) do
    local names = told_as(key, "goal")
    local gate = trigger.policy.cancel_on_goal and "goal" or ""
    promise({ cjson.encode(names), trigger.ref, event.at, "goal", event.at, names[4], "", gate, 0, "" })
    count(trigger, "converted")
  end
end

-- Note until when there is progress under a trigger: for people who are about to change it.
local function note_progress(trigger, runs, had_any)
  local member, ends = trigger.key .. event.user, nil
  for _, run in ipairs(runs) do ends = math.max(ends or 0, machine.ends(trigger.program, run.state)) end
  if ends and ends > event.received then
    redis.call("ZADD", on_the_way, ends, member)
    redis.call("ZREMRANGEBYSCORE", on_the_way, "-inf", event.received)
    redis.call("PEXPIRE", on_the_way, event.ttl)
  elseif had_any then
    redis.call("ZREM", on_the_way, member)
  end
end

local function advance(i)
  local trigger, field = triggers[i], fields[OTHERS + i]
  local program, per = trigger.program, trigger.per
  local late = received - event.at > program.backdate
  if not event.tick and trigger.everyone and machine.calls_off(program, trigger.bits) then
    noted = noted or stored_map("n")
    cancellations.note(noted, trigger.key, per, late and event.at or time, program.absent.wait)
  end
  local runs = {}
  for n, run in ipairs(stored[OTHERS + i] and cmsgpack.unpack(stored[OTHERS + i]) or {}) do
    runs[n] = { per = run[1], state = machine.thaw(program, run[2]) }
  end
  local fire, evicted
  if event.tick then
    fire = machine.expire_run(program, runs, per, event.at)
    if fire then -- it has used up all before its deadline: nothing is accepted into that time any more
      time = math.max(fire.at, time)
      write("m", tostring(time))
    end
  else
    fire, evicted =
      machine.advance_run(program, runs, per, trigger.bits, time, event.at, late, nil, trigger.note)
  end
  if fire then passed[#passed + 1] = { trigger = trigger, fire = fire } end
  if evicted then
    evicted_from[#evicted_from + 1] = trigger.ref[1]
    count(trigger, "evicted")
  end
  if program.absent then
    local state = machine.run(runs, per)
    if state and state.due then
      -- History has a clock of its own: only later events of the user let its absences fall due.
      if not event.history then redis.call("ZADD", agenda, state.due + event.grace, appointment(trigger, per)) end
    else
      redis.call("ZREM", agenda, appointment(trigger, per))
    end
    if evicted then redis.call("ZREM", agenda, appointment(trigger, evicted)) end
  end
  note_progress(trigger, runs, stored[OTHERS + i])
  if #runs > 0 then
    local frozen = {}
    for n, run in ipairs(runs) do frozen[n] = { run.per, machine.freeze(program, run.state) } end
    write(field, cmsgpack.pack(frozen))
  elseif stored[OTHERS + i] then
    gone[#gone + 1] = field
  end
end

local is_shown = false

-- The gates, for the most important match first: there is one popup at a time. Who is held out passes all of them as
-- others do, and waits as they do, but takes no place: so the two can be compared.
local function decide()
  table.sort(passed, function(a, b)
    local first, second = a.trigger.policy.priority or 0, b.trigger.policy.priority or 0
    return first > second or (first == second and a.trigger.ref[1] < b.trigger.ref[1])
  end)
  counted, open = counted or stored_map("c"), open or stored_map("p")
  for _, match in ipairs(passed) do
    local trigger, fire = match.trigger, match.fire
    local policy, is_popup = trigger.policy, trigger.ref[3] == "popup"
    local last = fire.reason == "match" and hex(digest) or tostring(fire.at)
    local key = cjson.encode({ event.site, event.user, trigger.key, trigger.per, last })
    local due = fire.at + (policy.delay or 0)
    local is_history = cjson.decode(fire.note)[5] -- what a pending absence was set by counts, not what ended it
    local is_held_out = trigger.closed == "holdout"
    local gate = is_history and "history" or not is_held_out and trigger.closed
    gate = gate or gates.stops(policy.limits, counted, event.received)
    if not gate and is_popup and is_shown then gate = "priority" end
    local entry = { key = key, per = trigger.per, due = 0, until_ = 0, ends = 0 }
    if policy.delay then
      entry.due, entry.ends = due, policy.recall and due + policy.recall or 0
    end
    if policy.goal then entry.until_ = math.max(due, event.received) + policy.goal end
    if not gate and entry.due + entry.until_ > 0 and not gates.remember(open, trigger.ref[1], entry) then
      gate = "crowded"
    end
    local waits, born, expires = not gate and policy.delay, "", 0
    if gate then
      due = fire.at
    else
      gate = is_held_out and "holdout" or nil
      is_shown = is_shown or (is_popup and not is_held_out)
      gates.count(policy.limits, counted, event.received, event.ttl, is_held_out)
      if waits then
        redis.call("HSETNX", counters, "born", tostring(event.received))
        born = redis.call("HGET", counters, "born")
      end
      if trigger.offer and not gate then expires = event.received + policy.until_seen end
    end
    count(trigger, gate or "activated")
    local report =
      { key, trigger.ref, fire.at, fire.reason, fire.since, trigger.per, fire.note, gate or "", due, born, expires }
    promise(report, waits and due or nil)
    if expires > 0 then offers.add(offering, trigger.offer, expires, event.received, report) end
  end
end

for _, trigger in ipairs(is_watched and not event.history and triggers or {}) do
  if (trigger.watch or 0) > 0 then watch(trigger) end
end
for _, i in ipairs(concerned) do
  if event.tick or triggers[i].bits > 0 then advance(i) end
end
if #passed > 0 then decide() end
if is_shown then event.fresh = false end -- one popup an answer: what is new goes first
if not event.tick then offer() end
if open then gates.tidy(open, event.received) end
if noted then cancellations.tidy(noted, received) end
for field, map in pairs({ c = counted, p = open, n = noted }) do
  if next(map) then
    write(field, cmsgpack.pack(map))
  else
    gone[#gone + 1] = field
  end
end

if not event.tick then
  local forgotten
  seen, forgotten = machine.remember(seen, digest)
  if forgotten then results = machine.forget(results, forgotten) end
  if #fires > 0 then
    local body = cmsgpack.pack(fires)
    local length = string.char(math.floor(#body / 65536), math.floor(#body / 256) % 256, #body % 256)
    results = results .. digest .. length .. body
  end
  for field, value in pairs({ m = tostring(time), d = seen, r = results }) do
    if value ~= "" then
      write(field, value)
    elseif stored[4] then
      gone[#gone + 1] = field
    end
  end
end
if #writes > 0 then redis.call("HSET", row, unpack(writes)) end
if #gone > 0 then redis.call("HDEL", row, unpack(gone)) end
live_on()
return answer(0, fires)
