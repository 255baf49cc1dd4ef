-- End of a numbered call: its answer stays beside the session until the next one, so that it survives a lost reply.
local function answer(text)
  redis.call("HSET", sessions_key, ARGV[1], ARGV[2] .. " " .. time[1], ARGV[1] .. ":a", ARGV[2] .. " " .. text)
  return text
end
