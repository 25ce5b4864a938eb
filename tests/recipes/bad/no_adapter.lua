local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca { "rows.json" },
  batch = hone.pack { tokens = 64 },
  global_batch = 4, steps = 3,
  adapter = hone.lora { init = "nowhere" },
  optimizer = hone.adamw {},
}
