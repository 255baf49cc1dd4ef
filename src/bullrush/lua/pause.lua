#!lua flags=allow-oom
-- Pause or resume a queue. Jobs stay where they are; active ones finish.
--
-- KEYS   meta sessions waiting suspects prioritized events wake
-- ARGV   session number paused (1 or 0)
-- RETURN 1 if that changed anything, else 0
-- include "begin"
-- include "publish"
-- include "wake"
local changed = (meta[2] == "1" and "1" or "0") ~= ARGV[3]
meta[2] = ARGV[3]
redis.call("HSET", meta_key, "paused", ARGV[3])
if changed and meta[3] ~= "off" and meta[3] ~= "outcomes" then
  publish({ ARGV[3] == "1" and "paused" or "resumed", "" }, 0)
  redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
end
local answer = changed and 1 or 0
redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1], ARGV[1] .. ":a", ARGV[2] .. " " .. answer)
wake(redis.call("EXISTS", waiting_key, suspects_key, prioritized_key) > 0)
return answer
