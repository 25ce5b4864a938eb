-- Three rows, and three of them held out.
local hone = require "hone"
return hone.train {
  model = hone.model "../../../datasets/tiny",
  data = hone.data.alpaca { "../rows/three.jsonl", val = 3 },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
