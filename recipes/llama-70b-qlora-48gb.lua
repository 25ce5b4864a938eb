-- QLoRA on a 70B model, on a card of 48 GiB: weights in four bits, the table of
-- embeddings in host memory, layers computed again on the way back.
--
--   hone plan recipes/llama-70b-qlora-48gb.lua --card a100-80gb
--   hone run  recipes/llama-70b-qlora-48gb.lua
local hone = require "hone"

return hone.train {
  model = hone.model { "../models/Llama-3.1-70B", storage = "nf4",
                       embeddings = "host" },
  adapter = hone.lora { r = 16, alpha = 32, targets = "all-linear" },
  data = hone.data.alpaca { "../data/alpaca.json", val = 0.02,
                            max_tokens = 4096 },
  batch = hone.pack { tokens = 4096 },
  memory = "46GiB",

  optimizer = hone.adamw { lr = 1e-4 },
  schedule  = hone.cosine { warmup = 0.03 },
  global_batch = 16, epochs = 1,
  save = { every = 50 },
  out = "../runs/llama-70b-qlora",
}
