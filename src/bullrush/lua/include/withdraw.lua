-- Take a job that nobody holds out of its state, and forget it: by a call, so its deduplication key is free at once.
-- In lists beyond 10,000 the id stays as a ghost that claims skip, since a search through millions would stop the server.
local SEARCHABLE = 10000

local function leave_line(id)
  local found = redis.call("LREM", suspects_key, 1, "\1" .. id) + redis.call("LREM", suspects_key, 1, "\2" .. id)
  if found > 0 then return end
  if redis.call("LLEN", waiting_key) > SEARCHABLE then
    redis.call("SADD", removed_key, id)
    redis.call("HSET", meta_key, "special", "1")
  elseif redis.call("LREM", waiting_key, 1, id) == 0 then
    redis.call("LREM", waiting_key, 1, "\1" .. id)
  end
end

local function leave_state(id, state)
  local zsets = { completed = completed_key, failed = failed_key, delayed = delayed_key, prioritized = prioritized_key }
  if zsets[state] then redis.call("ZREM", zsets[state], id) else leave_line(id) end
end

local function withdraw(id, state)
  leave_state(id, state)
  local plan = redis.call("HGET", plans_key, id)
  if plan then let_go(id, plan, true) end
  redis.call("HDEL", attempts_key, id)
  forget({ id })
end
