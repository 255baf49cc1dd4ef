#!lua flags=allow-oom
-- Open a session: fence the one before it on a lost socket, tell what of it was applied, hand out a first block of ids.
-- A worker also registers its number (40 random bits), or takes it up again and learns which jobs it still holds.
--
-- KEYS   meta sessions ids workers hosts jobs plans attempts waiting suspects prioritized delayed completed failed outcomes events wake removed progress logs logged dedup expiries limiter metrics held
-- ARGV   session previous block epoch codec events number register lease host
-- RETURN now epoch previous_applied previous_answer last_id events codec held_ids, or an error: LAYOUT, TYPE, DENIED, CODEC, TAKEN, LEASE
local TYPES = { meta_key, "hash", sessions_key, "hash", ids_key, "string", workers_key, "zset", hosts_key, "hash",
  jobs_key, "hash", plans_key, "hash", attempts_key, "hash", waiting_key, "list", suspects_key, "list",
  prioritized_key, "zset", delayed_key, "zset", completed_key, "zset", failed_key, "zset", outcomes_key, "hash",
  events_key, "stream", wake_key, "list", removed_key, "set", progress_key, "hash", logs_key, "zset", logged_key, "hash",
  dedup_key, "hash", expiries_key, "zset", limiter_key, "list", metrics_key, "hash" }
for i = 1, #TYPES, 2 do
  local kind = redis.call("TYPE", TYPES[i]).ok
  if kind ~= "none" and kind ~= TYPES[i + 1] then
    return redis.error_reply("TYPE " .. TYPES[i] .. " is a " .. kind .. ", not a " .. TYPES[i + 1])
  end
end
if redis.acl_check_cmd then
  local COMMANDS = { "HSET", "HDEL", "HMGET", "HGET", "HINCRBY", "HEXISTS", "HSTRLEN", "HRANDFIELD", "LPUSH", "RPUSH", "RPOP", "LLEN", "LRANGE",
    "LREM", "LINDEX", "SADD", "SREM", "SCARD", "SMEMBERS", "SISMEMBER", "SMISMEMBER", "ZADD", "ZREM", "ZCARD", "ZSCORE", "ZRANGE",
    "ZRANGEBYSCORE", "ZREMRANGEBYRANK", "ZREMRANGEBYLEX", "ZLEXCOUNT", "LPOP", "LSET", "LPOS", "PEXPIRE", "XADD", "XRANGE", "XLEN", "XTRIM", "UNLINK", "EXISTS", "INCRBY" }
  for i = 1, #COMMANDS do
    if not redis.acl_check_cmd(COMMANDS[i], meta_key, meta_key, meta_key) then
      return redis.error_reply("DENIED " .. COMMANDS[i])
    end
  end
end
local meta = redis.call("HMGET", meta_key, "layout", "epoch", "events", "codec")
if meta[1] and meta[1] ~= "1" then return redis.error_reply("LAYOUT " .. meta[1]) end
if meta[4] and ARGV[5] ~= meta[4] then return redis.error_reply("CODEC " .. meta[4]) end

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number, lease = ARGV[7], ARGV[9]
local deadline = number ~= "" and redis.call("ZSCORE", workers_key, number)
if number ~= "" then
  if ARGV[8] == "1" and (deadline or redis.call("HEXISTS", sessions_key, "w" .. number) == 1) then return redis.error_reply("TAKEN " .. number) end
  if ARGV[8] ~= "1" and (not deadline or tonumber(deadline) == 0) then return redis.error_reply("LEASE lost") end
end

-- From here on the call is accepted.
if not meta[1] then
  redis.call("HSET", meta_key, "layout", "1", "epoch", ARGV[4], "codec", ARGV[5])
  meta[2], meta[4] = ARGV[4], ARGV[5]
end
if ARGV[6] ~= "" then
  redis.call("HSET", meta_key, "events", ARGV[6])
  meta[3] = ARGV[6]
end

local previous_applied, previous_answer = false, false
if ARGV[2] ~= "" then
  local stored = redis.call("HGET", sessions_key, ARGV[2])
  if stored then
    previous_applied = string.match(stored, "^x?(%d+)")
    local answer = redis.call("HGET", sessions_key, ARGV[2] .. ":a")
    if answer and string.match(answer, "^%d+") == previous_applied then previous_answer = answer end
    redis.call("HSET", sessions_key, ARGV[2], "x" .. previous_applied .. " " .. time[1])
  end
end
-- A late copy of this very call must not revive a session that a later open has closed.
if not redis.call("HGET", sessions_key, ARGV[1]) then
  redis.call("HSET", sessions_key, ARGV[1], "0 " .. time[1])
end

-- Sessions that were closed an hour ago or idle for a day leave, a few at a visit.
local sample = redis.call("HRANDFIELD", sessions_key, 20, "WITHVALUES")
for i = 1, #sample, 2 do
  local was_closed, second = string.match(sample[i + 1], "^(x?)%d+ (%d+)$")
  if second and not string.find(sample[i], ":", 1, true) and time[1] - second > (was_closed == "x" and 3600 or 86400) then
    redis.call("HDEL", sessions_key, sample[i], sample[i] .. ":a")
  end
end

local last_id = false
if tonumber(ARGV[3]) > 0 then last_id = redis.call("INCRBY", ids_key, ARGV[3]) end

local held_ids = {}
if number ~= "" then
  redis.call("ZADD", workers_key, string.format("%.0f", now + lease), number)
  redis.call("HSET", hosts_key, number, ARGV[10])
  local longest = tonumber(redis.call("HGET", meta_key, "longest_lease")) or 0
  if tonumber(lease) > longest then redis.call("HSET", meta_key, "longest_lease", lease) end
  held_ids = redis.call("SMEMBERS", held_key)
end
return { now, meta[2], previous_applied, previous_answer, last_id, meta[3] or "all", meta[4], held_ids }
