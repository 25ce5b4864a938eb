local hone = require "hone"
return hone.extend("extends_itself.lua", { steps = 3 })
