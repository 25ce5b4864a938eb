local hone = require "hone"
local train = hone.train { steps = 3 }
