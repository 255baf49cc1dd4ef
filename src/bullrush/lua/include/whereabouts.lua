-- Everywhere an id stands, at one moment. A list of up to WHOLE elements is searched to its end, of a longer one both ends are:
-- a search through millions would stop the server. What moves in a long list moves through its ends.
-- The held sets are declared from KEYS[held_from] on: those of all workers, and others that were found.
local WHOLE, ENDS = 100000, 50000

local function count_in(line_key, element)
  if redis.call("LLEN", line_key) <= WHOLE then return #redis.call("LPOS", line_key, element, "COUNT", 2) end
  return #redis.call("LPOS", line_key, element, "COUNT", 2, "MAXLEN", ENDS) + #redis.call("LPOS", line_key, element, "RANK", -1, "COUNT", 2, "MAXLEN", ENDS)
end

-- The first worker whose held set is not declared; nil: none.
local function undeclared(held_from)
  local declared = {}
  for i = held_from, #KEYS do declared[string.match(KEYS[i], ":held:([^:]*)$")] = true end
  for _, number in ipairs(redis.call("ZRANGE", workers_key, 0, -1)) do
    if not declared[number] then return number end
  end
end

-- Names of places, one for each time it stands there; whether it is a ghost, which stands in `waiting` once more.
local function whereabouts(id, held_from)
  local found = {}
  local function note(name, count)
    for _ = 1, count do found[#found + 1] = name end
  end
  for i = held_from, #KEYS do
    if redis.call("SISMEMBER", KEYS[i], id) == 1 then note("held:" .. string.match(KEYS[i], ":held:([^:]*)$"), 1) end
  end
  if redis.call("ZSCORE", completed_key, id) then note("completed", 1) end
  if redis.call("ZSCORE", failed_key, id) then note("failed", 1) end
  if redis.call("ZSCORE", delayed_key, id) then note("delayed", 1) end
  if redis.call("ZSCORE", prioritized_key, id) then note("prioritized", 1) end
  note("suspects", count_in(suspects_key, "\1" .. id) + count_in(suspects_key, "\2" .. id))
  local ghost = redis.call("SISMEMBER", removed_key, id) == 1
  local waiting = count_in(waiting_key, id) + count_in(waiting_key, "\1" .. id)
  note("waiting", ghost and waiting - 1 or waiting)
  return found, ghost, waiting
end
