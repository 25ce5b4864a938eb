-- The same on the command line.
-- set: learning_rate=1e-4 lora_r=16 save_steps=10 gradient_checkpointing=true
-- set: flash_attention=true optimizer.learning_rate=1 data.sequence_len=512
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca "rows.json",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
