-- The held sets of all workers are declared by the caller, who read the numbers first; a worker that came or went since: RETRY.
local function held_by_any(id, from, count)
  for i = from, count and from + count - 1 or #KEYS do
    if redis.call("SISMEMBER", KEYS[i], id) == 1 then return true end
  end
  return false
end
