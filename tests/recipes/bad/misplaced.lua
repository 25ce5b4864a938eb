-- Values in the place of others.
local hone = require "hone"
return hone.train {
  model = "model",
  adapter = { r = 8 },
  data = hone.model "rows.json",
  batch = hone.adamw {},
  optimizer = hone.cosine {},
  schedule = hone.pad,
  global_batch = hone.pack {}, steps = 3,
}
