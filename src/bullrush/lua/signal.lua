#!lua flags=allow-oom
-- Say something to a worker that blocks on its list of signals; nothing when it is gone, so that the list goes with it.
--
-- KEYS   workers signals
-- ARGV   number text
-- RETURN 1 = said, 0 = there is no such worker
if not redis.call("ZSCORE", workers_key, ARGV[1]) then return 0 end
redis.call("RPUSH", signals_key, ARGV[2])
redis.call("PEXPIRE", signals_key, 600000)
return 1
