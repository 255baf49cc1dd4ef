-- The state of a job that has a record, by elimination: in no sorted set and held by nobody, it stands in line.
local function locate(id, held_from, held_count)
  if redis.call("ZSCORE", completed_key, id) then return "completed" end
  if redis.call("ZSCORE", failed_key, id) then return "failed" end
  if redis.call("ZSCORE", delayed_key, id) then return "delayed" end
  if redis.call("ZSCORE", prioritized_key, id) then return "prioritized" end
  if held_by_any(id, held_from, held_count) then return "active" end
  return "waiting"
end
