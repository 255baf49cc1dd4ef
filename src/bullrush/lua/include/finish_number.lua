-- The last act of a worker number: it leaves with its registration.
local function finish_number(number)
  redis.call("ZREM", workers_key, number)
  redis.call("HDEL", hosts_key, number)
end
