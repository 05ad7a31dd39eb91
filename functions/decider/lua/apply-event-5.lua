--[[
Apply one event to one user's row: deduplicate it, find its effective time, check the user's targets, advance every
trigger that it matters to, and pass matches through the gates. Or, as a tick, let the pending absence of one run fall due.

KEYS[1]   the user's row, a hash: decider/layout.py lists its fields
KEYS[2]   the partition's timers, a sorted set: due ms of ["absence", site, user, trigger, per], of
          ["handover", key of an activation], and of ["move", site, visitor], in JSON
KEYS[3]   the partition's unacknowledged activations, a hash: key -> packed firing
KEYS[4]   the partition's counters, a hash: [day, site, campaign, what] in JSON -> number;
          state_epoch -> when the first delayed activation was written, ms
KEYS[5]   the site's users with progress in this partition, a sorted set: trigger key, then user -> the time from which
          on the progress leads nowhere
ARGV[1]   MessagePack of {
            site, user
            at, received   ms
            clock          the caller's own time, ms, or nil: what is ahead of it and of this store is not believed
            history        true: `at` counts as the time of receipt, and must not lie before the row's last time
            tick           true: no event; an absence that is due at `at` fires, and the rest of the row stays
            ack_timeout    ms after which an unacknowledged activation is handed over again
            grace          ms that a pending absence waits beyond its deadline for events that are still in transit
            generation, ruleset   the versions that the caller knows
            targets        keys of the triggers that the user is a target of, or nil: not looked up
            keep           with targets: keys of all triggers with progress that may stay
            live           with targets: {key -> campaign} of all live triggers
            ttl            ms that the row lives on
            limit          {max, per}: how many events are accepted, or nil
            verified       true: if the visitor has become a user, the event counts for the user
            answerable     true: the response can show a popup
            triggers       list of {key, everyone, bits, per, program, ref, note, watch, gate, policy, offer}
          }
          of a trigger: ref = {campaign, ruleset, channel, trigger} and note come back unchanged
          program          nil in a tick: the caller does not know the trigger, so it is no longer live
          watch            what the event is to earlier activations: bits of gates.lua
          gate             the gate that stops a match, as the caller found, or nil; `holdout` comes after all others
          policy           {priority, delay, goal, cancel_on_goal, recall, limits, until_seen}, each may be nil
          offer            the id of the activation, if its popup is offered until it is seen
          A tick has one trigger.
ARGV[2]   8 bytes that stand for the message id; empty for a tick
Returns   MessagePack of {code, firings, at, evicted, offer, retry_after, user, is_moving}
          firings          packed as FIRING in decider/layout.py; `reason` is match, absence, or goal: then the activation
                           of `key` has converted, and is called back if its `gate` is goal
          evicted          campaigns that lost a run because the user had too many
          offer            an earlier firing with a popup that is offered again, or nil
          code 0 decided    1 seen before: the stored firings    2 the user is not a target: nothing was done
          3 the visitor has become `user`: repeat the call for that user, but first finish the move if `is_moving`
          -1 targets unknown: look them up and repeat     -2 ruleset older than the row's: reload and repeat
          -3 history before the row's last time: refused
          -4 more events than the limit: refused, until `retry_after` ms have passed
Atomic    because a message must count once, and of two events that complete a match only one may fire, however many
          callers there are. These cannot happen here:
          A reads 2 wins, B reads 2 wins, A fires, B fires
          A reads "2 of 3 popups", B reads "2 of 3 popups", A shows one, B shows one
          A match, its count in the caps and its timer are written together, so a caller that dies afterwards loses
          nothing.
]]
--- @include machine
--- @include messages
--- @include gates
--- @include rate
--- @include offers
--- @include cancellations
local row, timers, unacknowledged, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local in_progress = KEYS[5]
local event, digest = cmsgpack.unpack(ARGV[1]), ARGV[2]
local triggers = event.triggers

local latest = event.clock and event.clock + CLOCK.max_ahead or math.huge
-- Return by how many ms `time` is ahead of the caller's clock and of this store's; 0 if it is not.
local function ahead(time)
  if time <= latest then return 0 end
  local s, us = unpack(redis.call("TIME"))
  latest = math.max(latest, s * 1000 + math.floor(us / 1000) + CLOCK.max_ahead)
  return math.max(0, time - latest)
end
local excess = ahead(event.received)
if excess > 0 then -- the age of the event is right: one clock gave both times
  event.received = event.received - excess
  event.at = event.history and math.min(event.at, event.received) or event.at - excess
end
local received = event.history and event.at or event.received

