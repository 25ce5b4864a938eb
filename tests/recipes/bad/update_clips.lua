-- Clipping needs the norm of all gradients before any weight changes.
local hone = require "hone"
return hone.train {
  model = hone.model "../../../datasets/tiny",
  data = hone.data.alpaca { "../rows/three.jsonl" },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 3, steps = 3, update = "backward",
}
