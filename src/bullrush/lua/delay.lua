#!lua flags=allow-oom
-- Change when a delayed job is due. Its plan says so from then on, for who reads the job.
--
-- KEYS   meta sessions plans waiting prioritized delayed events wake
-- ARGV   session number id kind (d: ms from now, t: until) ms
-- RETURN the new due time, 0 = the job is not delayed
-- include "begin"
-- include "place"
-- include "plan"
-- include "publish"
-- include "tell"
-- include "wake"
-- include "answer"
local id = ARGV[3]
if not redis.call("ZSCORE", delayed_key, id) then return answer("0") end
local due = ARGV[4] == "d" and now + ARGV[5] or tonumber(ARGV[5])
local text = string.format("%.0f", due)
place_delayed(id, due, redis.call("HINCRBY", meta_key, "sequence", 1))
redis.call("HSET", plans_key, id, plan_without(redis.call("HGET", plans_key, id) or "w", "t") .. "\0t" .. text)
tell({ "delayed", id .. " " .. text })
wake(redis.call("ZRANGE", delayed_key, 0, 0)[1] == id)
return answer(text)
