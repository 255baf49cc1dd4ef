#!lua flags=allow-oom
-- Mend what an examination found, each thing looked at once more before it is changed. No job is deleted: one without a place goes
-- back in line, or to where its outcome says that it has been.
--
-- KEYS   meta ids workers hosts jobs plans attempts waiting suspects prioritized delayed completed failed outcomes events wake removed progress logs logged dedup expiries limiter sessions held*
-- ARGV   kind, then what it is about: ids, names, numbers
-- RETURN how many of them were changed, or an error: RETRY, CALL
local meta, now  -- what the functions below look at
-- include "whereabouts"
-- include "place"
-- include "plan"
-- include "retain"
-- include "store"
-- include "ghosts"
-- include "wake"
local HELD_FROM = 25
local missing = undeclared(HELD_FROM)
if missing then return redis.error_reply("RETRY worker " .. missing .. " came") end
meta = redis.call("HMGET", meta_key, "layout", "paused", "events", "listen", "number", "bytes", "held", "sequence", "timer", "special")
if meta[1] and meta[1] ~= "1" then return redis.error_reply("LAYOUT " .. meta[1]) end
local time = redis.call("TIME")
now = time[1] * 1000 + math.floor(time[2] / 1000)
local claimable = false

local function has_record(id)
  return redis.call("HEXISTS", jobs_key, id) == 1
end

local function stand_in_line(id)
  lay_ghost(id)
  place_tail(MARK .. id, id, redis.call("HGET", plans_key, id))
  claimable = true
end

-- A job without a place: its outcome says whether it has ended. That of a failed attempt stands beside its attempts.
local function place_again(id)
  local good, _, kind, _, finished = pcall(cmsgpack.unpack_limit, redis.call("HGET", outcomes_key, id) or "", 5, 1)
  finished = good and tonumber(finished) and string.format("%.0f", finished)
  if finished and kind == 0 then
    redis.call("ZADD", completed_key, finished, id)
  elseif finished and kind == 1 and redis.call("HEXISTS", attempts_key, id) == 0 then
    redis.call("ZADD", failed_key, finished, id)
  else
    stand_in_line(id)
  end
end

local SORTED = { completed = completed_key, failed = failed_key, delayed = delayed_key, prioritized = prioritized_key }

local function leave(id, place)
  local number = string.match(place, "^held:(.*)$")
  local state_key = SORTED[place]
  if state_key then
    redis.call("ZREM", state_key, id)
  elseif number then
    for i = HELD_FROM, #KEYS do
      if string.match(KEYS[i], ":held:([^:]*)$") == number then redis.call("SREM", KEYS[i], id) end
    end
  elseif place == "suspects" then
    if redis.call("LREM", suspects_key, 1, "\1" .. id) == 0 then redis.call("LREM", suspects_key, 1, "\2" .. id) end
  elseif redis.call("LREM", waiting_key, 1, id) == 0 then
    redis.call("LREM", waiting_key, 1, MARK .. id)
  end
end

-- The first of its places stays: whoever runs a job keeps it, then come ends that have an outcome, then the line.
local function one_place(id)
  local places = whereabouts(id, HELD_FROM)
  if not has_record(id) or #places < 2 then return 0 end
  while #places > 1 and (places[1] == "completed" or places[1] == "failed") and redis.call("HEXISTS", outcomes_key, id) == 0 do
    leave(id, table.remove(places, 1))
  end
  for i = 2, #places do leave(id, places[i]) end
  return 1
end

local function take_out(id)
  if has_record(id) then return 0 end
  local places = whereabouts(id, HELD_FROM)
  for i = 1, #places do leave(id, places[i]) end
  return #places > 0 and 1 or 0
end

local function mark(id)
  local at = redis.call("LPOS", waiting_key, id)
  if not at or redis.call("EXISTS", plans_key, attempts_key) == 0 then return 0 end
  redis.call("LSET", waiting_key, at, MARK .. id)
  return 1
end

local function suspect(id)
  local made, lost, crashes, suspicion = string.match(redis.call("HGET", attempts_key, id) or "", "^(%d+) (%d+) (%d+) (%d)$")
  local bytes = tonumber(crashes or 0) > 0 and "\2" or "\1"
  local wrong = redis.call("LPOS", suspects_key, (bytes == "\2" and "\1" or "\2") .. id) or redis.call("LPOS", suspects_key, id)
  if suspicion ~= "2" then redis.call("HSET", attempts_key, id, (made or "0") .. " " .. (lost or "0") .. " " .. (crashes or "0") .. " 2") end
  if wrong then redis.call("LSET", suspects_key, wrong, bytes .. id) end
  return (wrong or suspicion ~= "2") and 1 or 0
