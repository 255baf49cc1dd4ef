-- Settle plain completions of jobs that this worker holds: they come as pairs and share one retention.
local refused = {}
local finished_count = { 0, 0 }  -- completed, failed
local refunds = 0

-- The finished ms with the number of the entry behind the point: calls within one millisecond leave in their order.
local finished_at = string.format("%d.%03d", now, (tonumber(meta[5]) or 0) % 1000)

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
  local ended = redis.call("SREM", held_key, unpack(settled))
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
  finished_count[1] = ended
  return ended
end
