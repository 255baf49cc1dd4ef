-- Retention. Every removal is bounded; what is over the bound goes with later calls.
local function forget(ids)
  redis.call("HDEL", jobs_key, unpack(ids))
  redis.call("HDEL", outcomes_key, unpack(ids))
  if redis.call("EXISTS", plans_key, progress_key, logged_key) == 0 then return end
  if redis.call("EXISTS", plans_key) == 1 then redis.call("HDEL", plans_key, unpack(ids)) end
  if redis.call("EXISTS", progress_key) == 1 then redis.call("HDEL", progress_key, unpack(ids)) end
  if redis.call("EXISTS", logged_key) == 0 then return end
  local lines = redis.call("HMGET", logged_key, unpack(ids))
  for i = 1, #ids do
    if lines[i] then
      redis.call("ZREMRANGEBYLEX", logs_key, "[" .. ids[i] .. "\0", "(" .. ids[i] .. "\1")
      redis.call("HDEL", logged_key, ids[i])
    end
  end
end

-- keep: how many stay, -1 = all; age: how long, in ms, -1 = for ever.
local function retain(finished_key, keep, age, bound)
  if keep >= 0 then
    local surplus = math.min(redis.call("ZCARD", finished_key) - keep, bound)
    if surplus > 0 then
      forget(redis.call("ZRANGE", finished_key, 0, surplus - 1))
      redis.call("ZREMRANGEBYRANK", finished_key, 0, surplus - 1)
      bound = bound - surplus
    end
  end
  if age >= 0 and bound > 0 then
    local old = redis.call("ZRANGEBYSCORE", finished_key, "-inf", string.format("%.0f", now - age), "LIMIT", 0, bound)
    if #old > 0 then
      forget(old)
      redis.call("ZREM", finished_key, unpack(old))
    end
  end
end
