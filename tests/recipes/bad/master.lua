-- Weights in fp32 that are to be bf16.
local hone = require "hone"
return hone.train {
  model = hone.model { "model", storage = "fp32" },
  data = hone.data.alpaca "a.json",
  batch = hone.pad {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3, master = false,
}
