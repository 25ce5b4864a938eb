local hone = require "hone"
local parts = require "nowhere.parts"
return hone.train {}
