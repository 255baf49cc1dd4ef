#!lua
-- Add jobs: plain ones as pairs of id and record, others with a plan and a place. A full server refuses the call as a whole.
-- A place is letters and, behind a blank, a value: w tail, h head, p prioritized (priority), d delayed (ms from now), t delayed
-- until (ms). Three arguments a job keep a call of 1,000 below the 3,900 that every server takes. A leading ? says
-- that the id is the user's and may exist: such a job is not stored again, and its position is answered.
--
-- KEYS   meta sessions jobs plans waiting prioritized delayed events wake removed
-- ARGV   session number plain others ids, then plain * (id record), then others * (id record place)
-- RETURN now stream_id duplicates (positions among the others, joined by blanks)
-- include "begin"
-- include "place"
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

local duplicates, stored_ids, earliest = {}, {}, false
if others > 0 then
  local sequence = redis.call("HINCRBY", meta_key, "sequence", others) - others
  local forgotten = redis.call("EXISTS", removed_key) == 1
  for k = 1, others do
    local at = first_other + 3 * (k - 1)
    local id, place, value = ARGV[at], string.match(ARGV[at + 2], "^(%S+) ?(.*)$")
    local own = string.byte(place) == 63
    if own then place = string.sub(place, 2) end
    if own and redis.call("HEXISTS", jobs_key, id) == 1 then
      duplicates[#duplicates + 1] = k - 1
    else
      if own and forgotten and redis.call("SREM", removed_key, id) == 1 then
        redis.call("LREM", waiting_key, 1, id)
        redis.call("LREM", waiting_key, 1, MARK .. id)
      end
      redis.call("HSET", jobs_key, id, ARGV[at + 1])
      stored_ids[#stored_ids + 1] = id
      -- A place may be two letters: where the job goes now, and (after d or t) where it goes when it is due.
      local now_place, plan = string.sub(place, 1, 1), false
      if string.find(place, "p", 1, true) then
        local priority = string.match(value, "(%d+)$")
        plan = "p" .. string.format("%.0f", priority * 4294967296 + (sequence + k) % 4294967296)
      elseif string.find(place, "h", 1, true) then
        plan = "h"
      end
      if plan then redis.call("HSET", plans_key, id, plan) end
      if now_place == "d" or now_place == "t" then
        local due = tonumber(string.match(value, "^%d+"))
        if now_place == "d" then due = now + due end
        place_delayed(id, due, sequence + k)
        earliest = earliest or redis.call("ZRANGE", delayed_key, 0, 0)[1] == id
      else
        place_tail((plan or #ARGV[at + 1] > LARGE) and MARK .. id or id, id, plan)
        claimable = true
      end
    end
  end
end

local answer = table.concat(duplicates, " ")
if others > 0 then
  redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1], ARGV[1] .. ":a", ARGV[2] .. " " .. answer)
else
  redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1])
end
local stream_id = string.format("%.0f-0", now)
if meta[3] ~= "off" and meta[3] ~= "outcomes" then
  local fields, size = { "added", ARGV[5] }, #ARGV[5]
  if others > 0 then
    local listed = table.concat(stored_ids, " ")
    fields[3], fields[4], size = "added_ids", listed, size + #listed
  end
  stream_id = publish(fields, size)
  redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
end
wake(claimable or earliest)
return { now, stream_id, answer }
