-- Where jobs stand. A list element with a leading \1 says: this job has a plan, attempts or a large record, look.
-- A plan is "p<score>" (prioritized, with its own place in line) or "h" (lifo: the head of the list).
local MARK = "\1"
local LARGE = 4000

local function place_tail(element, id, plan)
  if plan and string.byte(plan) == 112 then
    redis.call("ZADD", prioritized_key, string.sub(plan, 2), id)
  elseif plan == "h" then
    redis.call("RPUSH", waiting_key, element)
  else
    redis.call("LPUSH", waiting_key, element)
  end
end

local function place_head(element, id, plan)
  if plan and string.byte(plan) == 112 then
    redis.call("ZADD", prioritized_key, string.sub(plan, 2), id)
  else
    redis.call("RPUSH", waiting_key, element)
  end
end

-- Due times keep the order of arrival inside one millisecond: due * 4096 + sequence modulo 4096.
local function place_delayed(id, due, sequence)
  redis.call("ZADD", delayed_key, string.format("%.0f", due * 4096 + sequence % 4096), id)
end
