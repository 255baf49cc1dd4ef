-- include "marks"
-- Where jobs stand.
-- A plan begins with "p<score>" (prioritized, with its own place in line), "h" (lifo: the head of the list) or "w" (the
-- tail). Parts may follow, each behind a NUL and named by a letter: d<mode><deduplication id>, t<changed due ms>, c<reason
-- why it was cancelled>.

local function place_tail(element, id, plan)
  local kind = plan and string.byte(plan)
  if kind == 112 then
    redis.call("ZADD", prioritized_key, string.match(plan, "^p(%d+)"), id)
  elseif kind == 104 then
    redis.call("RPUSH", waiting_key, element)
  else
    redis.call("LPUSH", waiting_key, element)
  end
end

local function place_head(element, id, plan)
  if plan and string.byte(plan) == 112 then
    redis.call("ZADD", prioritized_key, string.match(plan, "^p(%d+)"), id)
  else
    redis.call("RPUSH", waiting_key, element)
  end
end

-- Due times keep the order of arrival inside one millisecond: due * 4096 + sequence modulo 4096.
local function place_delayed(id, due, sequence)
  redis.call("ZADD", delayed_key, string.format("%.0f", due * 4096 + sequence % 4096), id)
end
