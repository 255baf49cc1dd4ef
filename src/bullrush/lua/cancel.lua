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
-- include "discard"
-- include "withdraw"
-- include "publish"
-- include "tell"
-- include "answer"
local workers = (#KEYS - 19) / 2
if redis.call("ZCARD", workers_key) ~= workers then return redis.error_reply("RETRY workers changed") end
local id, reason = ARGV[3], ARGV[4]
local state = redis.call("HEXISTS", jobs_key, id) == 0 and "unknown" or locate(id, 20, workers)
if state == "unknown" then return answer("unknown") end
if state == "completed" or state == "failed" then return answer("finished") end
if state ~= "active" then
  withdraw(id, state)
  tell({ "removed", id .. " " .. state }, true)
  return answer("removed")
end
local plan = plan_without(redis.call("HGET", plans_key, id) or "w", "c")
redis.call("HSET", plans_key, id, plan .. "\0c" .. reason)
for i = 20, 19 + workers do
  if redis.call("SISMEMBER", KEYS[i], id) == 1 then
    redis.call("RPUSH", KEYS[i + workers], id .. "\0" .. reason)
    redis.call("PEXPIRE", KEYS[i + workers], 600000)
  end
end
return answer("signalled")
