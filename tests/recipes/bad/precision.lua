-- What the device does not compute in.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca "rows.json",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3, device = "cpu", precision = "bf16",
  save = { keep = 3 },
}
