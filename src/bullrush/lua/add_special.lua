#!lua
-- Add jobs of any kind: plain ones as pairs of id and record, as `add` does, others with a place.
-- A full server refuses the call as a whole.
-- A place is letters and, behind a blank, a value: w tail, h head, p prioritized (priority), d delayed (ms from now), t delayed
-- until (ms). Three arguments a job keep a call of 1,000 below the 3,900 that every server takes. A leading ? says
-- that the id is the user's and may exist: such a job is not stored again. Behind a NUL may stand a deduplication, "mode ttl
-- id" with a mode s simple, t throttle, d debounce, r replace, k keep-last: a job that it refuses is not stored either.
-- The answer names both by their position among the others, a job that was refused with :<id of the job that holds the key>.
--
-- KEYS   meta sessions jobs plans waiting prioritized delayed events wake removed outcomes progress logs logged dedup expiries attempts
-- ARGV   session number plain others ids, then plain * (id record), then others * (id record place)
-- RETURN now stream_id duplicates (positions among the others, joined by blanks)
-- include "begin"
-- include "place"
-- include "store"
-- include "retain"
-- include "plan"
-- include "ghosts"
-- include "deduplicate"
-- include "publish"
-- include "wake"
local plain, others = tonumber(ARGV[3]), tonumber(ARGV[4])
local first_other = 6 + 2 * plain
if #ARGV ~= first_other - 1 + 3 * others then return redis.error_reply("CALL takes " .. first_other - 1 + 3 * others .. " arguments") end

local claimable = plain > 0
if plain > 0 then
  local ids = {}
  for i = 1, plain do ids[i] = ARGV[4 + 2 * i] end
  redis.call("HSET", jobs_key, unpack(ARGV, 6, first_other - 1))
  redis.call("LPUSH", waiting_key, unpack(ids))
end

local duplicates, stored_ids, duplicated, earliest = {}, {}, {}, false
local sequence = redis.call("HINCRBY", meta_key, "sequence", others) - others
for k = 1, others do
  local at = first_other + 3 * (k - 1)
  local id, record, place = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local own, holder = string.byte(place) == 63, false
  if own then place = string.sub(place, 2) end
  local exists = own and redis.call("HEXISTS", jobs_key, id) == 1
  if not exists and string.find(place, "\0", 1, true) then holder = deduplicate(id, record, place) end
  if exists then
    duplicates[#duplicates + 1] = k - 1
    duplicated[#duplicated + 1] = id
  elseif holder then
    duplicates[#duplicates + 1] = k - 1 .. ":" .. holder
  else
    if own then lay_ghost(id) end
    stored_ids[#stored_ids + 1] = id
    if store(id, record, place, sequence + k) then
      earliest = earliest or redis.call("ZRANGE", delayed_key, 0, 0)[1] == id
    else
      claimable = true
    end
  end
end

local answer = table.concat(duplicates, " ")
redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1], ARGV[1] .. ":a", ARGV[2] .. " " .. answer)
local stream_id = string.format("%d-0", now)
if meta[3] ~= "off" and meta[3] ~= "outcomes" then
  local fields, size = { "added", ARGV[5] }, #ARGV[5]
  local function field(name, value)
    fields[#fields + 1], fields[#fields + 2] = name, value
    size = size + #value
  end
  field("added_ids", table.concat(stored_ids, " "))
  if #duplicated > 0 then field("duplicated", table.concat(duplicated, " ")) end
  if #deduplicated > 0 then field("deduplicated", table.concat(deduplicated)) end
  if #replaced > 0 then field("removed", table.concat(replaced, " ")) end
  stream_id = publish(fields, size)
  redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
elseif #replaced > 0 and tonumber(meta[4] or "0") > now then
  publish({ "removed", table.concat(replaced, " ") }, 0)
  redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
end
wake(claimable or earliest)
return { now, stream_id, answer }
