-- No weight of the model trains, in whatever storage.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  adapter = hone.lora { r = 8 },
  data = hone.data.alpaca "a.json",
  batch = hone.pad {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3, master = false,
}
