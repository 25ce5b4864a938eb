-- Options of one constructor in another.
local hone = require "hone"
return hone.train {
  model = hone.model { "model", epochs = 3 },
  adapter = hone.lora { lr = 1e-4, learning_rate = 1e-4 },
  data = hone.data.alpaca { "rows.json", batch_size = 3, r = 16 },
  batch = hone.pack { rows = 8, save_steps = 10 },
  optimizer = hone.adamw { warmup_ratio = 0.03, clip = 1, momentum = 0.9 },
  schedule = hone.cosine { lr = 1e-4, steps = 10 },
  global_batch = 4, steps = 3, r = 16, alpha = 32, warmup = 0.03,
}
