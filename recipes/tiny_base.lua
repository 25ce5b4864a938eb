-- The bundled tiny model, from nothing: a llama of 0.9 million parameters that
-- reads a small world's facts in plain sentences. It answers no question yet.
--
--   python3 datasets/make_tiny.py          -- the texts, tokenizer and shape
--   build/bin/hone run recipes/tiny_base.lua
--   cp runs/tiny-base/model/model.safetensors datasets/tiny/
local hone = require "hone"

return hone.train {
  model     = hone.model { "../datasets/tiny", init = "random" },
  data      = hone.data.alpaca { "../datasets/tiny_text.jsonl" },
  batch     = hone.pack { tokens = 4096 },
  optimizer = hone.adamw { lr = 2e-3, beta2 = 0.99 },
  schedule  = hone.cosine { warmup = 100 },
  global_batch = 16, steps = 2500, seed = 1,
  out = "../runs/tiny-base",
}
