#!lua flags=allow-oom
-- Remove every key of a queue. Sessions, id blocks and worker numbers end with it: whoever is connected opens anew.
--
-- KEYS   meta workers held* (all other keys of the queue come behind them)
-- ARGV   force (1 or 0) workers
-- RETURN ok, notpaused, active, or an error: RETRY
local numbers = tonumber(ARGV[2])
if redis.call("ZCARD", workers_key) ~= numbers then return redis.error_reply("RETRY workers changed") end
if ARGV[1] ~= "1" then
  if redis.call("HGET", meta_key, "paused") ~= "1" then return "notpaused" end
  for i = 3, 2 + numbers do
    if redis.call("EXISTS", KEYS[i]) == 1 then return "active" end
  end
end
for i = 1, #KEYS do redis.call("UNLINK", KEYS[i]) end
return "ok"
