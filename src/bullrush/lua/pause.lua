#!lua flags=allow-oom
-- Pause or resume a queue. Jobs stay where they are; active ones finish.
--
-- KEYS   meta sessions waiting suspects prioritized events wake
-- ARGV   session number paused (1 or 0)
-- RETURN 1 if that changed anything, else 0
-- include "begin"
-- include "publish"
-- include "tell"
-- include "answer"
-- include "wake"
local changed = (meta[2] == "1" and "1" or "0") ~= ARGV[3]
meta[2] = ARGV[3]
redis.call("HSET", meta_key, "paused", ARGV[3])
if changed then tell({ ARGV[3] == "1" and "paused" or "resumed", "" }) end
wake(redis.call("EXISTS", waiting_key, suspects_key, prioritized_key) > 0)
return answer(changed and "1" or "0")
