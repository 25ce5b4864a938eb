-- Every option of hone.train.
local hone = require "hone"
local parts = require "parts"

return hone.train {
  model = hone.model { "/models/one", storage = "bf16", init = "random" },
  adapter = hone.lora {
    r = 8, alpha = 4, targets = { "q_proj", "v_proj" }, dropout = 0.1,
    rslora = true,
  },
  data = hone.data.alpaca {
    "a.json", "../b.jsonl", val = 0.02, max_tokens = 512, long = "drop",
    broken = "skip", output = "answer", instruction = "question",
  },
  batch = hone.pad { rows = 2, multiple = 16 },
  optimizer = parts.optimizer,
  schedule = hone.cosine { warmup = 0.03 },
  global_tokens = 4096,
  steps = 10,
  seed = 7,
  shuffle = false,
  clip = 0,
  precision = "fp32",
  memory = "1.5 GiB",
  device = "cpu",
  packs = { "mine", "cpu" },
  eval = { every = 5 },
  save = { every = 3, keep = 1 },
  keep = { [0] = "none", [3] = "all", [1] = "offload" },
  logits_chunk = 128,
  master = false,
  out = "out/full",
}
