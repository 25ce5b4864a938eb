-- As somebody writes who knows TRL's SFTConfig.
local hone = require "hone"
return hone.train {
  model = hone.model { "model", load_in_4bit = true, torch_dtype = "auto" },
  data = hone.data.text {
    "rows.json", max_seq_length = 2048, dataset_text_field = "body",
    dataset_num_proc = 4,
  },
  batch = hone.pad { pad_to_multiple_of = 8, packing = true },
  optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
  completion_only_loss = true, formatting_func = 1, eval_dataset = "x.json",
  max_length = 1024, packing = true,
}
