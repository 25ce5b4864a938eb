-- Instruction tuning with LoRA: rows { instruction, input, output } in
-- Stanford Alpaca's template. The result is a small adapter for PEFT.
--
--   hf download HuggingFaceTB/SmolLM2-135M --local-dir models/SmolLM2-135M
--   hone check recipes/alpaca-lora.lua       -- every mistake at once
--   hone prep  recipes/alpaca-lora.lua --show 2   -- what the model will see
--   hone run   recipes/alpaca-lora.lua
--   hone export runs/alpaca-lora --to merged --out runs/alpaca-merged
local hone = require "hone"

return hone.train {
  -- A folder as Hugging Face has it: config.json, *.safetensors,
  -- tokenizer.json. Paths are relative to this file.
  model = hone.model "../models/SmolLM2-135M",

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

  -- 1e-4 to 3e-4 suits LoRA on most models; lower it if the loss jumps.
  optimizer = hone.adamw { lr = 2e-4, weight_decay = 0.01 },
  schedule  = hone.cosine { warmup = 0.03 }, -- below 1: a share of the steps

  global_batch = 32, -- rows of a step, however memory divides them
  epochs = 3,
  eval = { every = 50 },
  save = { every = 100, keep = 2 }, -- an interrupted run goes on from there
  out = "../runs/alpaca-lora",
}
