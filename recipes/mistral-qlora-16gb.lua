-- Instruction tuning of a 7B model on a card of 16 GiB: weights in four bits, an
-- adapter on top. `memory` is what the process may take; hone finds out what to
-- keep, to compute again and how long micro-batches are, and says so.
--
--   hf download mistralai/Mistral-7B-v0.3 --local-dir models/Mistral-7B-v0.3
--   hone plan recipes/mistral-qlora-16gb.lua --card t4   -- for a card elsewhere
--   hone run  recipes/mistral-qlora-16gb.lua
local hone = require "hone"

return hone.train {
  model = hone.model { "../models/Mistral-7B-v0.3", storage = "nf4" },
  adapter = hone.lora { r = 16, alpha = 32, targets = "all-linear" },

  -- Rows of more than 2048 tokens are cut; `hone prep` says how many.
  data = hone.data.alpaca { "../data/alpaca.json", val = 0.02,
                            max_tokens = 2048 },

  -- At most so many tokens at a time: fewer where memory asks for it.
  batch = hone.pack { tokens = 8192 },
  memory = "14.5GiB", -- a T4 has little more, of its 16 GB

  optimizer = hone.adamw { lr = 2e-4 },
  schedule  = hone.cosine { warmup = 0.03 },
  global_batch = 32, epochs = 1,
  save = { every = 100 },
  out = "../runs/mistral-qlora",
}
