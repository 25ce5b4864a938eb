-- Options that exclude each other.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca { "a.json", files = "b.json" },
  batch = hone.pad {},
  optimizer = hone.adamw {},
  global_batch = 4, global_tokens = 4096, epochs = 1, steps = 3,
  eval = { every = 10 },
}
