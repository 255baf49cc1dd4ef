#!lua flags=no-writes,allow-oom
-- What must agree for the queue as a whole, at one moment. The held sets of all workers are declared, and of numbers that
-- have none.
--
-- KEYS   meta ids workers removed events limiter hosts held*
-- ARGV   none
-- RETURN now meta held workers hosts removed last_event starts ids, or an error: RETRY; held (number and size), meta, workers and hosts are flat, last_event is its fields or empty, starts is -1 when none are counted
local declared, held = {}, {}
for i = 8, #KEYS do
  local number = string.match(KEYS[i], ":held:([^:]*)$")
  declared[number] = true
  held[#held + 1], held[#held + 2] = number, redis.call("SCARD", KEYS[i])
end
local workers = redis.call("ZRANGE", workers_key, 0, -1, "WITHSCORES")
for i = 1, #workers, 2 do
  if not declared[workers[i]] then return redis.error_reply("RETRY worker " .. workers[i] .. " came") end
end
local time = redis.call("TIME")
local last = redis.call("XREVRANGE", events_key, "+", "-", "COUNT", 1)[1]
local slots, starts = redis.call("LRANGE", limiter_key, 0, 2000), -1
for i = 1, #slots do starts = math.max(starts, 0) + (tonumber(string.match(slots[i], " (%d+)$")) or 0) end
return {
  time[1] * 1000 + math.floor(time[2] / 1000), redis.call("HGETALL", meta_key), held, workers,
  redis.call("HGETALL", hosts_key), redis.call("SCARD", removed_key), last and last[2] or {}, starts, redis.call("GET", ids_key),
}
