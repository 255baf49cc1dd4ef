#!lua flags=no-writes,allow-oom
-- The beginnings of job records: a name is wanted, and records may be megabytes.
--
-- KEYS   jobs
-- ARGV   bytes, then ids
-- RETURN for each id the first bytes of its record, or false
local records = {}
for i = 2, #ARGV do
  local record = redis.call("HGET", jobs_key, ARGV[i])
  records[i - 1] = record and string.sub(record, 1, tonumber(ARGV[1]))
end
return records
