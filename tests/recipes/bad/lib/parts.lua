local hone = require "hone"
local M = {}

function M.train()
  return hone.train {
    optimizer = hone.adamw { lr = -1 },
  }
end

return M
