-- Somebody waits for results, but the worker did not know when it packed this call: then what it left out of its events
-- (large values, or everything where events are off) is published here. A packed outcome is OUTCOME_HEAD bytes and the value.
local OUTCOME_HEAD = 39

local function packed_size(id, outcome)
  return (#id < 32 and 1 or 2) + #id + #outcome - OUTCOME_HEAD
end

-- Each id with its outcome, as arguments of cmsgpack and raw bytes; `left_out` if the events of the call hold less than these.
local function whole_outcomes(pairs_from, completed, others_from, others, published_from)
  local parts, values, failures, n = {}, 0, 0, 0
  local function note(id, outcome)
    parts[n + 1], parts[n + 2] = cmsgpack.pack(id), outcome
    n = n + 2
  end
  for i = pairs_from, pairs_from + 2 * completed - 2, 2 do
    note(ARGV[i], ARGV[i + 1])
    values = values + packed_size(ARGV[i], ARGV[i + 1])
  end
  for i = others_from, others_from + 5 * others - 5, 5 do
    if ARGV[i] == "c" then values = values + packed_size(ARGV[i + 1], ARGV[i + 2]) end
    local failed = ARGV[i] == "f" or ARGV[i] == "e"
    if failed then failures = failures + 1 end
    if ARGV[i] == "c" or failed then note(ARGV[i + 1], ARGV[i + 2]) end
  end
  for i = published_from, #ARGV, 2 do
    if ARGV[i] == "completed" then values = values - #ARGV[i + 1] end
    if ARGV[i] == "failed" then failures = 0 end
  end
  local left_out = values > 0 or failures > 0
  return left_out, table.concat(parts)
end
