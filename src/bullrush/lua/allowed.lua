#!lua flags=no-writes,allow-oom
-- Which commands the user of this connection may not run on the keys of a queue.
--
-- KEYS   meta
-- ARGV   names of commands
-- RETURN the names of those that are denied
local ARGUMENTS = { XREAD = { "STREAMS", meta_key, "0" }, CONFIG = { "GET", "save" } }
local told = {}
for i = 1, redis.acl_check_cmd and #ARGV or 0 do
  -- Where a command has keys, these are; what is none of them may be any text.
  local allowed, answer = pcall(redis.acl_check_cmd, ARGV[i], unpack(ARGUMENTS[ARGV[i]] or { meta_key, meta_key, meta_key }))
  if allowed and not answer then told[#told + 1] = ARGV[i] end
end
return told
