-- Neither the model nor the data is where the recipe says.
local hone = require "hone"
return hone.train {
  model = hone.model "nowhere/model",
  data = hone.data.alpaca { "nowhere/rows.json", val = "nowhere/val.jsonl" },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
