-- The full rate would come after the end of the run.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca "rows.json",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  schedule = hone.cosine { warmup = 500 },
  global_batch = 4, steps = 300,
}
