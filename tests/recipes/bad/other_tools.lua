-- Names of other tools, at the level where those have them.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca { "rows.json" },
  batch = hone.pack { tokens = 64 },
  global_batch = 4, steps = 3,
  optimizer = hone.adamw {},
  learning_rate = 1e-4, lora_alpha = 16, warmup_ratio = 0.1, optim = "adamw",
  max_grad_norm = 1, num_train_epochs = 3, gradient_checkpointing = true,
}
