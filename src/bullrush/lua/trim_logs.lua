#!lua flags=allow-oom
-- Remove log lines of a job, all but the last ones.
--
-- KEYS   meta sessions logs logged
-- ARGV   session number id keep
-- RETURN how many lines were removed
-- include "begin"
-- include "answer"
local id, keep = ARGV[3], tonumber(ARGV[4])
local last = tonumber(redis.call("HGET", logged_key, id) or "0")
local gone = redis.call("ZREMRANGEBYLEX", logs_key, "[" .. id .. "\0", string.format("(%s\0%016d:", id, math.max(0, last - keep) + 1))
if keep == 0 then redis.call("HDEL", logged_key, id) end
return answer(tostring(gone))
