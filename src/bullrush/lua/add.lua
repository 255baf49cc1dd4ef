#!lua
-- Add plain jobs: no option that needs a place of its own, an id from a block, a record of at most 4,000 bytes. They pay for
-- no key and no function that only others need. A full server refuses the call as a whole.
--
-- KEYS   meta sessions jobs waiting events wake
-- ARGV   session number count ids, then count * (id record)
-- RETURN now stream_id
-- include "begin"
-- include "publish"
-- include "wake"
local count = tonumber(ARGV[3])
if #ARGV ~= 4 + 2 * count then return redis.error_reply("CALL takes " .. 4 + 2 * count .. " arguments") end
local ids = {}
for i = 1, count do ids[i] = ARGV[3 + 2 * i] end
redis.call("HSET", jobs_key, unpack(ARGV, 5))
redis.call("LPUSH", waiting_key, unpack(ids))
redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1])
local stream_id
if meta[3] == "off" or meta[3] == "outcomes" then
  stream_id = string.format("%d-0", now)
else
  stream_id = publish({ "added", ARGV[4] }, #ARGV[4])
  redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
end
wake(true)
return { now, stream_id }
