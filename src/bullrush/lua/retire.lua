#!lua flags=allow-oom
-- A worker leaves in order: what is still held under its number goes back to the head, uncharged, and the number is gone.
-- Suspects keep their place among the suspects, so that a crash of theirs can still be told from the others'.
--
-- KEYS   meta workers hosts held signals jobs plans attempts waiting suspects prioritized wake removed
-- ARGV   number
-- RETURN how many jobs went back
local meta, now  -- what wake looks at
-- include "order"
-- include "place"
-- include "wake"
-- include "finish_number"
local ids = redis.call("SMEMBERS", held_key)
table.sort(ids, by_id)
for i = #ids, 1, -1 do
  local id = ids[i]
  if redis.call("HEXISTS", jobs_key, id) == 0 then
    redis.call("SREM", removed_key, id)
  else
    local attempts = redis.call("HGET", attempts_key, id)
    local crashes, suspicion = string.match(attempts or "0 0 0 0", "^%d+ %d+ (%d+) (%d)")
    local plan = redis.call("HGET", plans_key, id)
    if suspicion ~= "0" then
      redis.call("HSET", attempts_key, id, (string.gsub(attempts, " 1$", " 2")))
      redis.call("RPUSH", suspects_key, (tonumber(crashes) > 0 and "\2" or "\1") .. id)
    elseif attempts or plan or redis.call("HSTRLEN", jobs_key, id) > LARGE then
      place_head(MARK .. id, id, plan)
    else
      place_head(id, id, plan)
    end
  end
end
redis.call("UNLINK", held_key, signals_key)
finish_number(ARGV[1])
local time = redis.call("TIME")
now = time[1] * 1000 + math.floor(time[2] / 1000)
meta = redis.call("HMGET", meta_key, "layout", "paused", "held", "special")
meta[10] = meta[4]
if meta[1] then redis.call("HSET", meta_key, "held", (tonumber(meta[3]) or 0) - #ids) end
redis.call("HDEL", meta_key, "timer")
wake(redis.call("EXISTS", waiting_key, suspects_key, prioritized_key) > 0)
return #ids
