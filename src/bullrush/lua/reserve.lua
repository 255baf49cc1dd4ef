#!lua flags=allow-oom
-- Reserve a block of ids for a session. The block ends with the session, so no id is ever handed out twice.
--
-- KEYS   meta sessions ids
-- ARGV   session number size
-- RETURN the last id of the block
-- include "begin"
redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1])
return redis.call("INCRBY", ids_key, ARGV[3])
