-- Jobs that ended in the running minute, one number for each kind: minute * 2^26 + count, exact in a double until
-- the year 2225. Minutes that are over wait in the field `past`, "c<minute>:<count>" or "f...", newest first, until a worker's
-- `measure` moves them to `metrics`. Those without jobs leave no trace, or an idle queue's would push out the last that counts.
local MINUTE = 67108864

local function minute_is_over(kind, number)
  local minute = math.floor(number / MINUTE)
  local past = redis.call("HGET", meta_key, "past") or ""
  past = string.format("%s%d:%d %s", kind, minute, number - minute * MINUTE, past)
  if #past > 4000 then past = string.match(string.sub(past, 1, 4000), "^(.*) ") end
  redis.call("HSET", meta_key, "past", past)
end

local function tally(kind, number, count)
  local base = math.floor(time[1] / 60) * MINUTE
  number = tonumber(number) or 0
  if number >= base then return string.format("%d", number + count) end
  if number % MINUTE > 0 then minute_is_over(kind, number) end
  return string.format("%d", base + count)
end