end

local function rank(id)
  local score = redis.call("ZSCORE", prioritized_key, id)
  local plan = redis.call("HGET", plans_key, id) or ""
  if not score or not has_record(id) then return 0 end
  local parts = string.find(plan, "\0", 1, true)
  redis.call("HSET", plans_key, id, string.format("p%.0f", score) .. (parts and string.sub(plan, parts) or ""))
  return 1
end

local function plan_again(id)
  if rank(id) == 1 then return 1 end
  local plan = redis.call("HGET", plans_key, id)
  if not plan then return 0 end
  local parts = string.find(plan, "\0", 1, true)
  redis.call("HSET", plans_key, id, "w" .. (parts and string.sub(plan, parts) or ""))
  return 1
end

local function attempts_again(id)
  if string.find(redis.call("HGET", attempts_key, id) or "0 0 0 0", "^%d+ %d+ %d+ [012]$") then return 0 end
  if count_in(suspects_key, "\1" .. id) + count_in(suspects_key, "\2" .. id) > 0 then
    redis.call("HSET", attempts_key, id, "0 0 0 2")
  else
    redis.call("HDEL", attempts_key, id)
  end
  return 1
end

-- The jobs of a number that nobody has: as if its worker had died.
local function give_up(number)
  if redis.call("ZSCORE", workers_key, number) then return 0 end
  for i = HELD_FROM, #KEYS do
    if string.match(KEYS[i], ":held:([^:]*)$") == number then
      local ids = redis.call("SRANDMEMBER", KEYS[i], 500)
      for _, id in ipairs(ids) do
        redis.call("SREM", KEYS[i], id)
        if has_record(id) and #whereabouts(id, HELD_FROM) == 0 then
          local made, lost, crashes = string.match(redis.call("HGET", attempts_key, id) or "0 0 0 0", "^(%d+) (%d+) (%d+)")
          redis.call("HSET", attempts_key, id, string.format("%d %d %d 2", made or 0, (lost or 0) + 1, crashes or 0))
          redis.call("RPUSH", suspects_key, (tonumber(crashes or 0) > 0 and "\2" or "\1") .. id)
          claimable = true
        end
      end
      return #ids
    end
  end
  return 0
end

local function open_job(id)
  return id and has_record(id) and not redis.call("ZSCORE", completed_key, id) and not redis.call("ZSCORE", failed_key, id)
end

local function let_free(key)
  local holder, limit = string.match(redis.call("HGET", dedup_key, "k" .. key) or "", "^(%S+) (%d+)$")
  if limit ~= "0" then return 0 end
  local owned = plan_part(redis.call("HGET", plans_key, holder) or "", "d")
  if open_job(holder) and owned and string.sub(owned, 2) == key then return 0 end
  return redis.call("HDEL", dedup_key, "k" .. key)
end

-- A job that was kept behind one that is gone: it is added now.
local function follow(key)
  local holder = string.match(redis.call("HGET", dedup_key, "k" .. key) or "", "^(%S+) ")
  local kept = redis.call("HGET", dedup_key, "n" .. key)
  if not kept or open_job(holder) then return 0 end
  local job, record, place = cmsgpack.unpack(kept)
  redis.call("HDEL", dedup_key, "n" .. key)
  if has_record(job) then return 1 end
  lay_ghost(job)
  store(job, record, place, redis.call("HINCRBY", meta_key, "sequence", 1))
  redis.call("HSET", dedup_key, "k" .. key, job .. " 0")
  claimable = true
  return 1
end

local function give_end(key)
  local limit = tonumber(string.match(redis.call("HGET", dedup_key, "k" .. key) or "", "(%d+)$"))
  if not limit or limit <= now then return 0 end
  redis.call("ZADD", expiries_key, string.format("%.0f", limit), key)
  return 1
end

