-- Every outcome but a plain completion is five arguments: kind id a b c.
-- Attempts are "made lost crashes suspicion": failed attempts, starts that a dead worker took along, deaths charged to the
-- job, and 0 = not suspected, 2 = suspected, 1 = suspected and confirmed to have started.

-- The plan stays with the job, for a retry by hand; that it was cancelled does not.
local function finish(finished_key, id, outcome, keep, age)
  local plan = redis.call("HGET", plans_key, id)
  redis.call("HDEL", attempts_key, id)
  if plan then let_go(id, plan, false) end
  if keep == 0 then
    forget({ id })
    return
  end
  if plan and plan_part(plan, "c") then redis.call("HSET", plans_key, id, plan_without(plan, "c")) end
  redis.call("ZADD", finished_key, finished_at, id)
  redis.call("HSET", outcomes_key, id, outcome)
  retain(finished_key, keep, age, 200)
end

local function again(id, attempts, delay)
  redis.call("HSET", attempts_key, id, attempts)
  local wait = tonumber(delay)
  if wait > 0 then
    meta[8] = (tonumber(meta[8]) or 0) + 1
    place_delayed(id, now + wait, meta[8])
  else
    place_tail(MARK .. id, id, redis.call("HGET", plans_key, id))
  end
end

-- The worker may not know of a plan that was made or changed while it had the job.
local function give_back(id, element)
  local plan = redis.call("HGET", plans_key, id)
  place_head(plan and MARK .. id or element, id, plan)
end

local function fail(id, outcome, keep, age)
  finish(failed_key, id, outcome, tonumber(keep), tonumber(age))
  finished_count[2] = finished_count[2] + 1
  return true
end

-- One function a kind: (id, a, b, c), true when the job is no longer held.
local SETTLE = {
  -- completed with a retention of its own or extras: outcome keep age
  c = function(id, a, b, c)
    finish(completed_key, id, a, tonumber(b), tonumber(c))
    finished_count[1] = finished_count[1] + 1
    return true
  end,
  -- failed for good: outcome keep age
  f = function(id, a, b, c) return fail(id, a, b, c) end,
  -- the same of one that took a rate token and never started
  e = function(id, a, b, c)
    refunds = refunds + 1
    return fail(id, a, b, c)
  end,
  -- retry: attempts delay outcome of the failed attempt
  r = function(id, a, b, c) redis.call("HSET", outcomes_key, id, c) again(id, a, b) return true end,
  -- later, without charge: attempts delay token
  l = function(id, a, b, c)
    if c == "1" then refunds = refunds + 1 end
    again(id, a, b)
    return true
  end,
  -- back to the head, uncharged: element, and 1 = it took a rate token and did not start
  b = function(id, a, b)
    if b == "1" then refunds = refunds + 1 end
    give_back(id, a)
    return true
  end,
  -- the same, and nothing starts for a while: element, ms, attempts of one that was a suspect and is none any more
  m = function(id, a, b, c)
    if c ~= "" then redis.call("HSET", attempts_key, id, c) end
    give_back(id, a)
    redis.call("HSET", meta_key, "limited", string.format("%.0f", now + b), "special", "1")
    meta[10] = "1"
    return true
  end,
  -- a suspect back to its place among them: element, token; its start, if it was reported, is so no longer
  q = function(id, a, b)
    if b == "1" then refunds = refunds + 1 end
    local attempts = redis.call("HGET", attempts_key, id)
    if attempts then redis.call("HSET", attempts_key, id, (string.gsub(attempts, " 1$", " 2"))) end
    redis.call("RPUSH", suspects_key, a)
    return true
  end,
  -- a suspect is about to start: attempts
  s = function(id, a) redis.call("HSET", attempts_key, id, a) end,
  -- no record: it was removed while its id still stood in line: token
  x = function(id, a)
    if a == "1" then refunds = refunds + 1 end
    redis.call("SREM", removed_key, id)
    return true
  end,
  p = function(id, a) redis.call("HSET", progress_key, id, a) end,
  -- a log line: text, how many lines stay (empty: all)
  g = function(id, a, b) log(id, a, b) end,
}
