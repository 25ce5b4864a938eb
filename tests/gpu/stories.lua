-- SPDX-License-Identifier: MIT
-- A small model with real weights: the same losses on every device in fp32.
local hone = require "hone"

return hone.train {
  model     = hone.model "data/weights/stories260K-hf",
  data      = hone.data.alpaca {
    "data/instruct/alpaca_fmt/gsm8k_train_alpaca.json",
    val = 16, max_tokens = 512,
  },
  batch     = hone.pad { rows = 4 },
  optimizer = hone.adamw { lr = 1e-3, weight_decay = 0.01 },
  schedule  = hone.cosine { warmup = 4 },
  global_batch = 8, steps = 20, seed = 0, shuffle = false,
}
