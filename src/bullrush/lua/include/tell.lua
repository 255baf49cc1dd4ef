-- Write what a call of management did into the events, where the queue has them all; what ends jobs also where somebody
-- waits for results.
local function tell(fields, ends)
  if (meta[3] == "off" or meta[3] == "outcomes") and not (ends and tonumber(meta[4] or "0") > now) then return end
  local size = 0
  for i = 2, #fields, 2 do size = size + #fields[i] end
  publish(fields, size)
  redis.call("HSET", meta_key, "number", meta[5], "bytes", meta[6])
end
