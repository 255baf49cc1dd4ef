#!lua flags=allow-oom
-- Set or lift a limit on starts. Who waits looks again at once, so that a raised limit acts without delay.
--
-- KEYS   meta sessions waiting suspects prioritized limiter wake
-- ARGV   session number field (concurrency, rate, limited) value (as in meta; for limited ms from now; empty: lifted)
-- RETURN now
-- include "begin"
-- include "wake"
-- include "answer"
local field, value = ARGV[3], ARGV[4]
if field ~= "concurrency" and field ~= "rate" and field ~= "limited" then return redis.error_reply("CALL has no limit " .. field) end
redis.call("HDEL", meta_key, "full")
if value ~= "" then
  redis.call("HSET", meta_key, field, field == "limited" and string.format("%.0f", now + value) or value)
else
  redis.call("HDEL", meta_key, field)
  if field == "limited" then
    -- Lifted by hand: the starts counted so far are forgotten as well.
    redis.call("HDEL", meta_key, "window", "bucket")
    redis.call("UNLINK", limiter_key)
  end
end
redis.call("HSET", meta_key, "special", "1")
meta[10] = "1"
wake(redis.call("EXISTS", waiting_key, suspects_key, prioritized_key) > 0)
return answer(string.format("%.0f", now))
