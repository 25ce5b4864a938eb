-- Functions where none can be, and none where one should be.
-- set: data.template=x
local hone = require "hone"
local function double(row) return row end
return hone.train {
  model = hone.model { "model", init = double },
  data = hone.data.alpaca { "rows.json", map = "upper", val = double },
  batch = hone.pack(double),
  optimizer = hone.adamw { lr = double },
  global_batch = 4, steps = 3,
}
