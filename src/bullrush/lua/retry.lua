#!lua flags=allow-oom
-- Finished jobs run again: one by its id, or a page of a state, those that finished first. Each goes where its plan says,
-- with the attempts of its outcome or none, and counts as due now. A key of deduplication that is free is taken again.
--
-- KEYS   meta sessions plans attempts waiting prioritized delayed completed failed outcomes events wake dedup
-- ARGV   session number state before (ms, empty: up to now) page reset (1 or 0) id (empty: a page)
-- RETURN "moved before": how many, and the limit for the next page; for an id "1 state", or "0 " when it has not finished
-- include "begin"
-- include "place"
-- include "plan"
-- include "publish"
-- include "tell"
-- include "wake"
-- include "answer"
local requeued = {}

local function hold_again(id, plan)
  local owned = plan_part(plan, "d")
  local mode, key = owned and string.sub(owned, 1, 1), owned and string.sub(owned, 2)
  -- A throttle or debounce lasts as long as its ttl, whatever becomes of the job.
  if not owned or mode == "t" or mode == "d" then return end
  local limit = tonumber(string.match(redis.call("HGET", dedup_key, "k" .. key) or "", " (%d+)$"))
  if not limit or (limit > 0 and limit <= now) then redis.call("HSET", dedup_key, "k" .. key, id .. " 0") end
end

local function requeue(id, prev, outcome, plan, reset)
  if outcome and not reset then
    -- An outcome is an array, whose first five elements are numbers; what follows is the user's.
    local _, _, _, _, _, made, started = pcall(cmsgpack.unpack_limit, outcome, 5, 1)
    made, started = tonumber(made) or 0, tonumber(started) or 0
    redis.call("HSET", attempts_key, id, string.format("%d %d 0 0", made, math.max(0, started - made)))
  else
    redis.call("HDEL", attempts_key, id)
  end
  -- One that was cancelled and completed before its worker heard of it, or whose worker died, may still be marked.
  plan = plan_without(plan_without(plan or "w", "t"), "c")
  hold_again(id, plan)
  redis.call("HSET", plans_key, id, plan .. "\0t" .. string.format("%.0f", now))
  place_tail(MARK .. id, id, plan)
  requeued[#requeued + 1] = id .. " " .. prev
end

local id, reset, before, told = ARGV[7], ARGV[6] == "1", ARGV[4], nil
local state, ids = ARGV[3], {}
if id ~= "" then
  if redis.call("ZREM", failed_key, id) == 1 then state = "failed"
  elseif redis.call("ZREM", completed_key, id) == 1 then state = "completed"
  else return answer("0 ") end
  ids, told = { id }, "1 " .. state
else
  local finished_key = state == "completed" and completed_key or failed_key
  if before == "" then before = string.format("%.0f", now + 1) end
  ids = redis.call("ZRANGEBYSCORE", finished_key, "-inf", "(" .. before, "LIMIT", 0, ARGV[5])
  if #ids > 0 then redis.call("ZREM", finished_key, unpack(ids)) end
  told = #ids .. " " .. before
end
if #ids > 0 then
  local outcomes = redis.call("HMGET", outcomes_key, unpack(ids))
  local plans = redis.call("HMGET", plans_key, unpack(ids))
  for i = 1, #ids do requeue(ids[i], state, outcomes[i], plans[i], reset) end
  redis.call("HDEL", outcomes_key, unpack(ids))
  tell({ "requeued", table.concat(requeued, " ") })
end
wake(#ids > 0)
return answer(told)
