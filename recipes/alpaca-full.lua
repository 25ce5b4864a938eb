-- Instruction tuning of the whole model: every weight learns. It takes about
-- 16 bytes a parameter (weight, gradient and two of AdamW, fp32), where LoRA
-- takes those of the adapter alone; `hone plan` counts them before anything
-- starts. The result is a model folder like the one it came from.
--
--   hone plan recipes/alpaca-full.lua
--   hone run  recipes/alpaca-full.lua
--   hone generate runs/alpaca-full/model --prompt "..."
--
-- The rest is as in alpaca-lora.lua.
local hone = require "hone"

return hone.train {
  model = hone.model "../models/SmolLM2-135M",
  data  = hone.data.alpaca { "../data/alpaca.json", val = 0.02,
                             max_tokens = 1024 },
  batch = hone.pack { tokens = 4096 },

  -- A tenth of LoRA's rate: all weights move, and what the model knew is
  -- easily lost. A second momentum of 0.95 follows a small data set faster.
  optimizer = hone.adamw { lr = 2e-5, beta2 = 0.95, weight_decay = 0.1 },
  schedule  = hone.cosine { warmup = 0.03 },
  clip = 1.0, -- the largest norm of a step's gradient

  global_batch = 64, epochs = 2,
  eval = { every = 50 },
  save = { every = 200, keep = 1 }, -- a checkpoint is as large as the states
  out = "../runs/alpaca-full",
}
