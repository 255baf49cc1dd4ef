#!lua flags=no-writes,allow-oom
-- Where jobs stand, all places at one moment: whether what looked wrong page by page is so. Ask for few at a time.
--
-- KEYS   workers jobs waiting suspects prioritized delayed completed failed removed held*
-- ARGV   ids
-- RETURN for each id "record whole ghost elements places": has a record, all of `waiting` was searched, is to be skipped there (1 or 0), how often it stands there, its places; or an error: RETRY
-- include "whereabouts"
local missing = undeclared(10)
if missing then return redis.error_reply("RETRY worker " .. missing .. " came") end
local whole = redis.call("LLEN", waiting_key) <= WHOLE and redis.call("LLEN", suspects_key) <= WHOLE
local told = {}
for i = 1, #ARGV do
  local places, ghost, elements = whereabouts(ARGV[i], 10)
  local record = redis.call("HEXISTS", jobs_key, ARGV[i])
  told[i] = string.format("%d %d %d %d ", record, whole and 1 or 0, ghost and 1 or 0, elements) .. table.concat(places, " ")
end
return told
