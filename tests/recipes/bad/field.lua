local hone = require "hone"
local opt = hone.adamw { lr = 1e-4 }
return hone.train { optimizer = opt, seed = opt.lr }
