local hone = require "hone"
return hone.train {
  model = hone.model { "one", "two" },
  adapter = hone.lora { 16 },
  data = hone.data.alpaca { "a.json", "b.json", [true] = 1, [7.5] = 2 },
  batch = hone.pad(8, 64),
  optimizer = hone.adamw "fast",
  global_batch = 4, steps = 3,
}
