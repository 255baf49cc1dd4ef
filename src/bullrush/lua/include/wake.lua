-- End of every script that can make a job claimable: at most two tokens, and only for what can be claimed now. Behind a
-- limit that is exhausted nothing can: one worker was told when to look again.
local function limits_closed()
  local limits = redis.call("HMGET", meta_key, "limited", "full", "concurrency", "held")
  if tonumber(limits[1] or "0") > now or tonumber(limits[2] or "0") > now then return true end
  return limits[3] and (tonumber(limits[4]) or 0) >= tonumber(limits[3])
end

local function wake(something)
  if something and meta[2] ~= "1" and not (meta[10] and limits_closed()) and redis.call("LLEN", wake_key) < 2 then
    redis.call("LPUSH", wake_key, "1")
  end
end
