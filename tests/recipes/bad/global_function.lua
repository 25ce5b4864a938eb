local hone = require "hone"
return hone.train { steps = tonumbr("3") }
