-- Delayed jobs whose time has come go to their place, at most 500 a call; returns their ids and the next due time (0: none).
local function promote()
  local first = redis.call("ZRANGE", delayed_key, 0, 0, "WITHSCORES")
  if not first[1] then return false, 0 end
  local due = math.floor(first[2] / 4096)
  if due > now then return false, due end
  local ids = redis.call("ZRANGEBYSCORE", delayed_key, "-inf", string.format("(%.0f", (now + 1) * 4096), "LIMIT", 0, 500)
  local plans = redis.call("HMGET", plans_key, unpack(ids))
  for i = 1, #ids do place_tail(MARK .. ids[i], ids[i], plans[i]) end
  redis.call("ZREMRANGEBYRANK", delayed_key, 0, #ids - 1)
  first = redis.call("ZRANGE", delayed_key, 0, 0, "WITHSCORES")
  return ids, first[2] and math.floor(first[2] / 4096) or 0
end
