-- Way up and way down together are longer than the run.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca "rows.json",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  schedule = hone.wsd { warmup = 0.5, decay = 200 },
  global_batch = 4, steps = 300,
}
