-- The file calls its columns otherwise.
local hone = require "hone"
return hone.train {
  model = hone.model "../../../datasets/tiny",
  data = hone.data.alpaca "../rows/questions.jsonl",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
