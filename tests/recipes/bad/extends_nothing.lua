local hone = require "hone"
return hone.extend("nobody.lua", { steps = 3 })
