#!lua flags=allow-oom
-- Cancel a job: one that nobody holds is removed; one that a worker holds is marked, so that it never runs again, and its
-- worker is told through a list of its own. That list goes with the worker, or by itself.
--
-- KEYS   meta sessions workers jobs plans attempts waiting suspects prioritized delayed completed failed outcomes events removed progress logs logged dedup held* (behind the held sets the signals of the same workers)
-- ARGV   session number id reason
-- RETURN removed, signalled, finished, unknown, or an error: RETRY
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
local workers = (#KEYS - 19) / 2
if redis.call("ZCARD", workers_key) ~= workers then return redis.error_reply("RETRY workers changed") end
local id, reason = ARGV[3], ARGV[4]
local state = redis.call("HEXISTS", jobs_key, id) == 0 and "unknown" or locate(id, 20, workers)
local answer = state
if state == "completed" or state == "failed" then
  answer = "finished"
elseif state == "active" then
  answer = "signalled"
  local plan = plan_without(redis.call("HGET", plans_key, id) or "w", "c")
  redis.call("HSET", plans_key, id, plan .. "\0c" .. reason)
  for i = 20, 19 + workers do
    if redis.call("SISMEMBER", KEYS[i], id) == 1 then
      redis.call("RPUSH", KEYS[i + workers], id .. "\0" .. reason)
      redis.call("PEXPIRE", KEYS[i + workers], 600000)
    end
  end
elseif state ~= "unknown" then
  answer = "removed"
  withdraw(id, state)
  if (meta[3] ~= "off" and meta[3] ~= "outcomes") or (meta[4] and tonumber(meta[4]) > now) then
    publish({ "removed", id .. " " .. state }, #id)
    redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
  end
end
redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1], ARGV[1] .. ":a", ARGV[2] .. " " .. answer)
return answer
