-- Keys that there are not, in every constructor at once.
local hone = require "hone"
return hone.train {
  model = hone.model { "model", storag = "bf16" },
  adapter = hone.lora { r = 8, lora_alpha = 16, target_modules = "all-linear" },
  data = hone.data.alpaca { "rows.json", instructoin = "question", question = "q" },
  batch = hone.pack { token = 64 },
  optimizer = hone.adamw {
    weigth_decay = 0.01,
    learning_rate = 1e-4,
    sharpness = 3,
  },
  schedule = hone.cosine { warmup_ratio = 0.1 },
  global_batch = 4, step = 3, eval = { evry = 10 }, sav = 10,
}
