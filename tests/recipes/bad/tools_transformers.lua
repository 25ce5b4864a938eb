-- As somebody writes who knows Transformers' TrainingArguments.
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca "rows.json",
  batch = hone.pack {},
  optimizer = hone.lion {},
  schedule = hone.linear {},
  steps = 3,
  output_dir = "out",
  per_device_train_batch_size = 4,
  gradient_accumulation_steps = 8,
  learning_rate = 1e-4, weight_decay = 0.1, adam_beta1 = 0.9,
  adam_epsilon = 1e-8, lr_scheduler_type = "cosine", warmup_steps = 10,
  eval_strategy = "steps", eval_steps = 100, save_steps = 100,
  save_total_limit = 2, bf16 = true, gradient_checkpointing = true,
  report_to = "wandb", logging_steps = 1, dataloader_num_workers = 4,
  deepspeed = "ds.json", group_by_length = true, torch_compile = true,
}
