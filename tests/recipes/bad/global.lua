-- A slip in the name of a local variable.
local hone = require "hone"
local rate = 1e-4
return hone.train { optimizer = hone.adamw { lr = raet } }
