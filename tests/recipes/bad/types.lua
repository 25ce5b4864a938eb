-- Values of the wrong type; a string is never taken for a number.
local hone = require "hone"
return hone.train {
  model = hone.model { 3 },
  adapter = hone.lora { r = 1.5, targets = { "q_proj", 4 }, rslora = 1 },
  data = hone.data.alpaca { { "a.json", 5 }, val = true },
  batch = hone.pack { tokens = "64" },
  optimizer = hone.adamw { lr = true, weight_decay = { 1 } },
  global_batch = 4.5, steps = "3", memory = 16, shuffle = "yes", save = 10,
  keep = { all = true }, eval = { 100 },
}
