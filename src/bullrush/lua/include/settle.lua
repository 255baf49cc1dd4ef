-- Settle outcomes of jobs that this worker holds. Plain completions come as pairs and share one retention;
-- every other outcome is five arguments: kind id a b c.
-- Attempts are "made lost crashes suspicion": failed attempts, starts that a dead worker took along, deaths charged to the
-- job, and 0 = not suspected, 2 = suspected, 1 = suspected and confirmed to have started.
local refused = {}

-- The finished ms with the number of the entry behind the point: calls within one millisecond leave in their order.
local finished_at = string.format("%.0f.%03d", now, (tonumber(meta[5]) or 0) % 1000)

-- Those of `ids` that are held, as a table of positions that are not; one SMISMEMBER whatever the number.
local function missing(ids)
  local absent = false
  local member = redis.call("SMISMEMBER", held_key, unpack(ids))
  for i = 1, #ids do
    if member[i] == 0 then
      absent = absent or {}
      absent[i] = true
    end
  end
  return absent
end

-- The last `keep` of them are stored; the earlier ones of a batch larger than that would be evicted at once.
local function complete_all(pairs_from, ids, absent, keep, age)
  local settled, count = ids, #ids
  local outcomes_from, finished = pairs_from, finished_at
  local stored = {}
  if absent then
    settled, count = {}, 0
    for i = 1, #ids do
      if not absent[i] then
        count = count + 1
        settled[count] = ids[i]
        stored[2 * count - 1], stored[2 * count] = ids[i], ARGV[pairs_from + 2 * i - 1]
      end
    end
    if count == 0 then return 0 end
  end
  redis.call("SREM", held_key, unpack(settled))
  local dropped = (keep >= 0 and count > keep) and count - keep or 0
  if dropped > 0 then forget({ unpack(settled, 1, dropped) }) end
  if dropped < count then
    local scored, n = {}, 0
    for i = dropped + 1, count do
      scored[n + 1], scored[n + 2] = finished, settled[i]
      n = n + 2
    end
    redis.call("ZADD", completed_key, unpack(scored))
    if absent then
      redis.call("HSET", outcomes_key, unpack(stored, 2 * dropped + 1))
    else
      redis.call("HSET", outcomes_key, unpack(ARGV, pairs_from + 2 * dropped, pairs_from + 2 * count - 1))
    end
  end
  retain(completed_key, keep, age, count + 200)
  return count
end

local function finish(finished_key, id, outcome, keep, age)
  redis.call("HDEL", plans_key, id)
  redis.call("HDEL", attempts_key, id)
  if keep == 0 then
    forget({ id })
    return
  end
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

local function log(id, line)
  local count = redis.call("HINCRBY", logged_key, id, 1)
  redis.call("ZADD", logs_key, 0, string.format("%s\0%016d:%s", id, count, line))
end

-- One function a kind: (id, a, b, c), true when the job is no longer held.
local SETTLE = {
  -- completed with a retention of its own or extras: outcome keep age
  c = function(id, a, b, c) finish(completed_key, id, a, tonumber(b), tonumber(c)) return true end,
  -- failed for good: outcome keep age
  f = function(id, a, b, c) finish(failed_key, id, a, tonumber(b), tonumber(c)) return true end,
  -- retry: attempts delay outcome of the failed attempt
  r = function(id, a, b, c) redis.call("HSET", outcomes_key, id, c) again(id, a, b) return true end,
  -- later, without charge: attempts delay
  l = function(id, a, b) again(id, a, b) return true end,
  -- back to the head, uncharged: element
  b = function(id, a)
    place_head(a, id, a ~= id and redis.call("HGET", plans_key, id))
    return true
  end,
  -- a suspect back to its place among them: element; its start, if it was reported, is so no longer
  q = function(id, a)
    local attempts = redis.call("HGET", attempts_key, id)
    if attempts then redis.call("HSET", attempts_key, id, (string.gsub(attempts, " 1$", " 2"))) end
    redis.call("RPUSH", suspects_key, a)
    return true
  end,
  -- a suspect is about to start: attempts
  s = function(id, a) redis.call("HSET", attempts_key, id, a) end,
  -- no record: it was removed while its id still stood in line
  x = function(id) redis.call("SREM", removed_key, id) return true end,
  p = function(id, a) redis.call("HSET", progress_key, id, a) end,
  g = function(id, a) log(id, a) end,
}
