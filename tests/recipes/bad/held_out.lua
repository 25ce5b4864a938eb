-- Held out is what is trained on; two columns are one.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca {
    "a.json", "b.json", val = "b.json",
    instruction = "text", output = "text",
  },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
