-- Slips in the names of what the machine has.
-- set: device=cup:0
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca "rows.json",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
  packs = { "cudda", "cpu" }, loggers = { "tensorbord", "wandb" },
}
