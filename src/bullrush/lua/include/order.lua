-- Sets have no order: sort ids as numbers (shorter first, then as text), so that jobs return in the order of their ids.
local function by_id(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end
