#!lua flags=allow-oom
-- Progress or a log line of a job, told by a program that is not its handler.
--
-- KEYS   meta sessions jobs progress logs logged events
-- ARGV   session number id kind (p: progress, g: a log line) value keep (how many lines stay, empty: all)
-- RETURN how many lines the job has, or -1: there is no such job
-- include "begin"
-- include "log"
-- include "publish"
-- include "tell"
-- include "answer"
local id, value = ARGV[3], ARGV[5]
if redis.call("HEXISTS", jobs_key, id) == 0 then return answer("-1") end
if ARGV[4] == "p" then
  redis.call("HSET", progress_key, id, value)
  tell({ "progress", cmsgpack.pack(id) .. value })
else
  log(id, value, ARGV[6])
end
return answer(tostring(redis.call("ZLEXCOUNT", logs_key, "[" .. id .. "\0", "(" .. id .. "\1")))
