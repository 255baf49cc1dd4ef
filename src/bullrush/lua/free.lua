#!lua flags=allow-oom
-- Free a key of deduplication: the next job of that key is stored. What waited behind the key is forgotten.
--
-- KEYS   meta sessions dedup expiries
-- ARGV   session number key
-- RETURN 1, 0 = it was free
-- include "begin"
-- include "answer"
local key = ARGV[3]
local limit = tonumber(string.match(redis.call("HGET", dedup_key, "k" .. key) or "", " (%d+)$"))
redis.call("HDEL", dedup_key, "k" .. key, "n" .. key)
redis.call("ZREM", expiries_key, key)
return answer(limit and (limit == 0 or limit > now) and "1" or "0")
