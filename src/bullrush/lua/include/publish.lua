-- Write one entry for all events of this call, with a dense number and the bytes written before it.
-- The stream is bounded by bytes: whenever another 256 kB have been written, keep as many entries as fit into 8 MB.
local STREAM_BYTES = 8388608
local function publish(fields, size)
  -- Numbers are formatted as integers: Redis prints doubles, twice as dear.
  local number, bytes = string.format("%d", (tonumber(meta[5]) or 0) + 1), tonumber(meta[6]) or 0
  local id = redis.call("XADD", events_key, "*", "n", number, "o", meta[6] or "0", unpack(fields))
  local after = bytes + size + 48
  if math.floor(after / 262144) ~= math.floor(bytes / 262144) then
    local first = redis.call("XRANGE", events_key, "-", "+", "COUNT", 1)[1]
    local kept = after - tonumber(first[2][4])
    if kept > STREAM_BYTES then
      redis.call("XTRIM", events_key, "MAXLEN", math.floor(redis.call("XLEN", events_key) * STREAM_BYTES / kept))
    end
  end
  meta[5], meta[6] = number, string.format("%d", after)
  return id
end
