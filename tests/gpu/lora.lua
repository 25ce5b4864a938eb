-- SPDX-License-Identifier: MIT
-- LoRA with dropout on random weights of SmolLM2's shape.
local hone = require "hone"

return hone.train {
  model     = hone.model { "smollm", init = "random" },
  adapter   = hone.lora { r = 16, dropout = 0.05 },
  data      = hone.data.alpaca {
    "data/instruct/alpaca_fmt/gsm8k_train_alpaca.json",
    val = 8, max_tokens = 512,
  },
  batch     = hone.pad { rows = 16 },
  optimizer = hone.adamw { lr = 2e-3 },
  schedule  = hone.constant {},
  global_batch = 16, steps = 10, seed = 0,
}
