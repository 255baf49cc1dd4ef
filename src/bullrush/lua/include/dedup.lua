-- include "ghosts"
-- Deduplication. The hash has k<key> = "<job> <until ms, 0 = as long as the job is open>", and n<key> = the job that
-- follows when this one ends (keep-last), packed as id, record, place.
local following = {}

-- A job with a plan leaves: its key is free unless a ttl alone decides (t throttle, d debounce), or it was removed by a
-- call. The job kept behind it, whatever the mode of this one, takes the key over, and is added.
local function let_go(id, plan, by_call)
  local owned = plan_part(plan, "d")
  if not owned then return end
  local mode, key = string.sub(owned, 1, 1), string.sub(owned, 2)
  local holder = redis.call("HGET", dedup_key, "k" .. key)
  if not holder or string.match(holder, "^%S+") ~= id then return end
  local next = redis.call("HGET", dedup_key, "n" .. key)
  if next then redis.call("HDEL", dedup_key, "n" .. key) end
  local job, record, place
  if next and not by_call then job, record, place = cmsgpack.unpack(next) end
  -- A user's id may have been added otherwise meanwhile: then it is not stored again.
  if job and redis.call("HEXISTS", jobs_key, job) == 0 then
    lay_ghost(job)
    meta[8] = (tonumber(meta[8]) or 0) + 1
    store(job, record, place, meta[8])
    redis.call("HSET", dedup_key, "k" .. key, job .. " 0")
    following[#following + 1] = job
  elseif by_call or (mode ~= "t" and mode ~= "d") then
    redis.call("HDEL", dedup_key, "k" .. key)
  end
end
