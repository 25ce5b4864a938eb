-- Starting over would set the data aside with the old run.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca { "../bad/runs/rows.json" },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3, out = "./runs/",
}
