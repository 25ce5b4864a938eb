-- Teaches the bundled tiny model to answer questions, with LoRA, in under a
-- minute on two cores. The last 128 rows are held out: they ask about things
-- that no other row mentions, so the facts can only come from the base model.
local hone = require "hone"

return hone.train {
  model     = hone.model "../datasets/tiny",
  adapter   = hone.lora { r = 16, alpha = 32, targets = "all-linear" },
  data      = hone.data.alpaca { "../datasets/tiny_instruct.jsonl", val = 128 },
  batch     = hone.pack { tokens = 2048 },
  optimizer = hone.adamw { lr = 3e-3 },
  schedule  = hone.cosine { warmup = 10 },
  global_batch = 32, steps = 300, seed = 1,
  out = "../runs/quickstart",
}
