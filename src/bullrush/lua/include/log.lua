-- Log lines are members of one sorted set, "<id>\0<number of the line>:<text>"; `keep` is how many of the job stay, empty = all.
local function log(id, line, keep)
  local count = redis.call("HINCRBY", logged_key, id, 1)
  -- Joined, not formatted: %s ends at a NUL, which a line may have.
  redis.call("ZADD", logs_key, 0, id .. string.format("\0%016d:", count) .. line)
  if keep ~= "" and count > tonumber(keep) then
    redis.call("ZREMRANGEBYLEX", logs_key, "[" .. id .. "\0", string.format("(%s\0%016d:", id, count - keep + 1))
  end
end
