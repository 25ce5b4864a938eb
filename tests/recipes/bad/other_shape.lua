local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca { "rows.json" },
  batch = hone.pack { tokens = 64 },
  global_batch = 4, steps = 3,
  adapter = hone.lora {
    init = "../good/adapter", r = 4, alpha = 16, targets = { "v_proj" },
  },
  optimizer = hone.adamw {},
}