local function last_line(id)
  local line = redis.call("ZREVRANGEBYLEX", logs_key, "(" .. id .. "\1", "[" .. id .. "\0", "LIMIT", 0, 1)[1]
  if not line then return 0 end
  redis.call("HSET", logged_key, id, string.format("%d", string.match(string.sub(line, #id + 2), "^(%d+):")))
  return 1
end

local function introduce(number)
  if redis.call("ZSCORE", workers_key, number) then return redis.call("HSETNX", hosts_key, number, "{}") end
  return redis.call("HDEL", hosts_key, number)
end

local function bring_back(number)
  local lease = tonumber(redis.call("HGET", meta_key, "longest_lease") or 30000)
  local deadline = tonumber(redis.call("ZSCORE", workers_key, number) or "0")
  if deadline <= now + 2 * lease then return 0 end
  redis.call("ZADD", workers_key, "XX", string.format("%.0f", now + lease), number)
  return 1
end

local function at_least(value, field)
  if (tonumber(redis.call("HGET", meta_key, field)) or 0) >= tonumber(value) then return 0 end
  redis.call("HSET", meta_key, field, value)
  return 1
end

local function special()
  local limits = redis.call("HMGET", meta_key, "concurrency", "rate", "limited")
  if not limits[1] and not limits[2] and not limits[3] and redis.call("EXISTS", removed_key) == 0 then return 0 end
  redis.call("HSET", meta_key, "special", "1")
  meta[10] = "1"
  return 1
end

local function window()
  local slots, starts = redis.call("LRANGE", limiter_key, 0, 2000), 0
  for i = 1, #slots do starts = starts + (tonumber(string.match(slots[i], " (%d+)$")) or 0) end
  redis.call("HSET", meta_key, "window", starts)
  return 1
end

local function events()
  local last = redis.call("XREVRANGE", events_key, "+", "-", "COUNT", 1)[1]
  if not last then return 0 end
  local fields, size = {}, 48
  for i = 1, #last[2], 2 do
    fields[last[2][i]] = last[2][i + 1]
    size = size + #last[2][i + 1]
  end
  at_least(string.format("%d", (tonumber(fields.o) or 0) + size), "bytes")
  return at_least(fields.n or "0", "number")
end

local function next_id(value)
  if tonumber(redis.call("GET", ids_key) or "0") >= tonumber(value) then return 0 end
  redis.call("SET", ids_key, value)
  return 1
end

local MEND = {
  lost = function(id)
    if not has_record(id) or #whereabouts(id, HELD_FROM) > 0 then return 0 end
    place_again(id)
    return 1
  end,
  ghost = function(id)
    local _, ghost, elements = whereabouts(id, HELD_FROM)
    if not ghost or elements > 0 then return 0 end
    return redis.call("SREM", removed_key, id)
  end,
  orphan = function(id)
    if has_record(id) then return 0 end
    redis.call("HDEL", attempts_key, id)
    -- Its lines are no longer counted, where the count is what was lost.
    redis.call("ZREMRANGEBYLEX", logs_key, "[" .. id .. "\0", "(" .. id .. "\1")
    forget({ id })
    return 1
  end,
  dedup = function(field)
    local value = redis.call("HGET", dedup_key, field) or ""
    local good, job, record, place = pcall(cmsgpack.unpack, value)
    local kept = string.byte(field) == 110 and good and type(job) == "string" and type(record) == "string" and type(place) == "string"
    if kept or (string.byte(field) == 107 and string.find(value, "^%S+ %d+$")) then return 0 end
    return redis.call("HDEL", dedup_key, field)
  end,
  session = function(field)
    if string.find(redis.call("HGET", sessions_key, field) or "0 0", string.find(field, ":a$") and "^%d+ " or "^x?%d+ %d+$") then return 0 end
    return redis.call("HDEL", sessions_key, field)
  end,
  twice = one_place, corrupt = take_out, unmarked = mark, suspect = suspect, rank = rank, plan = plan_again,
  attempts = attempts_again, held = give_up, key = let_free, follower = follow, expiry = give_end, logged = last_line,
  worker = introduce, deadline = bring_back, special = special, window = window, events = events, ids = next_id,
  lease = function(value) return at_least(value, "longest_lease") end,
  count = function() return 0 end,
}
local change = MEND[ARGV[1]]
if not change then return redis.error_reply("CALL mends no " .. ARGV[1]) end
local changed = 0
for i = 2, #ARGV do changed = changed + change(ARGV[i]) end
local held = 0
for i = HELD_FROM, #KEYS do held = held + redis.call("SCARD", KEYS[i]) end
if meta[1] and (tonumber(meta[7]) or 0) ~= held then
  redis.call("HSET", meta_key, "held", held)
  if ARGV[1] == "count" then changed = 1 end
end
wake(claimable)
return changed
