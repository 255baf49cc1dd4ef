-- Begin a changing call: refuse another layout, an unknown or closed session, or a number out of turn.
-- Nothing has been written when one of these returns. ARGV[1] is the session, ARGV[2] the call's number.
local meta = redis.call("HMGET", meta_key, "layout", "paused", "events", "listen", "number", "bytes", "held", "sequence", "timer", "special", "completed")
if meta[1] ~= "1" then
  if meta[1] then return redis.error_reply("LAYOUT " .. meta[1]) end
  return redis.error_reply("SESSION unknown")
end
local stored = redis.call("HGET", sessions_key, ARGV[1])
if not stored then return redis.error_reply("SESSION unknown") end
local closed, applied = string.match(stored, "^(x?)(%d+)")
if closed ~= "" then return redis.error_reply("SESSION closed") end
if tonumber(applied) ~= ARGV[2] - 1 then return redis.error_reply("ORDER " .. applied) end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
