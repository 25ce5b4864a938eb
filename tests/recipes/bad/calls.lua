-- Calls that are not constructors, and a value given twice.
local hone = require "hone"
local model = hone.model { "a", path = "b" }
return hone.train { model = model, data = hone.data { "rows.json" } }
