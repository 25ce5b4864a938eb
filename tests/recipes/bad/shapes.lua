-- Shapes that wait for chat templates.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.messages "rows.json",
  batch = hone.data.sharegpt "rows.json",
  adapter = hone.data.preference "rows.json",
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
