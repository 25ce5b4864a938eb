-- Words out of a fixed list.
local hone = require "hone"
return hone.train {
  model = hone.model { "model", storage = "bf61", init = "zeros" },
  data = hone.data.alpaca { "rows.json", long = "truncate", broken = "skp" },
  batch = hone.pack { tokens = 64 },
  optimizer = hone.adamw { state = "fp8" },
  global_batch = 4, steps = 3, precision = "half", keep = "some",
  memory = "16 gigabytes",
}
