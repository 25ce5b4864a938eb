local hone = require "hone"
return hone.extend("../good/plain.lua", {
  optimizer = { lr = 1e-3, weigth_decay = 0 },
  sed = 3,
})
