#!lua flags=allow-oom
-- Remove a page of the jobs of a state whose time lies behind a limit: when they finished, or were added where they have
-- not. The cursor says how to go on. A list is emptied from its head as long as jobs there are old enough; what stands
-- behind younger ones is looked for from the other end, which claims do not move.
--
-- KEYS   meta sessions jobs plans attempts waiting suspects prioritized delayed completed failed outcomes events removed progress logs logged dedup
-- ARGV   session number state grace limit (ms, empty: now - grace) most cursor
-- RETURN "limit cursor ids": separated by line breaks, the ids by blanks; an empty cursor = done
-- include "begin"
-- include "place"
-- include "plan"
-- include "retain"
-- include "store"
-- include "dedup"
-- include "discard"
-- include "leave_line"
-- include "publish"
-- include "tell"
-- include "answer"
local BYTES = 4194304
local LOOK = 500
local HOLE = "\3"
local state, most, cursor = ARGV[3], tonumber(ARGV[6]), ARGV[7]
local limit = ARGV[5] ~= "" and tonumber(ARGV[5]) or now - ARGV[4]
local ids, bytes = {}, 0

-- A record is an array that begins with the name and the time it was added; what follows is the user's. One that cannot be
-- read is old.
local function is_old(id)
  local record = redis.call("HGET", jobs_key, id)
  if not record then return false end
  bytes = bytes + #record
  local _, _, _, timestamp = pcall(cmsgpack.unpack_limit, record, 2, 1)
  return (tonumber(timestamp) or 0) <= limit
end

local function full()
  return #ids >= most or bytes >= BYTES
end

local function clean_finished(finished_key)
  ids = redis.call("ZRANGEBYSCORE", finished_key, "-inf", string.format("(%.0f", limit + 1), "LIMIT", 0, most)
  if #ids > 0 then redis.call("ZREMRANGEBYRANK", finished_key, 0, #ids - 1) end
  return #ids < most and "" or "f"
end

-- By score, and by the number of jobs of that score that stay: a place that others who come and go do not move.
local function clean_sorted(state_key)
  local last, kept = string.match(cursor, "^(%S+) (%d+)$")
  last, kept = last or "-inf", tonumber(kept or "0")
  local found = redis.call("ZRANGEBYSCORE", state_key, last, "+inf", "WITHSCORES", "LIMIT", kept, LOOK)
  local looked = 0
  for i = 1, #found, 2 do
    if full() then break end
    looked = looked + 2
    if found[i + 1] ~= last then last, kept = found[i + 1], 0 end
    if is_old(found[i]) then ids[#ids + 1] = found[i] else kept = kept + 1 end
  end
  if #ids > 0 then redis.call("ZREM", state_key, unpack(ids)) end
  if looked == #found and #found < 2 * LOOK then return "" end
  return last .. " " .. kept
end

-- Elements of a list from its left end on: they become holes, which leave in one go; in a long list their ids do, as ghosts.
local function clean_list(line_key, at, long)
  local elements = redis.call("LRANGE", line_key, at, at + LOOK - 1)
  local kept, looked = 0, 0
  for i = 1, #elements do
    if full() then break end
    looked = i
    local id = string.gsub(elements[i], "^[\1\2]", "")
    if redis.call("SISMEMBER", removed_key, id) == 0 and is_old(id) then
      ids[#ids + 1] = id
      if long then redis.call("SADD", removed_key, id) else redis.call("LSET", line_key, at + i - 1, HOLE) end
    else
      kept = kept + 1
    end
  end
  if #ids > 0 and long then redis.call("HSET", meta_key, "special", "1") end
  if #ids > 0 and not long then redis.call("LREM", line_key, 0, HOLE) end
  if looked == #elements and #elements < LOOK then return false end
  return at + (long and looked or kept)
end

-- From the head of the line; returns whether all of the page has left it.
local function clean_head()
  local elements = redis.call("LRANGE", waiting_key, -LOOK, -1)
  local passed = 0
  for i = #elements, 1, -1 do
    if full() then break end
    local id = string.gsub(elements[i], "^\1", "")
    if redis.call("SREM", removed_key, id) == 0 then
      if not is_old(id) then break end
      ids[#ids + 1] = id
    end
    passed = passed + 1
  end
  if passed > 0 then redis.call("RPOP", waiting_key, passed) end
  return full() or (passed == #elements and passed == LOOK)
end

-- First the suspects (s), then the head of the line (h), then the rest from its tail (t).
local function clean_waiting()
  local phase, at = string.match(cursor == "" and "s0" or cursor, "^(%a)(%d*)$")
  if phase == "s" then
    local next_at = clean_list(suspects_key, tonumber(at), false)
    return next_at and "s" .. next_at or "h"
  end
  if phase == "h" then return clean_head() and "h" or "t0" end
  local next_at = clean_list(waiting_key, tonumber(at), redis.call("LLEN", waiting_key) > SEARCHABLE)
  return next_at and "t" .. next_at or ""
end

local finished = state == "completed" or state == "failed"
local next_cursor
if finished then next_cursor = clean_finished(state == "completed" and completed_key or failed_key)
elseif state == "delayed" or state == "prioritized" then next_cursor = clean_sorted(state == "delayed" and delayed_key or prioritized_key)
elseif state == "waiting" then next_cursor = clean_waiting()
else return redis.error_reply("CALL cleans no jobs that are " .. state) end
if #ids > 0 then
  discard(ids)
  local fields = { "cleaned", tostring(#ids) }
  if not finished then fields[3], fields[4] = "removed", table.concat(ids, " " .. state .. " ") .. " " .. state end
  tell(fields, not finished)
end
return answer(string.format("%.0f", limit) .. "\n" .. next_cursor .. "\n" .. table.concat(ids, " "))
