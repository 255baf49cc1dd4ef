-- Claim jobs: elements without a mark are small and have nothing to look up, so a call of them is three commands.
-- Marked ones are read in slices and weigh 4; what no longer fits into BYTES or WEIGHT goes back to its place.
local BYTES = 4194304
local WEIGHT = 1000
local claimed_ids, claimed_records, extras = {}, {}, {}
local claimed, weight, bytes = 0, 0, 0

local function take(id, record, attempts, plan, suspect)
  claimed = claimed + 1
  claimed_ids[claimed], claimed_records[claimed] = id, record
  if attempts or plan or suspect then
    local n = #extras
    extras[n + 1], extras[n + 2], extras[n + 3], extras[n + 4] = claimed - 1, attempts or "", plan or "", suspect or ""
  end
end

-- Take elements in order; returns how many were taken.
local function take_marked(elements, suspect)
  local total = #elements
  for from = 1, total, 16 do
    local to, ids = math.min(from + 15, total), {}
    for i = from, to do
      local byte = string.byte(elements[i])
      ids[i - from + 1] = (byte == 1 or byte == 2) and string.sub(elements[i], 2) or elements[i]
    end
    local records = redis.call("HMGET", jobs_key, unpack(ids))
    local attempts = redis.call("HMGET", attempts_key, unpack(ids))
    local plans = redis.call("HMGET", plans_key, unpack(ids))
    for i = 1, to - from + 1 do
      local size = records[i] and #records[i] or 0
      if claimed > 0 and (bytes + size > BYTES or weight + 4 > WEIGHT) then return from + i - 2 end
      weight, bytes = weight + 4, bytes + size
      take(ids[i], records[i], attempts[i], plans[i], suspect)
    end
  end
  return total
end

-- Suspects: those never charged up to the number asked for; a charged one (\2) only alone.
local function claim_suspects(want, alone)
  local elements = redis.call("LRANGE", suspects_key, -want, -1)
  local taken = {}
  for i = #elements, 1, -1 do
    if string.byte(elements[i]) == 2 then
      if #taken == 0 and alone then taken[1] = elements[i] end
      break
    end
    taken[#taken + 1] = elements[i]
  end
  if #taken == 0 then return end
  local done = take_marked(taken, "1")
  redis.call("RPOP", suspects_key, done)
end

-- Ids that left the line while they stood deep in it are skipped; each is so once.
local function without_ghosts(elements)
  local ids, kept = {}, {}
  for i = 1, #elements do ids[i] = string.gsub(elements[i], "^\1", "") end
  local gone = redis.call("SMISMEMBER", removed_key, unpack(ids))
  for i = 1, #ids do
    if gone[i] == 1 then redis.call("SREM", removed_key, ids[i]) else kept[#kept + 1] = elements[i] end
  end
  return kept
end

local function claim_waiting(want, ghosts)
  local elements = redis.call("RPOP", waiting_key, math.min(want, WEIGHT - weight))
  if not elements then return end
  if ghosts > 0 then
    elements = without_ghosts(elements)
    if #elements == 0 then return end
  end
  if claimed == 0 and not string.find(table.concat(elements, " "), MARK, 1, true) then
    claimed_ids, claimed, weight = elements, #elements, #elements
    claimed_records = redis.call("HMGET", jobs_key, unpack(elements))
    return
  end
  local done = take_marked(elements)
  for i = #elements, done + 1, -1 do redis.call("RPUSH", waiting_key, elements[i]) end
end

local function claim_prioritized(want)
  local ids = redis.call("ZRANGE", prioritized_key, 0, math.min(want, math.floor((WEIGHT - weight) / 4)) - 1)
  if #ids == 0 then return end
  local done = take_marked(ids)
  if done > 0 then redis.call("ZREMRANGEBYRANK", prioritized_key, 0, done - 1) end
end
