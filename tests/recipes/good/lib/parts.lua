local hone = require "hone"

return { optimizer = hone.adamw { lr = 0.5 } }
