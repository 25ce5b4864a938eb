-- The whole of an 8B model, on a card of 24 GiB. Its weights are bf16, rounded at
-- random by updates, so that small steps count. What the optimizer remembers is
-- eight bits a number and lies in host memory (16 GiB of it, pinned), from where
-- it comes and goes beside the computation. A layer is updated as soon as its
-- gradients are there: that needs one micro-batch a step, and no clipping.
--
--   hone plan recipes/llama-8b-full-24gb.lua --card rtx-4090
--   hone run  recipes/llama-8b-full-24gb.lua
local hone = require "hone"

return hone.train {
  model = hone.model "../models/Llama-3.1-8B",
  master = false, update = "backward", states = "host", clip = 0,

  data = hone.data.alpaca { "../data/alpaca.json", val = 0.02,
                            max_tokens = 512 },

  -- Four rows are one micro-batch, and a step.
  batch = hone.pad { rows = 4, multiple = 64 },
  global_batch = 4, epochs = 1,
  memory = "22.5GiB",

  optimizer = hone.adamw { lr = 1e-5, state = "int8" },
  schedule  = hone.cosine { warmup = 0.03 },
  save = { every = 2000, keep = 1 },
  out = "../runs/llama-full",
}
