#!lua flags=allow-oom
-- Remove a job that no worker holds.
--
-- KEYS   meta sessions workers jobs plans attempts waiting suspects prioritized delayed completed failed outcomes events removed progress logs logged dedup held*
-- ARGV   session number id
-- RETURN removed, unknown, active, or an error: RETRY
-- include "begin"
-- include "held_by_any"
-- include "locate"
-- include "place"
-- include "plan"
-- include "retain"
-- include "store"
-- include "dedup"
-- include "withdraw"
-- include "publish"
if redis.call("ZCARD", workers_key) ~= #KEYS - 19 then return redis.error_reply("RETRY workers changed") end
local id = ARGV[3]
local state = redis.call("HEXISTS", jobs_key, id) == 0 and "unknown" or locate(id, 20)
local answer = state
if state ~= "unknown" and state ~= "active" then
  answer = "removed"
  withdraw(id, state)
  if (meta[3] ~= "off" and meta[3] ~= "outcomes") or (meta[4] and tonumber(meta[4]) > now) then
    publish({ "removed", id .. " " .. state }, #id)
    redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
  end
end
redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1], ARGV[1] .. ":a", ARGV[2] .. " " .. answer)
return answer
