#!lua flags=allow-oom
-- The worker's call: settle the outcomes collected so far and claim the next jobs, in one round trip.
-- Refused as a whole when the lease is lost; a job that is not held under this number is refused alone.
-- look: 1 = report leases that seem dead (passed, or more than twice the longest lease ahead).
--
-- free: how many of those wanted would start at once; with a limit no more are claimed. limit: the worker's own rate, "max
-- duration burst", empty = none; the queue's wins.
--
-- KEYS   meta sessions workers held jobs plans attempts waiting suspects prioritized delayed completed failed outcomes events wake removed progress logs logged dedup limiter
-- ARGV   session number worker lease want free suspects alone look keep age limit completed others published, then completed * (id outcome), then others * (kind id a b c), then published * (field value)
-- RETURN now flags due ids records extras refused expired stream_id; flags: 1 paused, 2 more to claim, 4 suspects left, 8 publish outcomes only, 16 publish nothing, 32 somebody waits for results, 64 limited: claimed means running, 128 no start now
-- include "begin"
-- include "place"
-- include "promote"
-- include "retain"
-- include "settle"
-- include "claim"
-- include "publish"
-- include "tally"
-- include "wake"

-- What a plain call does not need is not even made: a function costs Redis as much as a small command.
local function outcome_kinds()
-- include "plan"
-- include "store"
-- include "dedup"
-- include "log"
-- include "kinds"
  return SETTLE, following
end

local function limits()
-- include "limits"
  return allowance, took
end

local worker = ARGV[3]
local deadline = redis.call("ZSCORE", workers_key, worker)
if not deadline or tonumber(deadline) == 0 then return redis.error_reply("LEASE lost") end

local completed, others, published = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local others_from = 16 + 2 * completed
local published_from = others_from + 5 * others
if #ARGV ~= published_from - 1 + 2 * published then
  return redis.error_reply("CALL takes " .. published_from - 1 + 2 * published .. " arguments")
end
local SETTLE, following = {}, {}
if others > 0 then SETTLE, following = outcome_kinds() end
local completed_ids, other_ids, completed_absent, other_absent = {}, {}, false, false
for i = 1, completed do completed_ids[i] = ARGV[14 + 2 * i] end
for i = 1, others do
  local at = others_from + 5 * (i - 1)
  if not SETTLE[ARGV[at]] then return redis.error_reply("CALL has no outcome " .. ARGV[at]) end
  other_ids[i] = ARGV[at + 1]
end
if completed > 0 then completed_absent = missing(completed_ids) end
if others > 0 then other_absent = missing(other_ids) end

-- The first write is one that a full server without allow-oom flags still takes.
local settled = 0
if completed > 0 then
  settled = complete_all(16, completed_ids, completed_absent, tonumber(ARGV[10]), tonumber(ARGV[11]))
  if completed_absent then
    for i = 1, completed do
      if completed_absent[i] then refused[#refused + 1] = completed_ids[i] end
    end
  end
end
local gone, ended = {}, {}
if others > 0 then
  for i = 1, completed do ended[completed_ids[i]] = true end
end
for i = 1, others do
  local at, id = others_from + 5 * (i - 1), other_ids[i]
  local said = ARGV[at] == "p" or ARGV[at] == "g"
  local overtaken = (other_absent and other_absent[i]) or gone[id] or (ended[id] and not said)
  -- What a job said before it completed in this call stays only if the job does.
  if not overtaken and ended[id] then overtaken = redis.call("HEXISTS", jobs_key, id) == 0 end
  if overtaken then
    -- Progress or a line that was overtaken by the job's own outcome is dropped without a word.
    if not said then refused[#refused + 1] = id end
  elseif SETTLE[ARGV[at]](id, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]) then
    redis.call("SREM", held_key, id)
    gone[id] = true
    settled = settled + 1
  end
end
redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1])
redis.call("ZADD", workers_key, "XX", string.format("%d", now + ARGV[4]), worker)

local promoted, due = promote()
local suspects_claimed, ghosts, left, open_at, took = false, 0, nil, 0, nil
local want = tonumber(ARGV[5])
if meta[10] or ARGV[12] ~= "" then
  ghosts = redis.call("SCARD", removed_key)
  local allowance
  allowance, took = limits()
  left, open_at = allowance(ARGV[12], (tonumber(meta[7]) or 0) - settled, refunds)
  if left then want = math.min(want, tonumber(ARGV[6]), left) end
