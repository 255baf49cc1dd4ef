-- The adding side of deduplication (see dedup): a new job meets the one that holds the key, if there is one.
local deduplicated, replaced = {}, {}

local function note(winner, key, loser)
  deduplicated[#deduplicated + 1] = cmsgpack.pack(winner, key, loser)
end

-- Keys whose time is over leave, a few at a visit; one with a job kept behind it leaves with its holder.
local function sweep_keys()
  local over = redis.call("ZRANGEBYSCORE", expiries_key, "-inf", string.format("%.0f", now), "LIMIT", 0, 20)
  for i = 1, #over do
    local holder = redis.call("HGET", dedup_key, "k" .. over[i])
    local limit = holder and tonumber(string.match(holder, "(%d+)$")) or 0
    if limit > 0 and limit <= now and redis.call("HEXISTS", dedup_key, "n" .. over[i]) == 0 then
      redis.call("HDEL", dedup_key, "k" .. over[i])
    end
    redis.call("ZREM", expiries_key, over[i])
  end
end

local function take_over(key, id, limit)
  redis.call("HSET", dedup_key, "k" .. key, id .. " " .. string.format("%.0f", limit))
  if limit > 0 then redis.call("ZADD", expiries_key, string.format("%.0f", limit), key) end
end

-- The mode by which a job owns a key; nil: it does not. A key that lasts for its ttl may outlive its job, and another job
-- may have come to the id since.
local function mode_of(holder, key)
  local owned = plan_part(redis.call("HGET", plans_key, holder) or "", "d")
  return owned and string.sub(owned, 2) == key and string.sub(owned, 1, 1) or nil
end

-- Returns the id of the job that holds the key when the new one is refused; false, and the key is the new one's.
local function deduplicate(id, record, place)
  local from = string.find(place, "\0", 1, true) + 1
  local mode, ttl, key = string.match(place, "^(%a) (%d+) (.*)$", from)
  sweep_keys()
  -- keep-last has no ttl: the job kept behind would vanish with it.
  local limit = mode ~= "k" and tonumber(ttl) > 0 and now + ttl or 0
  local holder, until_then = string.match(redis.call("HGET", dedup_key, "k" .. key) or "", "^(%S+) (%d+)$")
  local over = holder and tonumber(until_then) > 0 and tonumber(until_then) <= now
  if not holder or (over and redis.call("HEXISTS", dedup_key, "n" .. key) == 0) then
    take_over(key, id, limit)
    return false
  end
  local owned_by = mode_of(holder, key)
  if (mode == "d" or mode == "r") and owned_by and redis.call("ZREM", delayed_key, holder) == 1 then
    redis.call("HDEL", attempts_key, holder)
    forget({ holder })
    replaced[#replaced + 1] = holder .. " delayed"
    take_over(key, id, mode == "d" and limit or tonumber(until_then))
    note(id, key, holder)
    return false
  end
  -- Behind a key that only its time frees nothing is kept: its holder may have ended long ago, and would add it never.
  if mode == "k" and owned_by and owned_by ~= "t" and owned_by ~= "d" then
    redis.call("HSET", dedup_key, "n" .. key, cmsgpack.pack(id, record, place))
  end
  note(holder, key, id)
  return holder
end
