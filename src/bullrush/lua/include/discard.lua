-- Forget jobs that have left their place already, by a call: their deduplication keys are free at once.
local function discard(ids)
  if #ids == 0 then return end
  if redis.call("EXISTS", plans_key) == 1 then
    local plans = redis.call("HMGET", plans_key, unpack(ids))
    for i = 1, #ids do
      if plans[i] then let_go(ids[i], plans[i], true) end
    end
  end
  redis.call("HDEL", attempts_key, unpack(ids))
  forget(ids)
end
