local hone = require "hone"
rate = 1e-4
return hone.train {}
