-- SPDX-License-Identifier: MIT
--
-- What other tools call it: the keys of Transformers' TrainingArguments, of
-- TRL's SFTConfig, of PEFT's LoraConfig, of Axolotl's and LLaMA-Factory's yaml,
-- for the answer when somebody writes one of them in a recipe.
--
--   name = "clip"               hone.train's option `clip`
--   name = "optimizer.lr"       option `lr` of the constructor in `optimizer`
--   name = "save.every"         save = { every = ... }
--   name = "clip: more"         with a word of explanation
--   name = ": why"              there is no such option, because...
--
-- tests/parity/names.py asks the tools for their keys.

local whole_step = "the rows of a whole step: those of a device times "
  .. "accumulation times devices"
local rate = "below 1: a share of the steps"
local every_steps = "in steps; 0: only at the end"
local constructor = "a constructor such as hone.cosine, with its options"
local precision = "one word: fp32, bf16 or fp16"
local in_file = "the file that is held out, or rows, or a share of them"

local kernels = ": hone picks kernels by itself; leave it out"
local layout = ": evaluation uses the layout of training; leave it out"
local metrics = ": every step is in metrics.jsonl; leave it out"
local hub = ": hone uploads nothing; leave it out"
local processes = ": several processes are not there yet; leave it out"
local loader = ": one thread reads ahead, always; leave it out"
local compiled = ": hone compiles every step; leave it out"
local as_needed = ": hone computes what it needs; leave it out"
local always = ": hone does that always; leave it out"
local never = ": hone never does that; leave it out"
local missing = ": hone has no such thing yet; leave it out"
local verbs = ": the verb says it: hone run, hone eval; leave it out"
local resumes = ": hone run resumes what it finds in `out`; leave it out"
local tokenizer = ": the model's own tokenizer is read; leave it out"
local chat = ": hone.data.messages and hone.data.sharegpt use the chat "
  .. "template in the model's folder, chat_template.jinja first; leave it out"
local turns = ": hone.data.messages and hone.data.sharegpt take the names of "
  .. "columns, of a message's keys and of roles: role = \"from\""
local weights = ": a message with weight = 0 is not learnt; map sets it"
local thoughts = ": the template sees a message's reasoning_content; map "
  .. "fills it"
local learnt = "data.loss: \"assistant\", \"last\" or \"all\" of a row"
local workers = ": hone prep takes all cores, $HONE_WORKERS says how many; "
  .. "leave it out"
local mixed = "data: hone.mix { { hone.data.text { \"file\" }, weight }, ... }"
local config = ": config.json of the model says it; leave it out"
local generate = ": hone generate shows what was learnt; leave it out"
local rows = "data.map: a function that returns nil for rows to leave out"
local own_fields = "data.template: a function from a row to prompt and "
  .. "completion"
local recompute = "keep: hone decides by itself what it keeps; \"none\" "
  .. "recomputes all, \"offload\" sends it to the host"
local packed = "batch: hone.pack { tokens = 8192 } packs, hone.pad "
  .. "{ rows = 8 } pads"
local scheduled = "schedule: " .. constructor
local recorded = "loggers: TensorBoard's events are written"