end
local want_suspects = math.min(tonumber(ARGV[7]), want)
if meta[2] ~= "1" then
  if want_suspects > 0 and redis.call("LLEN", suspects_key) > 0 then
    claim_suspects(want_suspects, ARGV[8] == "1")
    suspects_claimed = claimed > 0
  end
  if want > claimed then claim_waiting(want - claimed, ghosts) end
  -- Ghosts may have been all that was found at the head: then the line goes first still, with the next call.
  local behind = ghosts > 0 and redis.call("LLEN", waiting_key) > 0
  if want > claimed and not behind and weight < WEIGHT and bytes < BYTES then claim_prioritized(want - claimed) end
end
local listed = ""
if claimed > 0 then
  redis.call("SADD", held_key, unpack(claimed_ids))
  listed = table.concat(claimed_ids, " ")
end

local flags, more = 0, redis.call("LLEN", waiting_key) > 0 or redis.call("EXISTS", prioritized_key) == 1
if meta[2] == "1" then flags = 1 end
if left then
  local next_at = took(claimed)
  left = left - claimed
  if left <= 0 and next_at > open_at then open_at = next_at end
  flags = flags + (left > 0 and 64 or 192)
  if left > 0 then
    open_at = 0
  elseif open_at > now and (due == 0 or open_at < due) then
    due = open_at
  end
  redis.call("HSET", meta_key, "full", open_at, "special", "1")
  meta[10] = "1"
elseif meta[10] and ghosts == 0 then
  redis.call("HDEL", meta_key, "special", "limited", "full")
  meta[10] = false
end
local open = meta[2] ~= "1" and (not left or left > 0)
if more and open then flags = flags + 2 end
if open and want_suspects > 0 and redis.call("LLEN", suspects_key) > 0 then flags = flags + 4 end
if meta[3] == "outcomes" then flags = flags + 8 elseif meta[3] == "off" then flags = flags + 16 end
if meta[4] and tonumber(meta[4]) > now then flags = flags + 32 end

local stream_id, fields, size = "", {}, 0
for i = published_from, #ARGV, 2 do
  fields[#fields + 1], fields[#fields + 2] = ARGV[i], ARGV[i + 1]
  size = size + #ARGV[i + 1]
end
if flags >= 32 and completed + others > 0 then
-- include "whole"
  local left_out, outcomes = whole_outcomes(16, completed, others_from, others, published_from)
  if left_out then
    fields[#fields + 1], fields[#fields + 2] = "outcomes", outcomes
    size = size + #outcomes
  end
end
if meta[3] ~= "off" and meta[3] ~= "outcomes" then
  if claimed > 0 then
    fields[#fields + 1], fields[#fields + 2] = "active", listed
    size = size + #listed
    if not more then fields[#fields + 1], fields[#fields + 2] = "drained", "" end
  end
  if promoted then
    local ids = table.concat(promoted, " ")
    fields[#fields + 1], fields[#fields + 2] = "waiting", ids
    size = size + #ids
  end
end
if #following > 0 and meta[3] ~= "off" and meta[3] ~= "outcomes" then
  fields[#fields + 1], fields[#fields + 2] = "added_ids", table.concat(following, " ")
end
if #fields > 0 then
  if #refused > 0 then fields[#fields + 1], fields[#fields + 2] = "refused", table.concat(refused, " ") end
  stream_id = publish(fields, size)
end

-- A due time is told to one worker; the others look again by themselves.
if due > 0 and tostring(due) == meta[9] then due = 0 end
local held = (tonumber(meta[7]) or 0) + claimed - settled
redis.call("HSET", meta_key, "held", string.format("%d", held), "number", meta[5] or "0", "bytes", meta[6] or "0", "sequence", meta[8] or "0", "completed", tally("c", meta[11], finished_count[1]))
if finished_count[2] > 0 then redis.call("HSET", meta_key, "failed", tally("f", redis.call("HGET", meta_key, "failed"), finished_count[2])) end
if due > 0 then redis.call("HSET", meta_key, "timer", due) end

local expired = {}
if ARGV[9] == "1" then
  local longest = redis.call("HGET", meta_key, "longest_lease") or ARGV[4]
  expired = redis.call("ZRANGEBYSCORE", workers_key, "-inf", string.format("(%.0f", now), "WITHSCORES", "LIMIT", 0, 20)
  local ahead = redis.call("ZRANGEBYSCORE", workers_key, string.format("(%.0f", now + 2 * longest), "+inf", "WITHSCORES", "LIMIT", 0, 20)
  for i = 1, #ahead do expired[#expired + 1] = ahead[i] end
end
wake(more or #following > 0 or (suspects_claimed and redis.call("LLEN", suspects_key) > 0))
return { now, flags, due, listed, claimed_records, extras, refused, expired, stream_id }
