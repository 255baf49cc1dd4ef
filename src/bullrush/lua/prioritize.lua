#!lua flags=allow-oom
-- Give a job another priority. One that stands in line moves behind the others of that priority, or before them (lifo); of
-- one that is delayed or running the plan alone changes, and so does that of a suspect, which keeps its place among these.
--
-- KEYS   meta sessions workers jobs plans waiting suspects prioritized delayed completed failed removed held*
-- ARGV   session number id priority lifo (1 or 0)
-- RETURN the state it is in (completed, failed, unknown: nothing was changed), or an error: RETRY
-- include "begin"
-- include "held_by_any"
-- include "locate"
-- include "place"
-- include "leave_line"
-- include "ghosts"
-- include "answer"
if redis.call("ZCARD", workers_key) ~= #KEYS - 12 then return redis.error_reply("RETRY workers changed") end
local id, priority, lifo = ARGV[3], tonumber(ARGV[4]), ARGV[5] == "1"
local state = redis.call("HEXISTS", jobs_key, id) == 0 and "unknown" or locate(id, 13)
if state == "unknown" or state == "completed" or state == "failed" then return answer(state) end

local function placement()
  if priority == 0 then return lifo and "h" or "w" end
  local low = priority * BAND
  local first = lifo and redis.call("ZRANGEBYSCORE", prioritized_key, string.format("%.0f", low), string.format("(%.0f", low + BAND), "WITHSCORES", "LIMIT", 0, 1)
  if first and first[2] then return "p" .. string.format("%.0f", math.max(low, first[2] - 1)) end
  return "p" .. string.format("%.0f", low + redis.call("HINCRBY", meta_key, "sequence", 1) % BAND)
end

local old = redis.call("HGET", plans_key, id) or ""
local parts = string.find(old, "\0", 1, true)
local plan = placement() .. (parts and string.sub(old, parts) or "")
local suspected = state == "waiting" and (redis.call("LPOS", suspects_key, "\1" .. id) or redis.call("LPOS", suspects_key, "\2" .. id))
if state == "prioritized" then
  redis.call("ZREM", prioritized_key, id)
elseif state == "waiting" and not suspected then
  leave_line(id)
end
if priority == 0 then lay_ghost(id) end
redis.call("HSET", plans_key, id, plan)
if state == "prioritized" or (state == "waiting" and not suspected) then place_tail(MARK .. id, id, plan) end
return answer(state)
