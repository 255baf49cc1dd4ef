#!lua flags=allow-oom
-- Delayed jobs stand in line now, where their plans say: one by its id, or a page of those that are due first.
--
-- KEYS   meta sessions plans waiting prioritized delayed events wake
-- ARGV   session number page id (empty: a page)
-- RETURN "moved left": how many, and how many are still delayed
-- include "begin"
-- include "place"
-- include "publish"
-- include "tell"
-- include "wake"
-- include "answer"
local ids = {}
if ARGV[4] == "" then
  ids = redis.call("ZRANGE", delayed_key, 0, ARGV[3] - 1)
elseif redis.call("ZSCORE", delayed_key, ARGV[4]) then
  ids = { ARGV[4] }
end
if #ids > 0 then
  redis.call("ZREM", delayed_key, unpack(ids))
  local plans = redis.call("HMGET", plans_key, unpack(ids))
  for i = 1, #ids do place_tail(MARK .. ids[i], ids[i], plans[i]) end
  tell({ "promoted", table.concat(ids, " ") })
end
wake(#ids > 0)
return answer(#ids .. " " .. redis.call("ZCARD", delayed_key))
