-- LoRA on a 7B model whose weights stay in bf16, on a card of 24 GiB such as an
-- A10. Time and cost, before the card is rented:
--
--   hone plan recipes/mistral-lora-24gb.lua --card a10 --price 1
--   hone run  recipes/mistral-lora-24gb.lua
local hone = require "hone"

return hone.train {
  model = hone.model "../models/Mistral-7B-v0.3",
  adapter = hone.lora { r = 16, alpha = 32, targets = "all-linear" },
  data = hone.data.alpaca { "../data/alpaca.json", val = 0.02,
                            max_tokens = 2048 },
  batch = hone.pack { tokens = 8192 }, -- at most; see mistral-qlora-16gb.lua
  memory = "21.5GiB", -- what the driver of an A10 leaves of its 24 GB

  optimizer = hone.adamw { lr = 2e-4 },
  schedule  = hone.cosine { warmup = 0.03 },
  global_batch = 32, epochs = 1,
  save = { every = 100 },
  out = "../runs/mistral-lora",
}
