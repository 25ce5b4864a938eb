-- set: memory=16
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca "rows.json",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3, memory = "24gb",
}
