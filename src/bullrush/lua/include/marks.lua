-- What several scripts must agree on.
local MARK = "\1"  -- in front of a list element: this job has a plan, attempts or a large record, look
local LARGE = 4000  -- bytes of a record from which on its element is marked
local SEARCHABLE = 10000  -- elements of a list in which one is searched for; a search through millions would stop the server
local BAND = 4294967296  -- of scores, for each priority