local names = {
  -- Transformers: TrainingArguments
  output_dir = "out",
  overwrite_output_dir = ": hone run --fresh sets the old folder aside",
  per_device_train_batch_size = "global_batch: " .. whole_step,
  per_gpu_train_batch_size = "global_batch: " .. whole_step,
  train_batch_size = "global_batch: " .. whole_step,
  batch_size = "global_batch: " .. whole_step,
  gradient_accumulation_steps = "global_batch: " .. whole_step,
  auto_find_batch_size = ": hone plans the memory before it starts; memory = "
    .. "\"16GiB\" says how much",
  per_device_eval_batch_size = layout,
  per_gpu_eval_batch_size = layout,
  eval_accumulation_steps = layout,
  num_train_epochs = "epochs",
  max_steps = "steps",
  learning_rate = "optimizer.lr",
  lr_scheduler_type = scheduled,
  lr_scheduler_kwargs = scheduled,
  warmup_ratio = "schedule.warmup: " .. rate,
  warmup_steps = "schedule.warmup: " .. rate,
  optim = "optimizer: a constructor such as hone.adamw, with its options",
  optim_args = "optimizer: a constructor such as hone.adamw, with its options",
  optim_target_modules = missing,
  weight_decay = "optimizer.weight_decay",
  adam_beta1 = "optimizer.beta1",
  adam_beta2 = "optimizer.beta2",
  adam_epsilon = "optimizer.eps",
  adafactor = missing,
  average_tokens_across_devices = ": the loss is the mean over the target "
    .. "tokens of the whole step, always; leave it out",
  max_grad_norm = "clip",
  label_smoothing_factor = missing,
  neftune_noise_alpha = missing,
  bf16 = "precision: " .. precision,
  fp16 = "precision: " .. precision,
  bf16_full_eval = "precision: " .. precision,
  fp16_full_eval = "precision: " .. precision,
  half_precision_backend = "precision: " .. precision,
  fp16_opt_level = "precision: " .. precision,
  fp16_backend = "precision: " .. precision,
  tf32 = "precision: " .. precision,
  gradient_checkpointing = recompute,
  gradient_checkpointing_kwargs = recompute,
  activation_checkpointing = recompute,
  activation_checkpointing_kwargs = recompute,
  torch_compile = compiled,
  torch_compile_backend = compiled,
  torch_compile_mode = compiled,
  jit_mode_eval = compiled,
  use_ipex = kernels,
  use_liger_kernel = kernels,
  liger_kernel_config = kernels,
  use_cache = as_needed,
  torch_empty_cache_steps = ": nothing is allocated after the first step; "
    .. "leave it out",
  skip_memory_metrics = metrics,
  logging_strategy = metrics,
  logging_steps = metrics,
  logging_first_step = metrics,
  logging_nan_inf_filter = ": a step that is not finite does not update, and "
    .. "is said; leave it out",
  logging_dir = "out: metrics.jsonl and TensorBoard's events are in it",
  log_on_each_node = metrics,
  log_level = metrics,
  log_level_replica = metrics,
  disable_tqdm = metrics,
  include_num_input_tokens_seen = metrics,
  include_tokens_per_second = metrics,
  report_to = "loggers",
  run_name = "out",
  project = "out",
  trackio_space_id = hub,
  trackio_bucket_id = hub,
  trackio_static_space_id = hub,
  eval_strategy = "eval.every: in steps; 0: at the start and the end",
  evaluation_strategy = "eval.every: in steps; 0: at the start and the end",
  eval_steps = "eval.every: in steps; 0: at the start and the end",
  eval_delay = "eval.every: in steps; 0: at the start and the end",
  eval_on_start = ": an evaluation at the start is always made; leave it out",
  prediction_loss_only = as_needed,
  eval_do_concat_batches = as_needed,
  eval_use_gather_object = as_needed,
  include_for_metrics = as_needed,
  include_inputs_for_metrics = as_needed,
  batch_eval_metrics = as_needed,
  label_names = as_needed,
  past_index = as_needed,
  save_strategy = "save.every: " .. every_steps,
  save_steps = "save.every: " .. every_steps,
  save_total_limit = "save.keep",
  save_safetensors = always,
  save_only_model = "save.every: " .. every_steps,
  save_on_each_node = processes,
  enable_jit_checkpoint = ": SIGINT and SIGTERM save, always; leave it out",
  load_best_model_at_end = missing,
  metric_for_best_model = missing,
  greater_is_better = missing,
  early_stopping_patience = missing,
  push_to_hub = hub,
  hub_token = hub,
  hub_private_repo = hub,
  hub_model_id = hub,
  hub_strategy = hub,
  hub_always_push = hub,
  hub_revision = hub,
  resume_from_checkpoint = resumes,
  ignore_data_skip = resumes,
  restore_callback_states_from_checkpoint = resumes,
  full_determinism = ": two runs give the same bits, always; leave it out",
  data_seed = "seed",
  use_cpu = "device",
  no_cuda = "device",
  use_mps_device = "device",
  accelerator_config = processes,
  parallelism_config = processes,
  dataloader_drop_last = ": no row is dropped; leave it out",
  dataloader_num_workers = loader,
  dataloader_pin_memory = loader,
  dataloader_persistent_workers = loader,
  dataloader_prefetch_factor = loader,
  dataloader_multiprocessing_context = loader,
  dataloader_in_order = loader,
  remove_unused_columns = ": a shape of data sees its own fields alone; leave "
    .. "it out",
  group_by_length = "batch: hone.pack lays rows end to end, hone.pad those of "
    .. "like length side by side",
  length_column_name = "batch: hone.pack lays rows end to end, hone.pad those "
    .. "of like length side by side",
  train_sampling_strategy = "shuffle",
  ddp = processes,
  ddp_find_unused_parameters = processes,
  ddp_bucket_cap_mb = processes,
  ddp_broadcast_buffers = processes,
  ddp_static_graph = processes,
  ddp_backend = processes,
  ddp_timeout = processes,
  fsdp = processes,
  fsdp_config = processes,
  fsdp_min_num_params = processes,
  fsdp_transformer_layer_cls_to_wrap = processes,
  fsdp_final_state_dict_type = processes,
  deepspeed = processes,
  local_rank = processes,
  world_size = processes,
  tp_size = processes,
  debug = verbs,
  do_train = verbs,
  do_eval = verbs,
  do_predict = verbs,

  -- Transformers: from_pretrained, BitsAndBytesConfig
  model_name_or_path = "model.path",
  pretrained_model_name_or_path = "model.path",
  torch_dtype = "precision: of the computation; storage of hone.model says how "
    .. "weights are held",
  dtype = "precision: of the computation; storage of hone.model says how "
    .. "weights are held",
  load_in_4bit = "model.storage: \"nf4\"",
  load_in_8bit = "model.storage: \"nf4\" and \"fp8\" are there, 8-bit integers "
    .. "are not",
  quantization_config = "model.storage: \"nf4\" or \"fp8\"",
  quantization_bit = "model.storage: \"nf4\" or \"fp8\"",
  bnb_4bit_quant_type = "model.storage: \"nf4\"",
  bnb_4bit_compute_dtype = "precision",
  bnb_4bit_use_double_quant = "model.nested",
  bnb_4bit_quant_storage = "model.storage: \"nf4\"",
  bnb_config_kwargs = "model.storage: \"nf4\"",
  attn_implementation = kernels,
  device_map = "device",
  max_memory = "memory",
  low_cpu_mem_usage = always,
  trust_remote_code = ": code of a model is never run; leave it out",
  model_init_kwargs = "model: hone.model takes storage and init",
  revision = "model.revision",
  cache_dir = ": $HF_HOME names the Hub's folder, $HONE_CACHE that of prepared "
    .. "data; leave it out",

  -- TRL: SFTConfig
  max_length = "data.max_tokens",
  max_seq_length = "data.max_tokens",
  max_seq_len = "data.max_tokens",
  truncation_mode = "data.long",
  packing = packed,
  packing_strategy = packed,
  eval_packing = layout,
  padding_free = packed,
  pad_to_multiple_of = "batch.multiple",
  dataset_text_field = ": hone.data.text { \"file\", text = \"name\" } says it",
  dataset_kwargs = "data: hone.data.alpaca and others, with their options",
  dataset_num_proc = workers,
  dataset_batch_size = workers,
  num_of_sequences = loader,
  chars_per_token = loader,
  shuffle_dataset = "shuffle",
  completion_only_loss = learnt,
  assistant_only_loss = learnt,
  chat_template_path = chat,
  formatting_func = "data.template",
  loss_type = ": there is one loss, cross-entropy over target tokens; leave it "
    .. "out",
  activation_offloading = "keep: \"offload\"",
  eos_token = tokenizer,
  pad_token = tokenizer,
  train_dataset = "data",
  eval_dataset = "data.val: " .. in_file,
  processing_class = tokenizer,
  tokenizer = tokenizer,
  peft_config = "adapter",
  data_collator = "batch",
  callbacks = missing,
  compute_metrics = as_needed,

  -- PEFT: LoraConfig
  lora_alpha = "adapter.alpha",
  lora_dropout = "adapter.dropout",
  target_modules = "adapter.targets",
  exclude_modules = "adapter.targets: those that shall be adapted, by name",
  use_rslora = "adapter.rslora",
  init_lora_weights = "adapter.init: a PEFT folder to go on from",
  bias = ": biases stay as they are; leave it out",
  task_type = ": hone trains causal language models; leave it out",
  peft_type = "adapter: hone.lora is the one there is",
  base_model_name_or_path = "model.path",
  inference_mode = verbs,
  fan_in_fan_out = ": the model's family knows that; leave it out",
  rank_pattern = "adapter.rank_pattern",
  alpha_pattern = "adapter.alpha_pattern",
  modules_to_save = "adapter.modules_to_save",
  use_dora = "adapter.dora",
  use_qalora = missing,
  lora_bias = missing,
  loftq_config = missing,
  eva_config = missing,
  corda_config = missing,
  layer_replication = missing,
  trainable_token_indices = missing,
  target_parameters = missing,
  layers_to_transform = "adapter.targets: the last parts of a path, such as "
    .. "\"3.self_attn.q_proj\"",
  layers_pattern = "adapter.targets: the last parts of a path, such as "
    .. "\"3.self_attn.q_proj\"",
  alora_invocation_tokens = missing,
  arrow_config = missing,
  kasa_config = missing,
  lora_ga_config = missing,
  monteclora_config = missing,
  velora_config = missing,
  use_bdlora = missing,
  qalora_group_size = missing,
  runtime_config = as_needed,
  megatron_config = missing,
  megatron_core = missing,
  ensure_weight_tying = ": tied weights stay tied; leave it out",
  peft_version = ": PEFT writes that itself; leave it out",
  auto_mapping = ": the model's family knows that; leave it out",

  -- Axolotl
  base_model = "model: hone.model \"folder\"",
  base_model_config = "model: hone.model \"folder\"",
  model_type = config,
  tokenizer_type = tokenizer,
  tokenizer_config = tokenizer,
  tokenizer_use_fast = tokenizer,
  tokenizer_legacy = tokenizer,
  special_tokens = tokenizer,
  tokens = "batch.tokens",
  num_epochs = "epochs",
  micro_batch_size = "global_batch: " .. whole_step,
  eval_batch_size = layout,
  datasets = "data: hone.data.alpaca { \"file\" } and others",
  dataset = "data: hone.data.alpaca { \"file\" } and others",
  pretraining_dataset = "data: hone.data.text { \"file\" }",
  test_datasets = "data.val: " .. in_file,
  val_set_size = "data.val",
  dataset_prepared_path = ": $HONE_CACHE names the folder; leave it out",
  dataset_processes = workers,
  dataset_keep_in_memory = loader,
  dataset_exact_deduplication = missing,
  shuffle_merged_datasets = "shuffle",
  skip_prepare_dataset = ": prepared data is found again; leave it out",
  sequence_len = "data.max_tokens",
  sample_packing = packed,
  sample_packing_group_size = "batch.tokens",
  sample_packing_bin_size = "batch.tokens",
  sample_packing_sequentially = "shuffle",
  eval_sample_packing = layout,
  pad_to_sequence_len = "batch.multiple",
  excess_length_strategy = "data.long",
  min_sample_len = rows,
  curriculum_sampling = "shuffle",
  batch_flattening = packed,
  train_on_inputs = learnt,
  field_instruction = "data.instruction",
  field_input = "data.input",
  field_output = "data.output",
  lora_r = "adapter.r",
  lora_target_modules = "adapter.targets",
  lora_target_linear = "adapter.targets: \"all-linear\"",
  lora_target_parameters = missing,
  lora_modules_to_save = "adapter.modules_to_save",
  lora_fan_in_fan_out = ": the model's family knows that; leave it out",
  lora_model_dir = "adapter.init: a PEFT folder to go on from",
  peft = "adapter",
  lora = "adapter",
  qlora = "model.storage: \"nf4\", with adapter = hone.lora",
  peft_use_rslora = "adapter.rslora",
  peft_use_dora = "adapter.dora",
  peft_layers_to_transform = "adapter.targets: the last parts of a path, such "
    .. "as \"3.self_attn.q_proj\"",
  peft_init_lora_weights = "adapter.init: a PEFT folder to go on from",
  loraplus_lr_ratio = "adapter.lr_ratio",
  relora = missing,
  lr_scheduler = scheduled,
  scheduler = scheduled,
  cosine_min_lr_ratio = "schedule: hone.wsd has min_ratio, hone.polynomial "
    .. "lr_end",
  lr_groups = missing,
  embedding_lr = missing,
  gradient_clipping = "clip",
  grad_clip = "clip",
  saves_per_epoch = "save.every: " .. every_steps,
  evals_per_epoch = "eval.every: in steps; 0: at the start and the end",
  auto_resume_from_checkpoints = resumes,
  bfloat16 = "precision: " .. precision,
  float16 = "precision: " .. precision,
  float32 = "precision: " .. precision,
  fp8 = "model.storage: \"fp8\"",
  flash_attention = kernels,
  sdp_attention = kernels,
  xformers_attention = kernels,
  flex_attention = kernels,
  eager_attention = kernels,
  s2_attention = kernels,
  flash_attn_cross_entropy = kernels,
  flash_attn_rms_norm = kernels,
  lora_mlp_kernel = kernels,
  lora_qkv_kernel = kernels,
  lora_o_kernel = kernels,
  unfrozen_parameters = missing,
  gpu_memory_limit = "memory",
  gc_steps = as_needed,
  use_tensorboard = "loggers",
  wandb_project = recorded,
  wandb_entity = recorded,
  wandb_name = recorded,
  wandb_run_id = recorded,
  chat_template = chat,
  chat_template_jinja = chat,
  default_system_message = ": map puts a system message before the others",
  plugins = "packs: kernel packs by name; --plugin-dir finds plugins",
  rl = missing,

  -- LLaMA-Factory, and shorter names
  finetuning_type = "adapter: without one the model itself is trained",
  stage = verbs,
  template = "data.template",
  train_on_prompt = learnt,
  mask_history = learnt,
  mix_strategy = mixed,
  interleave_probs = mixed,
  cutoff_len = "data.max_tokens",
  dataset_dir = "data.path",
  val_size = "data.val",
  validation_split = "data.val",
  max_samples = rows,
  preprocessing_num_workers = workers,
  overwrite_cache = ": prepared data is found again; leave it out",
  rank = "adapter.r",
  lora_rank = "adapter.r",
  lora_target = "adapter.targets",
  additional_target = "adapter.targets",
  plot_loss = metrics,
  betas = "optimizer.beta1: and beta2",
  momentum = "optimizer.momentum",
  epsilon = "optimizer.eps",
  wd = "optimizer.weight_decay",
  lr = "optimizer.lr",
  lr_scheduler_name = scheduled,
  collator = "batch",
  random_seed = "seed",
  compile = compiled,
}

