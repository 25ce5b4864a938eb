-- set: steps=many optimizer.lr=11 optimizer.weigth_decay=0 adapter.r=8
-- set: optimizer=adamw sceduler.warmup=3 memory=16GB keep=noen =3 steps
-- set: schedule.warmup=-1 eval.evry=3 data.val=1.5
local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.alpaca { "rows.json" },
  batch = hone.pack { tokens = 64 },
  global_batch = 4, steps = 3,
  optimizer = hone.adamw {},
}
