local hone = require "hone"
return hone.train {
  steps = 3
  epochs = 1,
}
