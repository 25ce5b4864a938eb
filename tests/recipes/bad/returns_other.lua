local hone = require "hone"
return hone.adamw { lr = 1e-4 }
