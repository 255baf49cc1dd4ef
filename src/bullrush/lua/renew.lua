#!lua flags=allow-oom
-- Renew a lease. It is never created here: a number that is gone or being reaped is refused.
-- Only keys that always exist are declared, so that this call works while a cluster slot is on the move.
--
-- KEYS   meta workers
-- ARGV   number lease
-- RETURN now, or an error: LEASE
local deadline = redis.call("ZSCORE", workers_key, ARGV[1])
if not deadline or tonumber(deadline) == 0 then return redis.error_reply("LEASE lost") end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call("ZADD", workers_key, "XX", string.format("%.0f", now + ARGV[2]), ARGV[1])
return now
