-- More than the model has: of layers, of positions, of modules.
local hone = require "hone"
return hone.train {
  model = hone.model "../../../datasets/tiny",
  adapter = hone.lora { targets = { "q_proj", "qkv_proj" } },
  data = hone.data.alpaca { "../rows/three.jsonl", max_tokens = 4096 },
  batch = hone.pack {},
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3, keep = { [0] = "all", [40] = "none" },
}
