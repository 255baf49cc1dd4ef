-- Parts of a plan (see place): text behind NUL and a letter, up to the next NUL. No part has a NUL inside.
local function plan_part(plan, letter)
  local at = string.find(plan, "\0" .. letter, 1, true)
  if not at then return nil end
  local stop = string.find(plan, "\0", at + 1, true)
  return string.sub(plan, at + 2, stop and stop - 1)
end

local function plan_without(plan, letter)
  local at = string.find(plan, "\0" .. letter, 1, true)
  if not at then return plan end
  local stop = string.find(plan, "\0", at + 1, true)
  return string.sub(plan, 1, at - 1) .. (stop and string.sub(plan, stop) or "")
end
