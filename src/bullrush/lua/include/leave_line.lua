-- include "marks"
-- Leave the line: from a list that is too long to be searched an id stays behind as a ghost, which claims skip.

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
