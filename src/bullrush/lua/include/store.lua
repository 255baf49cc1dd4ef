-- Store one special job where its place says: letters, a value behind a blank, and behind a NUL its deduplication, which
-- is "mode ttl id". Returns its due time (false: it stands in line).
local function store(id, record, place, number)
  local cut = string.find(place, "\0", 1, true)
  local letters, value = string.match(cut and string.sub(place, 1, cut - 1) or place, "^(%S+) ?(.*)$")
  local plan = false
  if string.find(letters, "p", 1, true) then
    plan = "p" .. string.format("%.0f", string.match(value, "(%d+)$") * BAND + number % BAND)
  elseif string.find(letters, "h", 1, true) then
    plan = "h"
  end
  if cut then
    local mode, key = string.match(place, "^(%a) %d+ (.*)$", cut + 1)
    plan = (plan or "w") .. "\0d" .. mode .. key
  end
  redis.call("HSET", jobs_key, id, record)
  if plan then redis.call("HSET", plans_key, id, plan) end
  local first = string.byte(letters)
  if first == 100 or first == 116 then
    local due = tonumber(string.match(value, "^%d+"))
    if first == 100 then due = now + due end
    place_delayed(id, due, number)
    return due
  end
  place_tail((plan or #record > LARGE) and MARK .. id or id, id, plan)
  return false
end
