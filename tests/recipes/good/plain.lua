-- As little as a recipe can say.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca { "rows.json" },
  batch = hone.pack { tokens = 64 },
  optimizer = hone.adamw { lr = 2e-4, weight_decay = 0.01 },
  global_batch = 4,
  epochs = 1,
}
