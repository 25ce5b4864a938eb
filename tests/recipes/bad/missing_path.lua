local hone = require "hone"
return hone.train {
  model = hone.model { storage = "nf4" },
  data = hone.data.alpaca { val = 0.1, long = "drop" },
  batch = hone.pad {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
