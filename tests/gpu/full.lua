-- SPDX-License-Identifier: MIT
-- Full fine-tuning at SmolLM2's shape, 8 rows of 1,024 tokens a step.
local hone = require "hone"

return hone.train {
  model     = hone.model { "smollm", init = "random" },
  data      = hone.data.alpaca { "long.json", max_tokens = 1024 },
  batch     = hone.pad { rows = 8 },
  optimizer = hone.adamw { lr = 2e-4 },
  schedule  = hone.constant {},
  global_batch = 8, steps = 30, seed = 0,
}
