#!lua flags=no-writes,allow-oom
-- One page of one key of a queue, and what is wrong with what stands in it, at one moment. Nothing is searched for: what takes
-- that is told, and asked with `inspect`.
-- what: jobs, or a key with ids; for lists the cursor is a position from the left end.
--
-- KEYS   jobs plans attempts waiting suspects prioritized delayed completed failed outcomes removed progress logs logged dedup expiries sessions held
-- ARGV   what cursor count
-- RETURN cursor members places findings bytes: the page's members (of jobs each with its record), for jobs their places in sorted sets, findings as kind id detail in turn, and how much was read
-- include "plan"
local what, cursor, count = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local findings, bytes = {}, 0

local function tell(kind, id, detail)
  local n = #findings
  findings[n + 1], findings[n + 2], findings[n + 3] = kind, id, detail or ""
end

local function scan(command, state_key)
  local page = redis.call(command, state_key, cursor, "COUNT", count)
  for i = 1, #page[2] do bytes = bytes + #page[2][i] end
  return page
end

local SORTED = { completed = completed_key, failed = failed_key, delayed = delayed_key, prioritized = prioritized_key }

-- For each id the sorted sets that it is in, joined by blanks.
local function sorted_places(ids)
  local places = {}
  for i = 1, #ids do places[i] = "" end
  for state, state_key in pairs(SORTED) do
    if #ids > 0 and redis.call("EXISTS", state_key) == 1 then
      local scores = redis.call("ZMSCORE", state_key, unpack(ids))
      for i = 1, #ids do
        if scores[i] then places[i] = places[i] == "" and state or places[i] .. " " .. state end
      end
    end
  end
  return places
end

local function fields_of(state_key, ids)
  if #ids == 0 or redis.call("EXISTS", state_key) == 0 then return {} end
  return redis.call("HMGET", state_key, unpack(ids))
end

local function has_record(id)
  return redis.call("HEXISTS", jobs_key, id) == 1
end

