-- The run's files would lie among those of the model.
local hone = require "hone"
return hone.train {
  model = hone.model "models/one",
  data = hone.data.alpaca "rows.json",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3, out = "models/one/run",
}
