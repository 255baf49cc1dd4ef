#!lua flags=allow-oom
-- Write an event of the users' own, unless the queue has none.
--
-- KEYS   meta sessions events
-- ARGV   session number value (kind and data, packed one behind the other)
-- RETURN 1, 0 = events are off
-- include "begin"
-- include "publish"
-- include "answer"
if meta[3] == "off" then return answer("0") end
publish({ "custom", ARGV[3] }, #ARGV[3])
redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
return answer("1")
