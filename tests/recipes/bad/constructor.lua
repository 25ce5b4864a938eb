-- Constructors that there are not.
local hone = require "hone"
return hone.train {
  model = hone.modle "model",
  data = hone.data.alpacca { "rows.json" },
  batch = hone.packk { tokens = 64 },
  optimizer = hone.adam { lr = 1e-4 },
  global_batch = 4, steps = 3,
}
