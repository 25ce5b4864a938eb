-- Every row is left out; the template gives one text.
local hone = require "hone"
return hone.train {
  model = hone.model "../../../datasets/tiny",
  data = hone.data.alpaca {
    "../rows/three.jsonl",
    map = function(row)
      return row.instruction == "a" and row or nil
    end,
    template = function(row) return row.instruction end,
  },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
