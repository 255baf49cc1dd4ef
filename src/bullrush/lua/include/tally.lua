-- How many jobs ended in the running minute: "<minute> <completed> <failed>". Minutes that are over stand behind it, the
-- newest first, until a worker's `measure` moves them to `metrics`.
local function tally(completed, failed)
  local this = math.floor(time[1] / 60)
  local minute, c, f, past = string.match(meta[11] or "", "^(%d+) (%d+) (%d+)(.*)$")
  if not minute then return this .. " " .. completed .. " " .. failed end
  if tonumber(minute) == this then return minute .. " " .. c + completed .. " " .. f + failed .. past end
  past = " " .. minute .. ":" .. c .. ":" .. f .. past
  if #past > 2000 then past = string.match(string.sub(past, 1, 2000), "^(.*) ") end
  return this .. " " .. completed .. " " .. failed .. past
end
