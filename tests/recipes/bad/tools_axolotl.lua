-- As somebody writes who knows Axolotl's yaml.
local hone = require "hone"
return hone.train {
  base_model = "model", load_in_4bit = true,
  datasets = "rows.json", val_set_size = 0.02, train_on_inputs = false,
  adapter = hone.lora {}, lora_r = 16, lora_target_linear = true,
  sequence_len = 2048, sample_packing = true, pad_to_sequence_len = true,
  micro_batch_size = 2, gradient_accumulation_steps = 4, num_epochs = 1,
  optimizer = hone.adamw {}, lr_scheduler = "cosine", warmup_ratio = 0.1,
  flash_attention = true, saves_per_epoch = 1, wandb_project = "x",
}
