local hone = require "hone"
return hone.train {}
