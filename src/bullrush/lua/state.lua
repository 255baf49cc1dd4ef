#!lua flags=no-writes,allow-oom
-- The state of a job, read at one moment.
--
-- KEYS   workers jobs prioritized delayed completed failed held*
-- ARGV   id
-- RETURN a state, unknown, or an error: RETRY
-- include "held_by_any"
-- include "locate"
if redis.call("ZCARD", workers_key) ~= #KEYS - 6 then return redis.error_reply("RETRY workers changed") end
if redis.call("HEXISTS", jobs_key, ARGV[1]) == 0 then return "unknown" end
return locate(ARGV[1], 7)
