#!lua flags=allow-oom
-- Remove a job that no worker holds. In lists beyond 10,000 the id stays as a tombstone that the claim skips, since a search
-- through millions would stop the server.
--
-- KEYS   meta sessions workers jobs plans attempts waiting suspects prioritized delayed completed failed outcomes events removed progress logs logged held*
-- ARGV   session number id
-- RETURN removed, unknown, active, or an error: RETRY
-- include "begin"
-- include "held_by_any"
-- include "locate"
-- include "retain"
-- include "publish"
local SEARCHABLE = 10000
if redis.call("ZCARD", workers_key) ~= #KEYS - 18 then return redis.error_reply("RETRY workers changed") end
local id, answer = ARGV[3], "removed"

local function leave_line()
  local found = redis.call("LREM", suspects_key, 1, "\1" .. id) + redis.call("LREM", suspects_key, 1, "\2" .. id)
  if found > 0 then return end
  if redis.call("LLEN", waiting_key) > SEARCHABLE then
    redis.call("SADD", removed_key, id)
  elseif redis.call("LREM", waiting_key, 1, id) == 0 then
    redis.call("LREM", waiting_key, 1, "\1" .. id)
  end
end

local state = redis.call("HEXISTS", jobs_key, id) == 0 and "unknown" or locate(id, 19)
if state == "unknown" or state == "active" then
  answer = state
else
  if state == "waiting" then
    leave_line()
  else
    local zsets = { completed = completed_key, failed = failed_key, delayed = delayed_key, prioritized = prioritized_key }
    redis.call("ZREM", zsets[state], id)
  end
  forget({ id })
  redis.call("HDEL", plans_key, id)
  redis.call("HDEL", attempts_key, id)
  if (meta[3] ~= "off" and meta[3] ~= "outcomes") or (meta[4] and tonumber(meta[4]) > now) then
    publish({ "removed", id .. " " .. state }, #id)
    redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
  end
end
redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1], ARGV[1] .. ":a", ARGV[2] .. " " .. answer)
return answer
