#!lua flags=no-writes,allow-oom
-- What is stored of jobs that somebody waits for, read at one moment. An outcome counts only if the job has finished:
-- that of a failed attempt is kept while the job is retried.
--
-- KEYS   jobs completed failed outcomes
-- ARGV   ids
-- RETURN for each id, until the reply has 4 MB: its outcome, 1 = has not finished, 0 = no such job
local LIMIT = 4194304
local bytes, answers = 0, {}
for i = 1, #ARGV do
  local id, answer = ARGV[i], 0
  if redis.call("ZSCORE", completed_key, id) or redis.call("ZSCORE", failed_key, id) then
    answer = redis.call("HGET", outcomes_key, id) or 0
  elseif redis.call("HEXISTS", jobs_key, id) == 1 then
    answer = 1
  end
  answers[i] = answer
  if answer ~= 0 and answer ~= 1 then bytes = bytes + #answer end
  if bytes > LIMIT then break end
end
return answers
