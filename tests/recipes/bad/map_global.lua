-- A slip in the name of a local, found when the function runs.
local hone = require "hone"
local prefix = "Q: "
return hone.train {
  model = hone.model "../../../datasets/tiny",
  data = hone.data.alpaca {
    "../rows/three.jsonl",
    template = function(row)
      return prefix .. row.instruction, perfix .. row.output
    end,
  },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
