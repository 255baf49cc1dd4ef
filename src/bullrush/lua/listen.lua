#!lua flags=allow-oom
-- Say that somebody waits for results: for that long, outcomes are published whole, whatever the mode of events.
--
-- KEYS   meta events
-- ARGV   duration
-- RETURN now last_stream_id number epoch, or an error: SESSION
if redis.call("EXISTS", meta_key) == 0 then return redis.error_reply("SESSION unknown") end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_now = tonumber(redis.call("HGET", meta_key, "listen")) or 0
if now + ARGV[1] > until_now or until_now > now + 10 * ARGV[1] then
  redis.call("HSET", meta_key, "listen", string.format("%.0f", now + ARGV[1]))
end
local last = redis.call("XREVRANGE", events_key, "+", "-", "COUNT", 1)[1]
return { now, last and last[1] or "0-0", last and last[2][2] or "0", redis.call("HGET", meta_key, "epoch") }
