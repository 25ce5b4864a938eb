-- Overrides: of the training, of an option of its optimizer, and in place of
-- the whole model. Paths are those of the file that writes them.
local hone = require "hone"
return hone.extend("../good/plain.lua", {
  optimizer = { lr = 1e-3 },
  model = hone.model { "other", storage = "fp32" },
  adapter = hone.lora { init = "adapter" },
  steps = 5,
})
