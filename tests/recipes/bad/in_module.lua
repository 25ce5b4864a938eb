-- The line of a constructor is that of its call, in whatever file.
local parts = require "parts"
return parts.train()