local function survey_jobs()
  local page = scan("HSCAN", jobs_key)
  local ids, places = {}, {}
  for i = 1, #page[2], 2 do ids[#ids + 1] = page[2][i] end
  for from = 1, #ids, 1000 do
    local found = sorted_places({ unpack(ids, from, math.min(#ids, from + 999)) })
    for i = 1, #found do places[#places + 1] = found[i] end
  end
  return page[1], page[2], places
end

local function survey_line(line_key, suspected)
  local elements = redis.call("LRANGE", line_key, cursor, cursor + count - 1)
  if #elements == 0 then return "0", elements, {} end
  local ids = {}
  for i = 1, #elements do ids[i] = (string.gsub(elements[i], "^[\1\2]", "")) end
  local ghosts = (not suspected and redis.call("EXISTS", removed_key) == 1) and redis.call("SMISMEMBER", removed_key, unpack(ids)) or {}
  local plans, attempts, places = fields_of(plans_key, ids), fields_of(attempts_key, ids), sorted_places(ids)
  for i = 1, #ids do
    local mark = string.byte(elements[i])
    if ghosts[i] == 1 then tell("ghost", ids[i])
    elseif not has_record(ids[i]) then tell("corrupt", ids[i])
    elseif places[i] ~= "" then tell("twice", ids[i])
    elseif suspected then
      local crashes, suspicion = string.match(attempts[i] or "", "^%d+ %d+ (%d+) (%d)$")
      if suspicion ~= "2" or mark ~= (tonumber(crashes) > 0 and 2 or 1) then tell("suspect", ids[i]) end
    elseif mark ~= 1 and (plans[i] or attempts[i]) then tell("unmarked", ids[i])
    end
  end
  return tostring(cursor + #elements), elements, {}
end

local function survey_held()
  local page = scan("SSCAN", held_key)
  local places = sorted_places(page[2])
  for i = 1, #page[2] do
    if not has_record(page[2][i]) then tell("corrupt", page[2][i]) elseif places[i] ~= "" then tell("twice", page[2][i]) end
  end
  return page[1], page[2], {}
end

local function survey_removed()
  local page = scan("SSCAN", removed_key)
  return page[1], page[2], {}
end

local function survey_sorted(state_key)
  local page = scan("ZSCAN", state_key)
  for i = 1, #page[2], 2 do
    local id = page[2][i]
    if not has_record(id) then tell("corrupt", id)
    elseif what == "prioritized" then
      local plan = redis.call("HGET", plans_key, id) or ""
      local score = string.format("%.0f", redis.call("ZSCORE", state_key, id))
      if string.match(plan, "^p(%d+)") ~= score then tell("rank", id, score) end
    elseif what ~= "delayed" and redis.call("HEXISTS", outcomes_key, id) == 0 then tell("outcome", id, what)
    end
  end
  return page[1], {}, {}
end

local VALID = {
  plans = function(id, value)
    if not (string.find(value, "^p%d+$") or string.find(value, "^p%d+%z") or string.find(value, "^[hw]$") or string.find(value, "^[hw]%z")) then
      tell("plan", id, string.sub(value, 1, 40))
    end
  end,
  attempts = function(id, value)
    if not string.find(value, "^%d+ %d+ %d+ [012]$") then tell("attempts", id, string.sub(value, 1, 40)) end
  end,
  outcomes = function(id, value)
    local good, _, kind = pcall(cmsgpack.unpack_limit, value, 5, 1)
    if not good or (kind ~= 0 and kind ~= 1) then tell("outcome", id, "unreadable") end
  end,
}

local function survey_side(state_key)
  local page = scan("HSCAN", state_key)
  for i = 1, #page[2], 2 do
    local id, value = page[2][i], page[2][i + 1]
    if not has_record(id) then tell("orphan", id, what) elseif VALID[what] then VALID[what](id, value) end
  end
  return page[1], {}, {}
end

local function survey_logs()
  local page, seen = scan("ZSCAN", logs_key), {}
  for i = 1, #page[2], 2 do
    local id, line = string.match(page[2][i], "^([^%z]*)%z(%d+):")
    if not id then
      tell("line", string.sub(page[2][i], 1, 40))
    elseif not seen[id] then
      seen[id] = true
      if not has_record(id) then
        tell("orphan", id, what)
      elseif tonumber(redis.call("HGET", logged_key, id) or "0") < tonumber(line) then
        tell("logged", id, line)
      end
    end
  end
  return page[1], {}, {}
end

-- A key that lasts as long as its job is open must be held by one that is, and which knows of it.
local function check_holder(key, value)
  local holder, limit = string.match(value, "^(%S+) (%d+)$")
  limit = tonumber(limit)
  if not limit then return tell("dedup", "k" .. key, string.sub(value, 1, 40)) end
  if limit == 0 then
    local owned = plan_part(redis.call("HGET", plans_key, holder) or "", "d")
    local ended = redis.call("ZSCORE", completed_key, holder) or redis.call("ZSCORE", failed_key, holder)
    if not has_record(holder) or ended or not owned or string.sub(owned, 2) ~= key then tell("key", key, holder) end
  elseif limit > now and redis.call("ZSCORE", expiries_key, key) ~= string.format("%.0f", limit) then
    tell("expiry", key, holder)
  end
end

local function check_follower(key, value)
  local good, job, record, place = pcall(cmsgpack.unpack, value)
  if not good or type(job) ~= "string" or type(record) ~= "string" or type(place) ~= "string" then return tell("dedup", "n" .. key, "unreadable") end
  local holder = string.match(redis.call("HGET", dedup_key, "k" .. key) or "", "^(%S+) ")
  local ended = not holder or not has_record(holder) or redis.call("ZSCORE", completed_key, holder) or redis.call("ZSCORE", failed_key, holder)
  if ended then tell("follower", key, job) end
end

local function survey_dedup()
  local page = scan("HSCAN", dedup_key)
  for i = 1, #page[2], 2 do
    local letter, key = string.sub(page[2][i], 1, 1), string.sub(page[2][i], 2)
    if letter == "k" then check_holder(key, page[2][i + 1])
    elseif letter == "n" then check_follower(key, page[2][i + 1])
    else tell("dedup", page[2][i], "unknown field") end
  end
  return page[1], {}, {}
end

local function survey_sessions()
  local page = scan("HSCAN", sessions_key)
  for i = 1, #page[2], 2 do
    local field, value = page[2][i], page[2][i + 1]
    if not string.find(value, string.find(field, ":a$") and "^%d+ " or "^x?%d+ %d+$") then tell("session", field, string.sub(value, 1, 40)) end
  end
  return page[1], {}, {}
end

local SURVEY = {
  jobs = survey_jobs, held = survey_held, removed = survey_removed, logs = survey_logs, dedup = survey_dedup, sessions = survey_sessions,
  waiting = function() return survey_line(waiting_key, false) end,
  suspects = function() return survey_line(suspects_key, true) end,
  completed = function() return survey_sorted(completed_key) end,
  failed = function() return survey_sorted(failed_key) end,
  delayed = function() return survey_sorted(delayed_key) end,
  prioritized = function() return survey_sorted(prioritized_key) end,
  plans = function() return survey_side(plans_key) end,
  attempts = function() return survey_side(attempts_key) end,
  outcomes = function() return survey_side(outcomes_key) end,
  progress = function() return survey_side(progress_key) end,
  logged = function() return survey_side(logged_key) end,
}
if not SURVEY[what] then return redis.error_reply("CALL surveys no " .. what) end
local next_cursor, members, places = SURVEY[what]()
return { next_cursor, members, places, findings, bytes }
