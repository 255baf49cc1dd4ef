-- include "marks"
-- An id that is to stand in the list again must not be taken for its ghost, which goes, however long the search.
local function lay_ghost(id)
  if redis.call("SREM", removed_key, id) == 1 and redis.call("LREM", waiting_key, 1, id) == 0 then
    redis.call("LREM", waiting_key, 1, MARK .. id)
  end
end
