#!lua flags=allow-oom
-- Remove a page of the jobs that wait, those first that would be next.
--
-- KEYS   meta sessions jobs plans attempts waiting suspects prioritized delayed outcomes events removed progress logs logged dedup
-- ARGV   session number page delayed (1 or 0)
-- RETURN "removed passed left": how many, with elements of jobs that had left before, and what is left of all these
-- include "begin"
-- include "place"
-- include "plan"
-- include "retain"
-- include "store"
-- include "dedup"
-- include "discard"
-- include "publish"
-- include "tell"
-- include "answer"
local page = tonumber(ARGV[3])
local ids, told, passed = {}, {}, 0

local function take(found, state)
  for i = 1, #found do
    ids[#ids + 1], told[#told + 1] = found[i], found[i] .. " " .. state
  end
end

local elements = redis.call("RPOP", waiting_key, page) or {}
passed = #elements
if passed > 0 then
  local found = {}
  for i = 1, passed do found[i] = string.gsub(elements[i], "^\1", "") end
  local ghosts = redis.call("SMISMEMBER", removed_key, unpack(found))
  for i = 1, passed do
    if ghosts[i] == 1 then redis.call("SREM", removed_key, found[i]) else take({ found[i] }, "waiting") end
  end
end
if passed < page then
  local suspects = redis.call("RPOP", suspects_key, page - passed) or {}
  for i = 1, #suspects do take({ string.sub(suspects[i], 2) }, "waiting") end
  passed = passed + #suspects
end

local function take_sorted(state_key, state)
  if passed >= page then return end
  local found = redis.call("ZRANGE", state_key, 0, page - passed - 1)
  if #found > 0 then redis.call("ZREMRANGEBYRANK", state_key, 0, #found - 1) end
  take(found, state)
  passed = passed + #found
end

local left = redis.call("LLEN", waiting_key) + redis.call("LLEN", suspects_key)
take_sorted(prioritized_key, "prioritized")
left = left + redis.call("ZCARD", prioritized_key)
if ARGV[4] == "1" then
  take_sorted(delayed_key, "delayed")
  left = left + redis.call("ZCARD", delayed_key)
end
if #ids > 0 then
  discard(ids)
  tell({ "removed", table.concat(told, " ") }, true)
end
return answer(#ids .. " " .. passed .. " " .. left)