-- What more there is, by its answer: of TRL's scripts (ModelConfig,
-- ScriptArguments), then of Axolotl, then of the entries of its `datasets`.
local more = {
  ["model.path"] = "model_name",
  ["model.init: \"random\""] = "reinit_weights",
  ["model.nested"] = "use_bnb_nested_quant",
  ["model.storage: \"nf4\" or \"fp8\""] = [[
    model_quantization_config
    model_quantization_config_kwargs quantization fp8_config]],
  ["adapter"] = "use_peft",
  ["adapter.rank_pattern"] = "lora_rank_pattern",
  ["adapter.alpha_pattern"] = "lora_alpha_pattern",
  ["adapter.targets: the last parts of a path, such as "
    .. "\"3.self_attn.q_proj\""] = "peft_layers_pattern",
  ["data: hone.data.alpaca { \"file\" } and others"] = [[
    dataset_name dataset_config]],
  ["data.path"] = "data_files data_dir",
  ["data.val: " .. in_file] = "dataset_test_split test_split_size split",
  ["data.max_tokens"] = "eval_sequence_len max_prompt_len",
  [rows] = "dataset_train_split fraction shards shards_idx preprocess_shards "
    .. "dataset_shard_num dataset_shard_idx num_dataset_shards_to_save",
  [own_fields] = [[
    columns input_format system_prompt system_format field_system format
    no_input_format input_transform]],
  ["batch.tokens"] = "max_packed_sequence_len",
  [packed] = "multipack_real_batches pretraining_sample_concatenation",
  ["shuffle"] = "shuffle_before_merging_datasets",
  [scheduled] = [[
    lr_quadratic_warmup cosine_constant_lr_ratio lr_div_factor]],
  ["schedule: hone.cosine_restarts, with its options"] = [[
    jagged_restart_steps jagged_restart_warmup_steps
    jagged_restart_anneal_steps]],
  ["save.every: " .. every_steps] = "save_first_step",
  ["logits_chunk"] = "chunked_cross_entropy chunked_cross_entropy_num_chunks",
  ["precision: " .. precision] = "fp32_norms fp32_norm_classes",
  [recompute] = "selective_checkpointing layer_offloading",
  [recorded] = [[
    use_wandb wandb_mode wandb_watch wandb_log_model use_mlflow
    mlflow_tracking_uri mlflow_experiment_name mlflow_run_name
    hf_mlflow_log_artifacts use_comet comet_api_key comet_workspace
    comet_project_name comet_experiment_key comet_mode comet_online
    comet_experiment_config use_trackio trackio_project_name trackio_run_name
    use_otel_metrics otel_metrics_host otel_metrics_port]],
  [": `out` names a run, `path` a file; leave it out"] = "name",
  [": the ending of a file says its kind; leave it out"] = "ds_type",
  [": the constructor says it: hone.data.alpaca, hone.data.text and others"] =
    "type",
  [": hone.data.text { \"file\", text = \"name\" } says it"] = [[
    field text_column]],
  [": prepared once, then read from shards; leave it out"] = [[
    dataset_streaming streaming streaming_multipack_buffer_size
    pretrain_multipack_buffer_size pretrain_multipack_attn]],
  [": hone prep prepares, and counts; leave it out"] = [[
    is_preprocess preprocess_iterable total_num_tokens total_supervised_tokens
    sample_packing_eff_est axolotl_config_path]],
  [": unknown options are refused, always; leave it out"] = "strict",
  [": hone export RUN --to merged does that; leave it out"] = [[
    merge_lora merge_method]],
  [": a step that is not finite does not update, and is said; leave it out"] =
    "loss_watchdog_threshold loss_watchdog_patience",
  [": SIGINT and SIGTERM save, always; leave it out"] = "dynamic_checkpoint",
  [": adapters are held in fp32, always; leave it out"] =
    "peft_autocast_adapter_dtype",
  [": tied weights stay tied; leave it out"] = "peft_ensure_weight_tying",
  [": hone trains causal language models; leave it out"] = "lora_task_type",
  [": embeddings keep their size; leave it out"] = [[
    resize_token_embeddings_to_32x mean_resizing_embeddings shrink_embeddings
    fix_untrained_tokens]],
  [config] = [[
    cls_model_config rope_scaling overrides_of_model_config
    overrides_of_model_kwargs type_of_model is_falcon_derived_model
    is_llama_derived_model is_mistral_derived_model is_qwen_derived_model]],
  ["model.revision"] = "model_revision revision_of_model",
  [": hone fetch sends $HF_TOKEN to the Hub; leave it out"] =
    "hf_use_auth_token",
  [tokenizer] = [[
    tokenizer_use_mistral_common tokenizer_save_jinja_files bos_token unk_token
    additional_special_tokens added_tokens_overrides]],
  [chat] = "eot_tokens",
  [": hone.data.messages reads them from the rows' chat_template_kwargs"] =
    "chat_template_kwargs",
  [turns] = [[
    conversation field_messages field_tools field_human field_model
    message_field_role message_field_content message_property_mappings roles]],
  [learnt] = "roles_to_train train_on_eos train_on_eot",
  [weights] = "message_field_training message_field_training_detail",
  [thoughts] = "split_thinking field_thinking template_thinking_key",
  [": map takes messages out; leave it out"] = "drop_system_message",
  [generate] = [[
    generate_samples num_generation_samples generation_max_new_tokens
    generation_temperature generation_top_p generation_top_k
    generation_prompt_ratio generation_do_sample eval_table_size
    eval_max_new_tokens gradio_title gradio_share gradio_server_name
    gradio_server_port gradio_max_new_tokens gradio_temperature]],
  [metrics] = "include_tkps",
  [hub] = "push_dataset_to_hub",
  [compiled] = "torch_compile_options deepcompile",
  [loader] = "sample_packing_mp_start_method",
  [as_needed] = [[
    ignore_bias_buffers gc_collect_steps lora_on_cpu
    experimental_skip_move_to_device embeddings_skip_upcast]],
  [processes] = [[
    fsdp_version fp8_enable_fsdp_float8_all_gather dp_shard_size
    dp_replicate_size sequence_parallel_degree context_parallel_size
    heads_k_stride ring_attn_func tensor_parallel_size use_ray ray_run_name
    ray_num_workers resources_per_worker qlora_sharded_model_loading]],
  [kernels] = [[
    use_kernels flex_attn_compile_kwargs flash_attn_fuse_mlp flash_optimum
    sage_attention gemma4_hybrid_attn_impl large_head_attention flash_attn_d512
    sdpa_varlen fused_attn_kernel experts_implementation lora_embedding_kernel
    tiled_mlp tiled_mlp_num_shards tiled_mlp_use_original_mlp]],
  [missing] = [[
    router_aux_loss_coef trainer_cls trl vllm ebft qat reward_model
    process_reward_model center_rewards_coefficient num_labels rl_beta
    dpo_use_weighting dpo_label_smoothing dpo_loss_type dpo_loss_weights
    dpo_use_liger_kernel dpo_padding_free dpo_beta dpo_norm_loss
    dpo_use_logits_to_keep dpo_generate_during_eval precompute_ref_log_probs
    rpo_alpha orpo_alpha simpo_gamma cpo_alpha kto_desirable_weight
    kto_undesirable_weight use_eaft eaft_alpha eaft_k do_causal_lm_eval
    eval_causal_lm_metrics do_bench_eval bench_dataset bench_split
    freeze_mm_modules image_size image_resize_algorithm role_boundaries
    processor_type processor_kwargs use_pose pose_split_on_token_ids
    pose_max_context_len pose_num_chunks ple_cpu_offload quantize_moe_experts
    scaling_softmax scaling_softmax_factor scaling_softmax_bias
    llama4_linearized_experts gptq use_onebitllms noisy_embedding_alpha
    peft_layer_replication peft_trainable_token_indices loraplus_lr_embedding
    relora_prune_ratio relora_prune_method relora_cpu_offload embedding_lr_scale
    torchdistx_path adam_epsilon2 adam_beta3 dion_lr dion_momentum
    dion_rank_fraction dion_rank_multiple_of qgalore_rank
    qgalore_update_proj_gap qgalore_scale qgalore_proj_type qgalore_proj_quant
    qgalore_proj_bits qgalore_proj_group_size qgalore_cos_threshold
    qgalore_gamma_proj qgalore_queue_size lisa_n_layers lisa_step_interval
    lisa_layers_attribute profiler_steps profiler_steps_start logprobs_field
    temperature]],
}

for meaning, list in pairs(more) do
  for name in list:gmatch("%S+") do
    names[name] = meaning
  end
end

return names