local fields =
  { ROW.targets, ROW.time, ROW.recent, ROW.older, ROW.event_times, ROW.offers, ROW.became, ROW.cancellations }
local FIRST = #fields -- the fields of the triggers come after it
for i, trigger in ipairs(triggers) do fields[FIRST + i] = ROW.progress .. trigger.key end
local stored = redis.call("HMGET", row, unpack(fields))
local targets, stored_time, recent, stored_older, event_times, stored_offers, became, stored_called_off =
  unpack(stored, 1, FIRST)
local time, older = tonumber(stored_time or 0), stored_older or ""
if ahead(time) > 0 then time = 0 end -- a clock was wrong; this event says what time it is
recent = recent or ""

local evicted_from, offered = {}, nil
local function answer(code, firings)
  return cmsgpack.pack({ code = code, firings = firings or {}, at = time, evicted = evicted_from, offer = offered })
end

local function hex(bytes)
  return (string.gsub(bytes, ".", function(byte) return string.format("%02x", string.byte(byte)) end))
end

if not event.tick and messages.is_known(recent, older, digest) then
  local body = messages.result(redis.call("HGET", row, ROW.results) or "", digest)
  return answer(OUTCOME.SEEN, body and cmsgpack.unpack(body))
end

if became and event.verified then
  redis.call("PEXPIRE", row, event.ttl, "GT") -- the visitor still sends events, as this user
  local is_moving = redis.call("HEXISTS", row, ROW.moving) == 1
  return cmsgpack.pack({
    code = OUTCOME.VISITOR_BECAME_USER,
    firings = {},
    at = time,
    user = became,
    is_moving = is_moving,
  })
end

local writes, gone = {}, {}
local function write(field, value)
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end

local limit = event.limit
if limit then
  local max, per = limit[1], limit[2]
  local wait = rate.wait(event_times or "", event.received, max, per)
  if wait then
    return cmsgpack.pack({ code = OUTCOME.RATE_LIMITED, firings = {}, at = time, retry_after = wait })
  end
  write(ROW.event_times, rate.add(event_times or "", event.received, max))
end

