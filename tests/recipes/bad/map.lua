-- A mistake in a function that data goes through.
local hone = require "hone"
return hone.train {
  model = hone.model "../../../datasets/tiny",
  data = hone.data.alpaca {
    "../rows/three.jsonl",
    map = function(row)
      return { instruction = row.instruction, output = row.answer:upper() }
    end,
  },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
