-- Labels that are not the row's own ids.
local hone = require "hone"
return hone.train {
  model = hone.model "../../../datasets/tiny",
  data = hone.data.tokenized "../rows/labels.jsonl",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
