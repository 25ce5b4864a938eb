-- A row of max_tokens does not fit where rows are laid, nor into a step.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca { "rows.json", max_tokens = 2048 },
  batch = hone.pack { tokens = 1024 },
  optimizer = hone.adamw {},
  global_tokens = 512, steps = 300,
}
