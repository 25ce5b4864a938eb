-- A row that is no JSON, and a file that nothing reads.
local hone = require "hone"
return hone.train {
  model = hone.model "../../../datasets/tiny",
  data = hone.data.alpaca { "../rows/broken.jsonl", "../rows/rows.xlsx" },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
