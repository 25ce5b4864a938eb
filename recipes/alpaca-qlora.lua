-- Instruction tuning with QLoRA: the model's weights are held in four bits, so
-- that a model of 8 billion parameters takes 5.4 GiB, and an adapter learns on
-- top of them. Rows { instruction, input, output } in Stanford Alpaca's
-- template.
--
--   hf download meta-llama/Llama-3.1-8B --local-dir models/Llama-3.1-8B
--   hone plan recipes/alpaca-qlora.lua       -- what it takes, before it starts
--   hone run  recipes/alpaca-qlora.lua
--   hone export runs/alpaca-qlora --to merged --out runs/alpaca-merged
local hone = require "hone"

return hone.train {
  -- A folder as Hugging Face has it, in bf16 or fp32: it is quantised as it is
  -- read. One that bitsandbytes quantised already needs no `storage`.
  model = hone.model { "../models/Llama-3.1-8B", storage = "nf4" },

  -- r is the rank: 8 to 64; more learns more and takes more memory. The update
  -- is scaled by alpha / r; alpha = 2 * r is usual.
  adapter = hone.lora { r = 16, alpha = 32, targets = "all-linear",
                        dropout = 0.05 },

  -- .json (one array) or .jsonl. The last 2 % are held out. Rows of more than
  -- 1024 tokens are cut; `hone prep` says how many.
  data = hone.data.alpaca { "../data/alpaca.json", val = 0.02,
                            max_tokens = 1024 },

  -- How rows lie in memory, not what is learnt: end to end, without padding.
  batch = hone.pack { tokens = 4096 },

  -- Activations of the layers are made again on the way back instead of kept:
  -- about a quarter more time, a fraction of the memory.
  keep = "none",

  -- 1e-4 to 3e-4 suits LoRA on most models; lower it if the loss jumps.
  optimizer = hone.adamw { lr = 2e-4, weight_decay = 0.01 },
  schedule  = hone.cosine { warmup = 0.03 }, -- below 1: a share of the steps

  global_batch = 32, -- rows of a step, however memory divides them
  epochs = 3,
  eval = { every = 50 },
  save = { every = 100, keep = 2 }, -- an interrupted run goes on from there
  out = "../runs/alpaca-qlora",
}
