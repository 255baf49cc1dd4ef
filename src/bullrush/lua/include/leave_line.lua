-- In lists beyond 10,000 an id stays as a ghost that claims skip, since a search through millions would stop the server.
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
