local hone = require "hone"
return hone.train {
  model = hone.model "model",
  adapter = hone.lora { r = 0, dropout = 1 },
  data = hone.data.alpaca { "rows.json", val = 1.5, max_tokens = -1 },
  batch = hone.pack { tokens = 0 },
  optimizer = hone.adamw { lr = 1/0, beta2 = 0/0, eps = -1e-8 },
  global_batch = 0, epochs = -1, clip = -0.5, seed = -1,
}
