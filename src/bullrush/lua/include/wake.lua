-- End of every script that can make a job claimable: at most two tokens, and only for what can be claimed now.
local function wake(something)
  if something and meta[2] ~= "1" and redis.call("LLEN", wake_key) < 2 then
    redis.call("LPUSH", wake_key, "1")
  end
end
