-- From nothing: a llama of 0.9 million parameters learns to write sentences
-- about a small world, in about a minute on two cores. All of a text is
-- learnt, and that it ends.
--
--   hone run recipes/pretrain-tiny.lua
--   hone generate runs/pretrain-tiny/model --prompt "The capital of"
--
-- For a model of your own, write its shape as a Hugging Face config.json and
-- put a tokenizer.json beside it: nothing else is read with init = "random".
local hone = require "hone"

return hone.train {
  model = hone.model { "../datasets/tiny", init = "random" },

  -- Rows { text }; the bundled file calls that column `output`. Longer texts
  -- than the model has positions for become several rows.
  data = hone.data.text { "../datasets/tiny_text.jsonl", text = "output",
                          val = 200, max_tokens = 512, long = "split" },
  batch = hone.pack { tokens = 4096 },

  -- Small models take large rates. The rate stays up for most of the run and
  -- comes down over the last fifth.
  optimizer = hone.adamw { lr = 3e-3, beta2 = 0.95, weight_decay = 0.1 },
  schedule  = hone.wsd { warmup = 50, decay = 0.2, decay_type = "linear" },

  global_batch = 32, steps = 800, seed = 1,
  eval = { every = 200 },
  out = "../runs/pretrain-tiny",
}
