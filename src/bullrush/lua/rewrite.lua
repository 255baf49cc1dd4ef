#!lua flags=allow-oom
-- Store a record with other data for a job. Where it stands in line without a mark and is large now, it gets one.
--
-- KEYS   meta sessions jobs waiting
-- ARGV   session number id record
-- RETURN 1, 0 = there is no such job
-- include "begin"
-- include "marks"
-- include "answer"
local id, record = ARGV[3], ARGV[4]
if redis.call("HEXISTS", jobs_key, id) == 0 then return answer("0") end
redis.call("HSET", jobs_key, id, record)
-- In a longer list the search would stop the server; a large record without a mark costs the claim a larger reply.
if #record > LARGE and redis.call("LLEN", waiting_key) <= SEARCHABLE then
  local at = redis.call("LPOS", waiting_key, id)
  if at then redis.call("LSET", waiting_key, at, MARK .. id) end
end
return answer("1")