local offering = stored_offers and cmsgpack.unpack(stored_offers) or {}
local is_answerable = event.answerable
local function offer_again()
  if is_answerable then offered = offers.next(offering, event.received) end
  if #offering > 0 then
    write(ROW.offers, cmsgpack.pack(offering))
  elseif stored_offers then
    gone[#gone + 1] = ROW.offers
  end
end

local called_off, has_changed = nil, false -- unpacked only when needed
local function load_called_off()
  if not called_off then
    called_off = stored_called_off and cmsgpack.unpack(stored_called_off) or {}
    has_changed = cancellations.tidy(called_off, received)
  end
  return called_off
end

-- Return when the run `per` was last ended, before this event.
local function ended_at(key, per)
  return stored_called_off and cancellations.last(load_called_off(), key, per)
end

local function note_end(key, per, keep)
  if received - event.at >= keep then return end
  cancellations.note(load_called_off(), key, per, event.at, keep)
  has_changed = true
end

-- Note an event that ends delayed activations: what begins an older one may still arrive. Return for how many ms.
local function note_ends_of_delays()
  local longest = 0
  for _, trigger in ipairs(event.history and {} or triggers) do
    local watch, policy = trigger.watch or 0, trigger.policy
    if watch > 0 and policy.delay and trigger.program then
      local is_cancel = watch % gates.GOAL == gates.CANCEL
      if is_cancel or policy.cancel_on_goal then
        note_end((is_cancel and "=" or "+") .. trigger.key, trigger.per, trigger.program.backdate)
        longest = math.max(longest, trigger.program.backdate)
      end
    end
  end
  return longest
end

local function store_called_off()
  if not has_changed then return end
  if next(called_off) then
    write(ROW.cancellations, cmsgpack.pack(called_off))
  else
    gone[#gone + 1] = ROW.cancellations
  end
end

-- The life of a row gets longer, never shorter: what still waits may be from a ruleset with longer delays.
local function extend_life()
  if targets then
    redis.call("PEXPIRE", row, event.ttl, "GT")
  else -- a new key never expires, and GT would leave it so
    redis.call("PEXPIRE", row, event.ttl)
  end
end

-- Finish with an event that does not matter to this user.
local function finish_unused()
  if not event.tick then offer_again() end
  local others = #writes
  local keep = note_ends_of_delays()
  store_called_off()
  if #gone > 0 then redis.call("HDEL", row, unpack(gone)) end
  if others > 0 then
    redis.call("HSET", row, unpack(writes))
    extend_life()
  elseif #writes > 0 then -- a row of nothing else goes when this no longer matters
    local is_new = redis.call("EXISTS", row) == 0
    redis.call("HSET", row, unpack(writes))
    if is_new then
      redis.call("PEXPIRE", row, keep)
    else
      redis.call("PEXPIRE", row, keep, "GT")
    end
  end
  return answer(OUTCOME.NO_TARGET)
end

-- An event that can only cancel or convert does not matter if no activation is open.
local is_about_a_trigger = event.tick
for _, trigger in ipairs(triggers) do is_about_a_trigger = is_about_a_trigger or trigger.bits > 0 end
if not is_about_a_trigger and redis.call("HEXISTS", row, ROW.open) == 0 then return finish_unused() end

local generation, ruleset, keys
if targets then
  generation, ruleset, keys = string.match(targets, "^(%d+):(%d+):(.*)$")
  generation, ruleset = tonumber(generation), tonumber(ruleset)
  if ruleset > event.ruleset then return answer(OUTCOME.RULESET_OUTDATED) end
end

local function absence_timer(trigger, per)
  return cjson.encode({ "absence", event.site, event.user, trigger.key, per })
end

if event.tick and not (targets and triggers[1].program) then
  -- Without the row or the trigger, nothing is pending: the timer is stale.
  redis.call("HDEL", row, fields[FIRST + 1])
  redis.call("ZREM", timers, absence_timer(triggers[1], triggers[1].per))
  return answer(OUTCOME.NO_TARGET)
end

local function count_for(campaign, what)
  local day = math.floor(event.received / 86400000)
  redis.call("HINCRBY", counters, cjson.encode({ day, event.site, campaign, what }), 1)
end

-- Drop progress of triggers that changed or ended, or that the user is no longer a target of. The latter is noted until
-- the user is a target again.
local function drop_progress()
  local kept, live, lost = {}, event.live or {}, {}
  for _, key in ipairs(event.keep) do kept[key] = true end
  local before = redis.call("HGET", row, ROW.lost)
  for key, one in pairs(before and cmsgpack.unpack(before) or {}) do
    if live[key] and not kept[key] then lost[key] = one end
  end
  for _, field in ipairs(redis.call("HKEYS", row)) do
    local key = string.sub(field, 1, 2) == ROW.progress and string.sub(field, 3)
    if key and not kept[key] then
      redis.call("HDEL", row, field)
      redis.call("ZREM", in_progress, key .. event.user)
      if live[key] then
        lost[key] = { event.received, event.generation }
        count_for(live[key], "target")
      end
    end
  end
  for i, trigger in ipairs(triggers) do
    if not kept[trigger.key] then stored[FIRST + i] = false end
  end
  if next(lost) then
    write(ROW.lost, cmsgpack.pack(lost))
  elseif before then
    redis.call("HDEL", row, ROW.lost)
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
    return answer(OUTCOME.TARGETS_UNKNOWN)
  else
    keys = "?"
  end
  write(ROW.targets, event.generation .. ":" .. event.ruleset .. ":" .. keys)
end

local concerned = {}
for i, trigger in ipairs(triggers) do
  if trigger.everyone or string.find("," .. keys, "," .. trigger.key .. ",", 1, true) then
    concerned[#concerned + 1] = i
  end
end

-- Earlier activations can be cancelled and converted even if the user is no longer a target.
local is_watched = false
for _, trigger in ipairs(triggers) do is_watched = is_watched or (trigger.watch or 0) > 0 end
is_watched = is_watched and redis.call("HEXISTS", row, ROW.open) == 1

if #concerned == 0 and not is_watched then
  if event.tick then redis.call("ZREM", timers, absence_timer(triggers[1], triggers[1].per)) end
  return finish_unused()
end

if event.history and event.at < time then return answer(OUTCOME.HISTORY_TOO_LATE) end
if not event.tick and is_about_a_trigger then time = math.max(event.at, time) end

local firings, matches = {}, {}
local counted, open -- read only when needed: most events need none of them

local function count(trigger, what) count_for(trigger.ref[REF.campaign], what) end

local function stored_map(field)
  local packed = redis.call("HGET", row, field)
  return packed and cmsgpack.unpack(packed) or {}
end

-- Write a firing down, with the timer that hands it over unless it is acknowledged before.
local function store(firing, due)
  firings[#firings + 1] = firing
  local key = firing[FIRING.key]
  redis.call("HSET", unacknowledged, key, cmsgpack.pack(firing))
  redis.call("ZADD", timers, due or event.received + event.ack_timeout, cjson.encode({ "handover", key }))
end

-- Return the names of the key for a firing about the activation `key`. If the activation matched as a visitor, the key
-- names this user, so that it lies in this partition, and the visitor at its end. `about`: nil, or goal.
local function names_about(key, about)
  local names = cjson.decode(key)
  if names[KEY.user] ~= event.user then
    names[KEY.user], names[KEY.about], names[KEY.visitor] = event.user, about or "", names[KEY.user]
  else
    names[KEY.about] = about
  end
  return names
end

-- Cancel, call back or convert the activations that the event concerns.
local function watch(trigger)
  open = open or stored_map(ROW.open)
  local campaign = trigger.ref[REF.campaign]
  local cancelled, converted =
    gates.watch(open, campaign, trigger.per, trigger.watch, trigger.policy.cancel_on_goal, event.at, event.received)
  for _, each in ipairs(cancelled) do
    local key, gate, kept = each[1], each[2], each[3]
    local packed = redis.call("HGET", unacknowledged, key)
    local firing = packed and cmsgpack.unpack(packed) or kept
    if firing then
      firing[FIRING.key], firing[FIRING.gate] = cjson.encode(names_about(key)), gate
      store(firing)
      if packed then count(trigger, gate) end -- if not, only the ledger knows whether it came in time
    end
  end
  for _, key in ipairs(converted) do
    local names = names_about(key, "goal")
    local gate = trigger.policy.cancel_on_goal and "goal" or ""
    store({ cjson.encode(names), trigger.ref, event.at, "goal", event.at, names[KEY.per], "", gate, 0, "" })
    count(trigger, "converted")
  end
end

-- Note until when the user has progress under a trigger, for people who are about to change it.
local function note_progress(trigger, runs, had_any)
  local member, ends = trigger.key .. event.user, nil
  for _, run in ipairs(runs) do ends = math.max(ends or 0, machine.ends(trigger.program, run.state)) end
  if ends and ends > event.received then
    redis.call("ZADD", in_progress, ends, member)
    redis.call("ZREMRANGEBYSCORE", in_progress, "-inf", event.received)
    redis.call("PEXPIRE", in_progress, event.ttl)
  elseif had_any then
    redis.call("ZREM", in_progress, member)
  end
end

local function advance(i)
  local trigger, field = triggers[i], fields[FIRST + i]
  local program, per = trigger.program, trigger.per
  local late = received - event.at > program.backdate
  local ended = program.absent and ended_at(trigger.key, per)
  if not event.tick and machine.calls_off(program, trigger.bits) then
    note_end(trigger.key, per, math.max(program.backdate, trigger.everyone and program.absent.wait or 0))
  end
  local runs = {}
  for n, run in ipairs(stored[FIRST + i] and cmsgpack.unpack(stored[FIRST + i]) or {}) do
    runs[n] = { per = run[RUN.per], state = machine.thaw(program, run[RUN.state], not event.tick and time) }
  end
  local firing, evicted
  if event.tick then
    firing = machine.expire_run(program, runs, per, event.at)
    if firing then -- nothing is accepted any more into the time before its deadline
      time = math.max(firing.at, time)
      write(ROW.time, tostring(time))
    end
  else
    firing, evicted =
      machine.advance_run(program, runs, per, trigger.bits, time, event.at, late, nil, trigger.note, ended)
  end
  if firing then matches[#matches + 1] = { trigger = trigger, firing = firing } end
  if evicted then
    evicted_from[#evicted_from + 1] = trigger.ref[REF.campaign]
    count(trigger, "evicted")
  end
  if program.absent then
    local state = machine.run(runs, per)
    if state and state.due then
      -- History has its own clock: only later events of the user make its absences fall due.
      if not event.history then redis.call("ZADD", timers, state.due + event.grace, absence_timer(trigger, per)) end
    else
      redis.call("ZREM", timers, absence_timer(trigger, per))
    end
    if evicted then redis.call("ZREM", timers, absence_timer(trigger, evicted)) end
  end
  note_progress(trigger, runs, stored[FIRST + i])
  if #runs > 0 then
    local frozen = {}
    for n, run in ipairs(runs) do frozen[n] = { run.per, machine.freeze(program, run.state) } end
    write(field, cmsgpack.pack(frozen))
  elseif stored[FIRST + i] then
    gone[#gone + 1] = field
  end
end

local is_shown = false

-- Return the gate that stops a delayed activation that began at `began`, if an event after that has ended it already.
local function ended_before(trigger, began)
  for _, each in ipairs({ { "=", "cancelled" }, { "+", "goal" } }) do
    local key, gate = each[1] .. trigger.key, each[2]
    local one, all = ended_at(key, trigger.per), ended_at(key, "")
    if (one and began < one) or (all and began < all) then return gate end
  end
end

-- Pass the matches through the gates, the most important one first, because only one popup is shown at a time. Held-out
-- users pass the same gates and wait as long, but do not use a place, so that the two can be compared.
local function decide()
  table.sort(matches, function(a, b)
    local first, second = a.trigger.policy.priority or 0, b.trigger.policy.priority or 0
    return first > second or (first == second and a.trigger.ref[REF.campaign] < b.trigger.ref[REF.campaign])
  end)
  counted, open = counted or stored_map(ROW.counted), open or stored_map(ROW.open)
  gates.heal(counted, event.received, CLOCK.max_ahead)
  for _, match in ipairs(matches) do
    local trigger, firing = match.trigger, match.firing
    local policy, is_popup = trigger.policy, trigger.ref[REF.channel] == "popup"
    local last = firing.reason == "match" and hex(digest) or tostring(firing.at)
    local key = cjson.encode({ event.site, event.user, trigger.key, trigger.per, last })
    local due = firing.at + (policy.delay or 0)
    local note = cjson.decode(firing.note) -- of an absence: the event that it waits after
    local is_history, began = note[NOTE.history], note[NOTE.at]
    local is_held_out = trigger.gate == "holdout"
    local gate = is_history and "history" or not is_held_out and trigger.gate
    gate = gate or gates.stops(policy.limits, counted, event.received)
    if not gate and is_popup and is_shown then gate = "priority" end
    if not gate and policy.delay then gate = ended_before(trigger, firing.reason == "match" and began or firing.at) end
    local waits_until = policy.delay and due or 0
    local converts_until = policy.goal and math.max(due, event.received) + policy.goal or 0
    local recall_until = policy.delay and policy.recall and due + policy.recall or 0
    if not gate and waits_until + converts_until > 0 then
      local entry = { key, trigger.per, waits_until, converts_until, recall_until, false, began }
      if not gates.remember(open, trigger.ref[REF.campaign], entry) then gate = "crowded" end
    end
    local waits, state_epoch, expires = not gate and policy.delay, "", 0
    if gate then
      due = firing.at
    else
      gate = is_held_out and "holdout" or nil
      is_shown = is_shown or (is_popup and not is_held_out)
      gates.count(policy.limits, counted, event.received, event.ttl, is_held_out)
      if waits then
        redis.call("HSETNX", counters, "state_epoch", tostring(event.received))
        state_epoch = redis.call("HGET", counters, "state_epoch")
      end
      if trigger.offer and not gate then expires = event.received + policy.until_seen end
    end
    count(trigger, gate or "activated")
    local packed = {
      key,
      trigger.ref,
      firing.at,
      firing.reason,
      firing.since,
      trigger.per,
      firing.note,
      gate or "",
      due,
      state_epoch,
      expires,
    }
    store(packed, waits and due or nil)
    if expires > 0 then offers.add(offering, trigger.offer, expires, event.received, packed) end
  end
end

for _, trigger in ipairs(is_watched and not event.history and triggers or {}) do
  if (trigger.watch or 0) > 0 then watch(trigger) end
end
for _, i in ipairs(concerned) do
  if event.tick or triggers[i].bits > 0 then advance(i) end
end
if #matches > 0 then decide() end
if is_shown then is_answerable = false end -- a response shows one popup, and a new one goes first
if not event.tick then offer_again() end
if open then gates.tidy(open, event.received) end
note_ends_of_delays()
store_called_off()
local changed = { [ROW.counted] = counted, [ROW.open] = open }
for field, map in pairs(changed) do
  if next(map) then
    write(field, cmsgpack.pack(map))
  else
    gone[#gone + 1] = field
  end
end

if not event.tick then
  local have_left
  recent, older, have_left = messages.remember(recent, older, digest, event.received)
  write(ROW.time, tostring(time))
  write(ROW.recent, recent)
  if have_left and older ~= "" then write(ROW.older, older) end
  if stored_older and messages.prune(older, event.received) == "" then gone[#gone + 1] = ROW.older end
  if have_left or #firings > 0 then -- most events need no results
    local stored_results = redis.call("HGET", row, ROW.results)
    local results = have_left and messages.tidy_results(stored_results or "", recent) or stored_results or ""
    if #firings > 0 then results = messages.add_result(results, digest, cmsgpack.pack(firings)) end
    if results ~= "" then
      write(ROW.results, results)
    elseif stored_results then
      gone[#gone + 1] = ROW.results
    end
  end
end
if #writes > 0 then redis.call("HSET", row, unpack(writes)) end
if #gone > 0 then redis.call("HDEL", row, unpack(gone)) end
extend_life()
return answer(OUTCOME.DECIDED, firings)
