-- Limits on starts: a global concurrency, and a rate, that of the queue or else of the worker that asks. Only calls with a
-- limit come here. Starts within a window are counted in the list `limiter`, elements "<end of slot> <count>", the oldest
-- first; a slot is a thousandth of the window and counts until its end has left it, so no window ever has more than max. The
-- list goes by itself with its last slot.
-- With a burst it is a bucket of tokens: "<tokens> <ms when counted>" in meta. `limited` in meta is a hold set by hand or by a
-- handler, `full` only tells wake until when the rate is used up.
local rate = { max = false }
local window_used, tokens = 0, 0

local function slot_of(element)
  local at, count = string.match(element, "^(%d+) (%d+)$")
  return tonumber(at), tonumber(count)
end

-- Given back without a start: the oldest starts are forgotten, which never makes room too early.
local function refund_window(count)
  while count > 0 do
    local head = redis.call("LINDEX", limiter_key, 0)
    if not head then return end
    local at, n = slot_of(head)
    if n > count then
      redis.call("LSET", limiter_key, 0, string.format("%.0f %d", at, n - count))
    else
      redis.call("LPOP", limiter_key)
    end
    window_used = window_used - math.min(n, count)
    count = count - n
  end
end

-- How many may start in this window, and when the next may, if none.
local function window_left()
  local width = math.max(1, math.floor(rate.duration / 1000))
  while true do
    local head = redis.call("LINDEX", limiter_key, 0)
    if not head then
      window_used = 0
      return rate.max, 0
    end
    local at, count = slot_of(head)
    if at > now + width then
      -- The clock went back: what lies ahead counts from now on.
      redis.call("UNLINK", limiter_key)
      redis.call("RPUSH", limiter_key, string.format("%.0f %d", now, window_used))
      return rate.max - window_used, now + rate.duration
    end
    if at + rate.duration > now then return rate.max - window_used, at + rate.duration end
    redis.call("LPOP", limiter_key)
    window_used = window_used - count
  end
end

local function bucket_left()
  return math.floor(tokens + 1e-9), now + math.ceil((1 - tokens) * rate.duration / rate.max - 1e-6)
end

-- How many jobs may start now, and when to look again when that is none (0: when a job ends). nil: there is no limit.
local function allowance(own, held, refunds)
  local set = redis.call("HMGET", meta_key, "concurrency", "rate", "limited", "window", "bucket")
  local left, open_at = nil, 0
  if set[1] then left = math.max(0, set[1] - held) end
  local text = set[2] or own
  if text ~= "" then
    local max, duration, burst = string.match(text, "^(%d+) (%d+) ?(%d*)$")
    rate.max, rate.duration, rate.burst = tonumber(max), tonumber(duration), tonumber(burst)
    window_used = tonumber(set[4]) or 0
    local by_rate, at
    if rate.burst then
      local counted, since = string.match(set[5] or "", "^(%S+) (%d+)$")
      tokens = math.min(rate.burst, (counted or rate.burst) + refunds + math.max(0, now - (since or now)) * rate.max / rate.duration)
      by_rate, at = bucket_left()
    else
      refund_window(refunds)
      by_rate, at = window_left()
    end
    if by_rate <= 0 then by_rate, open_at = 0, at end
    left = math.min(left or by_rate, by_rate)
  end
  if set[3] and tonumber(set[3]) > now then left, open_at = 0, math.max(open_at, tonumber(set[3])) end
  return left, open_at
end

-- Note starts; returns when the next may follow if no more may now, else 0.
local function took(count)
  if not rate.max then return 0 end
  if rate.burst then
    tokens = tokens - count
    redis.call("HSET", meta_key, "bucket", string.format("%.6f %.0f", tokens, now))
    local left, at = bucket_left()
    return left > 0 and 0 or at
  end
  if count > 0 then
    local width = math.max(1, math.floor(rate.duration / 1000))
    -- The first ms behind it: what started at the end of a ms is not forgotten at the beginning of one.
    local slot = math.floor(now / width) * width + width
    local last = redis.call("LINDEX", limiter_key, -1)
    local at, n = slot_of(last or "0 0")
    if at >= slot then
      redis.call("LSET", limiter_key, -1, string.format("%.0f %d", at, n + count))
    else
      redis.call("RPUSH", limiter_key, string.format("%.0f %d", slot, count))
      redis.call("PEXPIRE", limiter_key, string.format("%.0f", slot + rate.duration - now + 1))
    end
    window_used = window_used + count
  end
  redis.call("HSET", meta_key, "window", window_used)
  if window_used < rate.max then return 0 end
  local head = redis.call("LINDEX", limiter_key, 0)
  return head and slot_of(head) + rate.duration or 0
end
