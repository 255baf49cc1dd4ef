#!lua flags=allow-oom
-- Move minutes that are over from meta to the metrics, and add what a worker measured to the running minute. Counts of the
-- running minute stay where they are: exchange goes on with them. A queue that is gone stays gone.
-- wait and run: how many jobs took how long since the worker's last call, "bucket:count bucket:count", either may be empty.
--
-- KEYS   meta metrics
-- ARGV   wait run
-- RETURN how many counts were moved, or an error: LAYOUT, CALL
local time  -- what tally looks at
-- include "tally"
local COUNTED, DETAILED = 10080, 1440
local meta = redis.call("HMGET", meta_key, "layout", "completed", "failed", "past")
if not meta[1] then return 0 end
if meta[1] ~= "1" then return redis.error_reply("LAYOUT " .. meta[1]) end
for i = 1, 2 do
  if not ARGV[i] or #ARGV[i] > 32768 or string.find(ARGV[i], "[^%d: ]") then
    return redis.error_reply("CALL takes two texts of bucket:count")
  end
end
time = redis.call("TIME")
local this = math.floor(time[1] / 60)

local NAMES = { c = "completed", f = "failed" }
local moved = 0
local function keep(kind, minute, count)
  local field = string.format("c%d", minute % COUNTED)
  local same, completed, failed = string.match(redis.call("HGET", metrics_key, field) or "", "^(%d+) (%d+) (%d+)$")
  if tonumber(same) ~= tonumber(minute) then completed, failed = 0, 0 end
  if kind == "c" then completed = completed + count else failed = failed + count end
  redis.call("HSET", metrics_key, field, string.format("%d %d %d", minute, completed, failed))
  redis.call("HINCRBY", metrics_key, NAMES[kind], count)
  moved = moved + 1
end

-- A minute that seems ahead is the running one of a clock that went back.
local function keep_if_over(kind, number)
  number = tonumber(number) or 0
  if number == 0 or number >= this * MINUTE then return end
  redis.call("HDEL", meta_key, NAMES[kind])
  local count = number % MINUTE
  if count > 0 then keep(kind, math.floor(number / MINUTE), string.format("%d", count)) end
end

keep_if_over("c", meta[2])
keep_if_over("f", meta[3])
if meta[4] then
  redis.call("HDEL", meta_key, "past")
  for kind, minute, count in string.gmatch(meta[4], "([cf])(%d+):(%d+)") do keep(kind, minute, count) end
end

local function merged(stored, fresh)
  if stored == "" or fresh == "" then return stored .. fresh end
  local counts, buckets = {}, {}
  for bucket, count in string.gmatch(stored .. " " .. fresh, "(%d+):(%d+)") do
    if not counts[bucket] then buckets[#buckets + 1] = bucket end
    counts[bucket] = (counts[bucket] or 0) + count
  end
  for i = 1, #buckets do buckets[i] = string.format("%s:%.0f", buckets[i], counts[buckets[i]]) end
  return table.concat(buckets, " ")
end

if ARGV[1] ~= "" or ARGV[2] ~= "" then
  local field = string.format("h%d", this % DETAILED)
  local same, wait, run = string.match(redis.call("HGET", metrics_key, field) or "", "^(%d+)|([^|]*)|([^|]*)$")
  if tonumber(same) ~= this then wait, run = "", "" end
  redis.call("HSET", metrics_key, field, string.format("%d|%s|%s", this, merged(wait, ARGV[1]), merged(run, ARGV[2])))
end
return moved
