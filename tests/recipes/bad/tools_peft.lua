-- As somebody writes who knows PEFT's LoraConfig.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  adapter = hone.lora {
    r = 16, lora_alpha = 32, lora_dropout = 0.05, bias = "none",
    target_modules = { "q_proj" }, task_type = "CAUSAL_LM", use_dora = true,
    use_rslora = true, layers_to_transform = 3, init_lora_weights = "gaussian",
  },
  data = hone.data.alpaca "rows.json",
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
