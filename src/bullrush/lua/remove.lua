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
-- include "discard"
-- include "withdraw"
-- include "publish"
-- include "tell"
-- include "answer"
if redis.call("ZCARD", workers_key) ~= #KEYS - 19 then return redis.error_reply("RETRY workers changed") end
local id = ARGV[3]
local state = redis.call("HEXISTS", jobs_key, id) == 0 and "unknown" or locate(id, 20)
if state == "unknown" or state == "active" then return answer(state) end
withdraw(id, state)
tell({ "removed", id .. " " .. state }, true)
return answer("removed")
