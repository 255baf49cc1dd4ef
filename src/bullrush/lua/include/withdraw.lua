-- Take a job that nobody holds out of its state, and forget it: by a call, so its deduplication key is free at once.
-- include "leave_line"
local function leave_state(id, state)
  local zsets = { completed = completed_key, failed = failed_key, delayed = delayed_key, prioritized = prioritized_key }
  if zsets[state] then redis.call("ZREM", zsets[state], id) else leave_line(id) end
end

local function withdraw(id, state)
  leave_state(id, state)
  discard({ id })
end
