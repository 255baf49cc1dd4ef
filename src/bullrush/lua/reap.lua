#!lua flags=allow-oom
-- Take the jobs of a worker that two looks found dead, a page at a time, to the suspects. Does nothing unless its deadline
-- is still exactly the one seen (0: being reaped already), so a worker that renewed meanwhile keeps everything.
-- A job is charged only when its start was confirmed; after max_crashes charges of this worker's kind it fails.
--
-- KEYS   meta sessions workers hosts held signals jobs plans attempts waiting suspects prioritized delayed failed outcomes events wake removed progress logs logged dedup
-- ARGV   number deadline page max_crashes keep age
-- RETURN left stalled: how many jobs are left (-1: not dead), and the ids that went back, joined by blanks
local meta, now, time  -- what the functions below look at
-- include "order"
-- include "place"
-- include "plan"
-- include "retain"
-- include "store"
-- include "dedup"
-- include "tally"
-- include "publish"
-- include "wake"
-- include "finish_number"
local number = ARGV[1]
local deadline = redis.call("ZSCORE", workers_key, number)
if not deadline or (tonumber(deadline) ~= 0 and deadline ~= ARGV[2]) then return { -1, "" } end
meta = redis.call("HMGET", meta_key, "layout", "paused", "events", "listen", "number", "bytes", "held", "sequence", "timer", "special")
if meta[1] ~= "1" then return { -1, "" } end
time = redis.call("TIME")
now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call("ZADD", workers_key, "XX", "0", number)

local ids = redis.call("SMEMBERS", held_key)
table.sort(ids, by_id)
local total = #ids
local from = math.max(1, total - tonumber(ARGV[3]) + 1)
local stalled, failed = {}, {}
for i = total, from, -1 do
  local id = ids[i]
  redis.call("SREM", held_key, id)
  if redis.call("HEXISTS", jobs_key, id) == 0 then
    redis.call("SREM", removed_key, id)
  else
    local made, starts, crashes, started = string.match(redis.call("HGET", attempts_key, id) or "0 0 0 0", "^(%d+) (%d+) (%d+) (%d+)")
    starts = starts + 1
    if started == "1" then crashes = crashes + 1 end
    if tonumber(crashes) >= tonumber(ARGV[4]) then
      local reason = "the worker process died " .. (crashes + 1) .. " times while it ran this job"
      local plan = redis.call("HGET", plans_key, id)
      if plan then let_go(id, plan, false) end
      redis.call("HDEL", attempts_key, id)
      redis.call("ZADD", failed_key, string.format("%.0f", now), id)
      redis.call("HSET", outcomes_key, id, cmsgpack.pack({ 1, 0, now, tonumber(made), made + starts, "", reason, "JobCrashed", "" }))
      failed[#failed + 1] = id
    else
      redis.call("HSET", attempts_key, id, string.format("%d %d %d 2", made, starts, crashes))
      redis.call("RPUSH", suspects_key, (tonumber(crashes) > 0 and "\2" or "\1") .. id)
      stalled[#stalled + 1] = id
    end
  end
end
local left = from - 1
if #failed > 0 then retain(failed_key, tonumber(ARGV[5]), tonumber(ARGV[6]), 200) end
if left == 0 then
  finish_number(number)
  redis.call("UNLINK", signals_key)
  -- A late copy of the open that registered this number must not revive it: its worker may still think that it holds jobs.
  redis.call("HSET", sessions_key, "w" .. number, "x0 " .. time[1])
end
if total > 0 and (meta[3] ~= "off" or (tonumber(meta[4] or "0") or 0) > now) then
  local fields = { "stalled", table.concat(stalled, " ") }
  if #failed > 0 then fields[3], fields[4] = "crashed", table.concat(failed, " ") end
  if #following > 0 then fields[#fields + 1], fields[#fields + 2] = "added_ids", table.concat(following, " ") end
  publish(fields, #fields[2])
end
redis.call("HSET", meta_key, "held", (tonumber(meta[7]) or 0) - (total - left), "number", meta[5] or 0, "bytes", meta[6] or 0, "sequence", meta[8] or 0)
if #failed > 0 then redis.call("HSET", meta_key, "failed", tally("f", redis.call("HGET", meta_key, "failed"), #failed)) end
-- Under a global concurrency the end of a job makes room for one that waits.
local room = meta[10] and total > 0 and redis.call("EXISTS", waiting_key, suspects_key, prioritized_key) > 0
wake(#stalled > 0 or #following > 0 or room)
return { left, table.concat(stalled, " ") }
